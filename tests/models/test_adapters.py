"""LoRA: adapters beside a model's weights, trained, added to them or saved apart."""

import shutil

import attrs
import pytest
import tiny
import torch
from causal_architectures import GPT2, GROUPED
from safetensors.torch import load_file, save_file

from kdkit import models
from kdkit.api.lora import Lora
from kdkit.api.options import FineTuning
from kdkit.builtin.students import hf_causal, hf_seq2seq
from kdkit.errors import MissingInput, UsageError
from kdkit.models.adapters import merged_weights
from kdkit.models.auto import CAUSAL, SEQ2SEQ
from kdkit.system.files import write_json
from kdkit.system.reading import read_json

LORA = Lora(rank=4)
IDS = torch.tensor([[5, 6, 7, 8]])
KINDS = {
    "t5": (tiny.T5, SEQ2SEQ),
    "gpt2": ({"model_type": "gpt2", **GPT2}, CAUSAL),
    "llama": ({"model_type": "llama", **GROUPED}, CAUSAL),
    "llama-tied": ({"model_type": "llama", **GROUPED, "tie_word_embeddings": True}, CAUSAL),
}


def logits(module):
    inputs = {"decoder_input_ids": IDS} if module.config.is_encoder_decoder else {}
    with torch.no_grad():
        return module.eval()(input_ids=IDS, **inputs).logits


@pytest.mark.parametrize("name", ["t5", "gpt2", "llama-tied"])
def test_adapters_alone_are_trained_and_their_sum_with_the_weights_is_the_same_model(name):
    table, auto = KINDS[name]
    config = models.config_from(table, tiny.tokenizer(), auto)
    module = models.new_model(config, seed=1)
    before, own = {key: each.clone() for key, each in module.state_dict().items()}, logits(module)
    models.add_adapters(module, LORA, seed=3)
    assert torch.equal(logits(module), own)  # at first they change nothing
    trained = {key: each for key, each in module.named_parameters() if each.requires_grad}
    assert sum(each.numel() for each in trained.values()) == models.count_adapters(models.looked_at(config), LORA)
    optimizer = torch.optim.SGD(trained.values(), lr=10.0)
    for _ in range(2):  # the second matrices are 0, so that the first get no gradient in the first step
        module(input_ids=IDS, labels=IDS).loss.backward()
        assert all(each.grad is None for key, each in module.named_parameters() if key not in trained)
        optimizer.step()
    assert all(each.grad.any() for each in trained.values())
    after = {key.replace(".base_layer", ""): each for key, each in module.state_dict().items()}
    assert all(torch.equal(after[key], each) for key, each in before.items())  # to the bit
    merged = merged_weights(module)
    assert merged.keys() == before.keys()
    plain = models.new_model(config, seed=2)
    plain.load_state_dict(merged)
    assert torch.allclose(logits(plain), logits(module), atol=1e-5)
    assert not torch.allclose(logits(plain), own, atol=1e-3)


@pytest.mark.parametrize(
    ("name", "targets", "message"),
    [
        ("llama", ("lm_head",), 'names "lm_head", the output head or the embeddings'),
        ("llama-tied", ("lm_head",), 'names "lm_head", the output head or the embeddings'),
        ("t5", ("shared",), 'names "shared", the output head or the embeddings'),
        ("llama", ("q_pro",), r"no linear layer .* called that: they are down_proj, .*did you mean .q_proj.\?"),
    ],
)
def test_the_head_and_what_is_not_there_are_refused(name, targets, message):
    table, auto = KINDS[name]
    config = models.config_from(table, tiny.tokenizer(), auto)
    with pytest.raises(UsageError, match=message):
        models.check_lora(models.looked_at(config), Lora(targets=targets))


