"""Weights in half precision, and on several devices: a teacher asked with them, a student saved so."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch
from causal_kit import GEMMA2, LLAMA, batch, model

from kdkit import models
from kdkit.api.options import Generation
from kdkit.api.values import Corpus
from kdkit.builtin.students.hf_causal import HFCausalStudent
from kdkit.builtin.students.hf_seq2seq import HFSeq2SeqStudent
from kdkit.builtin.teachers.hf_causal import HFCausalTeacher
from kdkit.builtin.teachers.hf_seq2seq import HFSeq2SeqTeacher
from kdkit.errors import UsageError
from kdkit.pipeline.estimate import _slow_types
from kdkit.system import devices
from kdkit.system.progress import Silent

CORPUS = Corpus(train=tuple(tiny.encoded(6)[0]), validation=())


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Saved models, by kind."""
    place = tmp_path_factory.mktemp("models")
    model(LLAMA).save(place / "causal", texts={})
    tiny.model(tiny.T5).save(place / "seq2seq", texts={})
    return place


@pytest.mark.parametrize("kind", ["causal", "seq2seq"])
def test_a_teacher_s_logits_are_those_of_its_type_and_its_identity_says_so(folders, kind):
    teacher_of = {"causal": HFCausalTeacher, "seq2seq": HFSeq2SeqTeacher}[kind]
    rows = tiny.encoded(5)[1]
    logits, identities = {}, {}
    for dtype in ("float32", "auto", "bfloat16", "float16"):
        opened = teacher_of(model=str(folders / kind), dtype=dtype).open(folders / kind, None, CORPUS, device="cpu")
        weight = opened.model.module.get_output_embeddings().weight
        assert weight.dtype == getattr(torch, "float32" if dtype == "auto" else dtype)
        blocks = list(opened.logits(rows, Silent()))
        assert {block.logits_TV.dtype for block in blocks} == {np.dtype(np.float32)}
        logits[dtype], identities[dtype] = np.concatenate([block.logits_TV for block in blocks]), opened.identity
        states = np.concatenate([block.states_TD for block in opened.states(rows, Silent())])
        head = opened.head()
        bias = 0 if head.bias_V is None else head.bias_V
        np.testing.assert_allclose(
            states @ head.weight_VD.T + bias, logits[dtype], rtol=0, atol=0.02 * np.abs(logits[dtype]).max()
        )
    assert identities["float32"] == identities["auto"] == models.weights_digest(folders / kind)
    assert len({*identities.values()}) == 3
    for half in ("bfloat16", "float16"):
        distance = np.abs(logits[half] - logits["float32"]).max()
        assert 0 < distance < 0.05 * np.abs(logits["float32"]).max()


def test_a_type_as_stored_is_that_of_the_files(folders, tmp_path):
    student = HFCausalStudent(model=str(folders / "causal"), dtype="bfloat16")
    student.build(models.DecoderOnly().load_tokenizer(str(folders / "causal")), None, seed=1, device="cpu").save(
        tmp_path / "half", texts={}
    )
    opened = HFCausalTeacher(model=str(tmp_path / "half"), dtype="auto").open(
        tmp_path / "half", None, CORPUS, device="cpu"
    )
    assert opened.model.module.dtype == torch.bfloat16
    assert opened.identity != models.weights_digest(tmp_path / "half")


