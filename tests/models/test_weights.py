"""The digest of a model is of the files that are loaded, and of no others; loading runs no code of the folder."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file

from kdkit import models
from kdkit.errors import DamagedData, Mismatch, MissingInput, UsageError


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "m"
    tiny.model(tiny.T5).save(folder, texts={})
    return folder


def copy(saved, folder):
    return shutil.copytree(saved, folder)


def scaled(state: dict, factor: float) -> dict:
    return {name: tensor * factor for name, tensor in state.items()}


def as_bin(folder: Path, factor: float) -> None:
    """The weights, times a factor, in PyTorch's own format."""
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(scaled(state, factor), folder / "pytorch_model.bin")


def sharded(folder: Path, factor: float, place: str) -> None:
    """The weights, times a factor, in two files in a place below the folder, and their index."""
    state = scaled(load_file(folder / "model.safetensors"), factor)
    (folder / "model.safetensors").unlink()
    names = sorted(state)
    parts = {f"{place}part-{number}.safetensors": names[number::2] for number in range(2)}
    for file, held in parts.items():
        (folder / file).parent.mkdir(exist_ok=True)
        save_file({name: state[name] for name in held}, folder / file, metadata={"format": "pt"})
    places = {name: file for file, held in parts.items() for name in held}
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def stray(folder: Path) -> None:
    save_file({"lora_A": torch.ones(2)}, folder / "adapter_model.safetensors")


def named(folder: Path, factor: float) -> None:
    """The weights, times a factor, in a file that the configuration names; others under the usual name."""
    state = load_file(folder / "model.safetensors")
    save_file(scaled(state, factor), folder / "mine.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "transformers_weights": "mine.safetensors"}))


LAYOUTS = {
    "bin beside a stray adapter": lambda folder, factor: (as_bin(folder, factor), stray(folder)),
    "shards in a folder below": lambda folder, factor: sharded(folder, factor, "weights/"),
    "shards beside a stray file": lambda folder, factor: (sharded(folder, factor, ""), stray(folder)),
    "a file that config.json names": named,
}


def weight(folder: Path) -> float:
    return float(models.load_model(str(folder)).shared.weight.detach().abs().sum())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_other_weights_have_another_digest_wherever_they_lie(saved, tmp_path, layout):
    once, thrice = copy(saved, tmp_path / "once"), copy(saved, tmp_path / "thrice")
    LAYOUTS[layout](once, 1.0)
    LAYOUTS[layout](thrice, 3.0)
    assert weight(once) == pytest.approx(weight(saved))
    assert weight(thrice) == pytest.approx(3 * weight(once))
    assert models.weights_digest(once) != models.weights_digest(thrice)


@pytest.mark.parametrize(
    "beside", ["adapter_model.safetensors", "model.fp16.safetensors", "optimizer.bin", "pytorch_model.bin"]
)
def test_a_file_that_is_not_loaded_does_not_change_the_digest(saved, tmp_path, beside):
    folder = copy(saved, tmp_path / "m")
    before = models.weights_digest(folder)
    save_file({"x": torch.ones(2)}, folder / beside)
    assert models.weights_digest(folder) == before
    assert weight(folder) == pytest.approx(weight(saved))


def test_a_distributed_checkpoint_beside_the_weights_is_not_loaded(saved, tmp_path):
    """transformers prefers it to model.safetensors; the digest is of model.safetensors."""
    folder = copy(saved, tmp_path / "m")
    state = scaled(load_file(folder / "model.safetensors"), 3.0)
    save_file(state, folder / "shard-00001-model-00001-of-00001.safetensors", metadata={"format": "pt"})
    assert models.weights_digest(folder) == models.weights_digest(saved)
    assert weight(folder) == pytest.approx(weight(saved))


def test_the_loader_is_shown_the_files_of_the_digest_and_no_others(saved, tmp_path):
    folder = copy(saved, tmp_path / "m")
    sharded(folder, 1.0, "weights/")
    for name in ("adapter_config.json", "modeling_t5.py", "custom_generate.py", "adapter_model.safetensors"):
        (folder / name).write_bytes(b"x")
    with models.weights.nothing_else(folder) as shown:
        files = {file.relative_to(shown).as_posix() for file in shown.rglob("*") if file.is_file()}
    assert files == {
        *("config.json", "generation_config.json", "model.safetensors.index.json"),
        *("weights/part-0.safetensors", "weights/part-1.safetensors"),
    }
    assert not shown.exists()


def test_a_model_knows_the_folder_that_was_named_not_the_one_that_was_shown(saved):
    assert models.load_model(str(saved)).name_or_path == str(saved)


def test_the_digest_of_a_plain_folder_is_that_of_earlier_versions(saved):
    import hashlib

    config = json.loads((saved / "config.json").read_text())
    kept = {key: value for key, value in config.items() if key not in models.weights.VOLATILE}
    files = [hashlib.sha256((saved / "model.safetensors").read_bytes()).digest(), json.dumps(kept, sort_keys=True)]
    assert models.weights_digest(saved) == hashlib.sha256(files[0] + files[1].encode()).hexdigest()


def test_files_that_have_settled_are_read_once_and_again_when_they_change(saved, tmp_path, monkeypatch):
    read = []
    inner = models.weights._digest_of
    monkeypatch.setattr("kdkit.models.weights._digest_of", lambda folder: read.append(folder) or inner(folder))
    folder = copy(saved, tmp_path / "m")
    first = [models.weights_digest(folder) for _ in range(2)]
    assert len(read) == 2  # a second write within the clock's tick would show nowhere
    monkeypatch.setattr("kdkit.models.weights._SETTLED_NS", 0)
    assert {models.weights_digest(folder) for _ in range(3)} == set(first)
    assert len(read) == 3
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "dropout_rate": 0.5}))
    assert models.weights_digest(folder) not in first
    assert len(read) == 4