def test_layers_are_named_by_the_ends_of_their_names():
    module = models.looked_at(models.config_from(KINDS["llama"][0], tiny.tokenizer(), CAUSAL))
    width, layers = GROUPED["hidden_size"], GROUPED["num_hidden_layers"]
    assert models.count_adapters(module, Lora(rank=4, targets=("q_proj",))) == layers * 4 * (width + width)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"config": dict(tiny.T5)}, r"those of a new model \(config\) would stay random"),
        (
            {"from_teacher": hf_seq2seq.FromTeacher(encoder_layers=(0,), decoder_layers=(0,)), "merge": False},
            "lora.merge = false",
        ),
    ],
)
def test_a_student_whose_weights_adapters_cannot_complete_is_refused(options, message):
    given = dict(options)
    lora = attrs.evolve(LORA, merge=given.pop("merge", True))
    with pytest.raises(UsageError, match=message):
        hf_seq2seq.HFSeq2SeqStudent(lora=lora, **given)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"layers": 1}, "layers is 1, which trains whole layers"), ({"lora": Lora(merge=False)}, "lora.merge is false")],
)
def test_fine_tuning_with_adapters_trains_nothing_else_and_leaves_a_whole_model(options, message):
    with pytest.raises(ValueError, match=message):
        FineTuning(**{"lora": LORA, **options})


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A base model, and what a training of adapters beside it left: added to the weights, and apart."""
    folder = tmp_path_factory.mktemp("adapters")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDKIT_STORE", str(folder / "store"))
        tiny.model().save(folder / "base", texts={})
        for name, merge in (("merged", True), ("apart", False)):
            tiny.trainer(folder / name, training_model=built(folder, merge=merge), epochs=1).fit()
        yield folder


def built(folder, *, merge=True):
    student = hf_seq2seq.HFSeq2SeqStudent(model=str(folder / "base"), lora=attrs.evolve(LORA, merge=merge, dropout=0.1))
    return student.build(tiny.tokenizer(), None, seed=1, device="cpu")


def test_saved_apart_or_added_to_the_weights_it_is_one_model_to_kdkit_and_to_transformers(place):
    from transformers import AutoModelForSeq2SeqLM

    merged, apart = (place / name / "student" / "best" for name in ("merged", "apart"))
    assert not (merged / "adapter_config.json").exists()
    assert not (apart / "model.safetensors").exists()
    expected = logits(models.load_model(str(merged)))
    assert torch.allclose(logits(models.load_model(str(apart))), expected, atol=1e-6)
    assert torch.allclose(logits(AutoModelForSeq2SeqLM.from_pretrained(apart)), expected, atol=1e-5)
    assert not torch.allclose(logits(models.load_model(str(place / "base"))), expected, atol=1e-3)
    whole, own = models.find_folder(str(apart), weights=True), models.generation_of(merged).to_dict()
    assert models.generation_of(whole).to_dict() == own
    assert load_file(whole / "model.safetensors").keys() == load_file(merged / "model.safetensors").keys()


def test_the_identity_of_adapters_is_of_their_base_and_of_themselves(place, tmp_path):
    def identity(name):
        return models.weights_digest(models.find_folder(str(tmp_path / name), weights=True))

    for name in ("same", "own", "base"):
        shutil.copytree(place / "apart" / "student" / "best", tmp_path / name)
    changed = load_file(tmp_path / "own" / "adapter_model.safetensors")
    save_file({key: 2 * each for key, each in changed.items()}, tmp_path / "own" / "adapter_model.safetensors")
    other = tiny.model(seed=2)
    other.save(tmp_path / "other", texts={})
    table = read_json(tmp_path / "base" / "adapter_config.json")
    write_json(tmp_path / "base" / "adapter_config.json", {**table, "base_model_name_or_path": str(tmp_path / "other")})
    assert len({identity(name) for name in ("same", "own", "base")}) == 3


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"peft_type": "IA3"}, UsageError, "holds an adapter of the type IA3, and kdkit opens those of LoRA"),
        ({"base_model_name_or_path": None}, UsageError, "does not name the model that the adapter belongs to"),
        ({"r": 3}, UsageError, "cannot be added to its base model"),
        (None, MissingInput, "has no adapter_model.safetensors beside its adapter_config.json"),
    ],
)
def test_an_adapter_that_cannot_be_opened_is_refused_in_a_sentence(place, tmp_path, change, error, message):
    folder = shutil.copytree(place / "apart" / "student" / "best", tmp_path / "broken")
    if change is None:
        (folder / "adapter_model.safetensors").unlink()
    else:
        table = read_json(folder / "adapter_config.json")
        write_json(folder / "adapter_config.json", {**table, **change})
    with pytest.raises(error, match=message):
        models.find_folder(str(folder), weights=True)


def test_adapters_resume_to_the_bit_from_checkpoints_that_hold_only_them(place, tmp_path, monkeypatch):
    trained = tiny.trainer(tmp_path, training_model=built(place), epochs=1, checkpoint_every=2)
    inner = type(trained)._step

    def crash(self, *arguments):
        if self._state.step == 4:
            raise RuntimeError("crash")
        return inner(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(type(trained), "_step", crash)
        with pytest.raises(RuntimeError, match="crash"):
            trained.fit()
    kept = load_file(tmp_path / "student" / "checkpoints" / "step-00000004" / "tensors.safetensors")
    assert all(".lora_" in name for name in kept if not name.startswith("buffer."))
    notes = tiny.Notes()
    tiny.trainer(tmp_path, training_model=built(place), epochs=1, checkpoint_every=2, progress=notes).fit()
    assert "student: resuming from the checkpoint at step 4" in notes.notes
    for name in ("best", "final"):
        assert tiny.weights(tmp_path / "student" / name) == tiny.weights(place / "merged" / "student" / name)


def test_a_decoder_only_student_of_the_teachers_layers_takes_adapters(tmp_path):
    table, auto = KINDS["llama"]
    config = models.config_from(table, tiny.tokenizer(), auto)
    models.causal_model(models.new_model(config, seed=1), tiny.tokenizer()).save(tmp_path / "teacher", texts={})
    student = hf_causal.HFCausalStudent(from_teacher=hf_causal.FromTeacher(layers=(0,)), lora=LORA)
    model = student.build(tiny.tokenizer(), tmp_path / "teacher", seed=1, device="cpu")
    with torch.no_grad():
        for each in model.module.parameters():
            each.add_(0.1 * each.requires_grad)
    model.save(tmp_path / "student", texts={})
    assert torch.allclose(logits(models.load_model(str(tmp_path / "student"), CAUSAL)), logits(model.module), atol=1e-5)