@pytest.mark.parametrize(
    ("student", "tied"),
    [
        (HFCausalStudent(config={**LLAMA, "tie_word_embeddings": True}, dtype="bfloat16"), True),
        (HFSeq2SeqStudent(config=tiny.T5, dtype="float16"), True),
    ],
    ids=["causal", "seq2seq"],
)
def test_a_student_is_trained_in_float32_and_saved_in_its_type(student, tied, tmp_path):
    tokenizer = tiny.tokenizer()
    built = student.build(tokenizer, None, seed=1, device="cpu")
    assert {weight.dtype for weight in built.module.parameters()} == {torch.float32}
    built.save(tmp_path / "s", texts={})
    assert json.loads((tmp_path / "s" / "config.json").read_text())["dtype"] == student.dtype
    from safetensors.torch import load_file

    written = load_file(tmp_path / "s" / "model.safetensors")
    assert {tensor.dtype for tensor in written.values()} == {getattr(torch, student.dtype)}
    full = sum(weight.numel() for weight in built.module.parameters())  # tied weights count once
    assert sum(tensor.numel() for tensor in written.values()) == full
    opened, plain = student.open(tmp_path / "s", device="cpu"), student.model_kind.auto.loader
    again = plain.from_pretrained(tmp_path / "s")
    assert again.dtype == opened.module.dtype == getattr(torch, student.dtype)
    for name, weight in opened.module.state_dict().items():
        own = built.module.state_dict()[name]
        torch.testing.assert_close(weight.float(), own.to(getattr(torch, student.dtype)).float(), rtol=0, atol=0)


def test_a_capped_head_and_padding_are_found_in_half_precision_too():
    capped, told = model(GEMMA2), batch()
    capped.module.to(torch.bfloat16)
    assert capped.head_function() is None
    plain = model(LLAMA)
    plain.module.to(torch.bfloat16)
    models.causal_model(plain.module, plain.tokenizer)  # not taken for one that sees later tokens
    assert plain.head_function() is not None
    assert not plain._sees_padding
    assert plain.logits(told).dtype == torch.bfloat16


def test_a_type_is_slow_on_a_processor_that_does_not_compute_in_it(monkeypatch):
    flags = {"avx512_bf16": False, "avx512_fp16": True}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    slow = {(dtype, device) for dtype in ("float32", "bfloat16", "float16") for device in ("cpu", "auto", "cuda")
            if devices.is_slow_in(dtype, device)}  # fmt: skip
    assert slow == {("bfloat16", "cpu"), ("bfloat16", "auto")}
    recipe = SimpleNamespace(device="cpu", resolved={"teacher": {"dtype": "auto"}, "student": {}})
    configs = {"teacher": SimpleNamespace(dtype=torch.bfloat16), "student": SimpleNamespace(dtype=torch.bfloat16)}
    (said,) = _slow_types(recipe, configs)
    assert said.startswith("the teacher computes in bfloat16, with which this processor is several times slower")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert not devices.is_slow_in("bfloat16", "auto")


@pytest.mark.parametrize("kind", ["causal", "seq2seq"])
def test_a_teacher_over_several_devices_says_the_same(folders, kind):
    """On one device: the map of a machine without GPUs, and weights that wait elsewhere until their layer is asked."""
    from accelerate import cpu_offload

    teacher_of = {"causal": HFCausalTeacher, "seq2seq": HFSeq2SeqTeacher}[kind]
    rows = tiny.encoded(5)[1]

    def asked(opened):
        states = np.concatenate([block.states_TD for block in opened.states(rows, Silent())])
        logits = np.concatenate([block.logits_TV for block in opened.logits(rows, Silent())])
        texts = [each.text for each in opened.generate(rows, Generation(beams=2, max_new_tokens=4))]
        return states, logits, opened.head().weight_VD, texts

    alone = teacher_of(model=str(folders / kind)).open(folders / kind, None, CORPUS, device="cpu")
    spread = teacher_of(model=str(folders / kind), device_map="auto", max_memory={"cpu": "1GiB"}).open(
        folders / kind, None, CORPUS, device="cpu"
    )
    assert spread.identity == alone.identity
    expected = asked(alone)
    np.testing.assert_equal(asked(spread), expected)
    cpu_offload(spread.model.module)
    assert all(weight.is_meta for weight in spread.model.module.parameters())
    np.testing.assert_equal(asked(spread), expected)
    with pytest.raises(UsageError, match=r"does not fit on the devices: there is no room for .*; raise max_memory, or"):
        teacher_of(model=str(folders / kind), device_map="auto", max_memory={"cpu": "5KiB"}).open(
            folders / kind, None, CORPUS, device="cpu"
        )
    with pytest.raises(UsageError, match="max_memory needs device_map"):
        teacher_of(model=str(folders / kind), max_memory={"cpu": "5KiB"})