def index_of(**places):
    def spoil(folder):
        (folder / "model.safetensors").unlink()
        (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))

    return spoil


@pytest.mark.parametrize(
    ("spoil", "error", "sentence"),
    [
        (index_of(x="../other/model.safetensors"), UsageError, "'../other/model.safetensors'.* is not in that"),
        (index_of(x="/etc/passwd"), UsageError, "is not in that folder"),
        (
            index_of(x="lost.safetensors"),
            MissingInput,
            "lacks lost.safetensors, which its model.safetensors.index.json",
        ),
        (index_of(x=3), DamagedData, "does not say which files hold the weights"),
        (index_of(), DamagedData, "does not say which files hold the weights"),
        (lambda f: (f / "model.safetensors").rename(f / "weights.safetensors"), MissingInput, "it holds weights.safet"),
    ],
)
def test_weights_that_are_not_there_are_said(saved, tmp_path, spoil, error, sentence):
    folder = copy(saved, tmp_path / "m")
    spoil(folder)
    for ask in (models.weights_digest, models.check_weights, lambda f: models.load_model(str(f))):
        with pytest.raises(error, match=sentence):
            ask(folder)


def test_an_adapter_alone_is_named_as_one(saved, tmp_path):
    folder = copy(saved, tmp_path / "m")
    (folder / "model.safetensors").unlink()
    (folder / "adapter_config.json").write_text("{}")
    stray(folder)
    with pytest.raises(MissingInput, match="it holds an adapter: merge the adapter into its base model"):
        models.weights_digest(folder)


# --- a folder's own code


def with_code(folder: Path, file: str, **fields: object) -> Path:
    """A folder that asks for code of its own, which would leave a mark."""
    mark = folder / "ran"
    (folder / "code.py").write_text(f"open({str(mark)!r}, 'w').close()\nclass C: pass\n")
    table = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**table, **fields}))
    return mark


CODE = {"AutoConfig": "code.C", "AutoModelForSeq2SeqLM": "code.C"}


def test_a_model_of_unknown_type_with_code_is_refused_without_a_question(saved, tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question was asked"))
    folder = copy(saved, tmp_path / "m")
    mark = with_code(folder, "config.json", model_type="nobody", auto_map=CODE)
    for ask in (models.load_config, models.load_model):
        with pytest.raises(UsageError, match=r"config.json asks for Python code .*which kdkit never runs"):
            ask(str(folder))
    assert not mark.exists()


def test_code_beside_a_model_of_a_known_type_is_not_run(saved, tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question was asked"))
    folder = copy(saved, tmp_path / "m")
    mark = with_code(folder, "config.json", auto_map=CODE)
    assert weight(folder) == pytest.approx(weight(saved))
    assert not mark.exists()


def test_a_tokenizer_with_code_is_refused_without_a_question(saved, tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("a question was asked"))
    folder = copy(saved, tmp_path / "m")
    mark = with_code(
        folder, "tokenizer_config.json", tokenizer_class="Nobody", auto_map={"AutoTokenizer": ["code.C", None]}
    )
    (folder / "tokenizer.json").unlink()
    with pytest.raises(UsageError, match=r"tokenizer_config.json asks for Python code"):
        models.load_tokenizer(str(folder))
    assert not mark.exists()


@pytest.mark.parametrize(
    "fields",
    [
        {"attn_implementation": "somebody/attention"},
        {"_attn_implementation": {"": "somebody/attention@main:f"}},
        {"text_config": {"_experts_implementation": "somebody/experts"}},
    ],
)
def test_a_kernel_of_the_hub_is_refused(saved, tmp_path, fields):
    folder = copy(saved, tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **fields}))
    with pytest.raises(UsageError, match="asks for the kernel 'somebody/"):
        models.load_model(str(folder))


# --- threads


def test_models_are_opened_and_made_in_several_threads_at_once(saved):
    config = models.config_from(dict(tiny.T5), tiny.tokenizer())
    alone = models.new_model(config, seed=3).state_dict()

    def work(number: int) -> bool:
        if number % 2:
            return weight(saved) > 0
        made = models.new_model(config, seed=3).state_dict()
        return all(torch.equal(made[name], alone[name]) for name in alone)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(16)))


def test_a_folder_that_is_replaced_while_it_is_read_is_refused(saved, tmp_path):
    folder, state = copy(saved, tmp_path / "m"), load_file(saved / "model.safetensors")
    with models.unchanged(folder):
        models.load_model(str(folder))
    with (
        pytest.raises(Mismatch, match=r"the model in \S+ changed while it was read; run again"),
        models.unchanged(folder),
    ):
        save_file(scaled(state, 3.0), folder / "model.safetensors", metadata={"format": "pt"})
