"""A teacher's answers reach a codec as hidden states where both can, and mean the same either way."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import tiny
import torch
from cache_kit import identity
from fitted_codec import MeanCodec

from kdkit.api.values import EncodedExample
from kdkit.builtin.teachers.asked_hf import OpenHFTeacher
from kdkit.errors import Mismatch
from kdkit.logits.cache import CacheWriter, LogitCache
from kdkit.logits.encoder import TeacherEncoder
from kdkit.logits.targets import keys_of
from kdkit.system.progress import Silent

ROWS = [EncodedExample(id=str(n), source_ids=(5, 6, n + 1), target_ids=(n, 7, 1)[: 1 + n % 3]) for n in range(20)]
KEYS = keys_of(ROWS, teacher="a" * 64, tokenizer="b" * 64)
UNTIED = {**tiny.T5, "tie_word_embeddings": False}


def teacher(config):
    return OpenHFTeacher(model=tiny.model(config), identity="a" * 64, device="cpu", batch_size=4)


@pytest.mark.parametrize("config", [tiny.T5, UNTIED, tiny.BART], ids=["tied", "untied", "bart"])
def test_states_through_the_head_are_the_models_logits(config):
    asked = teacher(config)
    if config is tiny.BART:
        asked.model.module.final_logits_bias += torch.randn(asked.vocab_size)
    head = asked.head()
    assert head is not None
    assert (head.bias_V is not None) == (config is tiny.BART)
    logits = {block.id: block.logits_TV for block in asked.logits(ROWS, Silent())}
    for block in asked.states(ROWS, Silent()):
        made_TV = block.states_TD @ head.weight_VD.T + (0 if head.bias_V is None else head.bias_V)
        np.testing.assert_allclose(made_TV, logits[block.id], atol=1e-4)


def test_full_logits_are_never_computed_for_a_codec_that_takes_states(tmp_path):
    asked = teacher(tiny.T5)
    encoder = TeacherEncoder.of(asked, MeanCodec(), Silent())
    computed = []
    asked.model.module.lm_head.register_forward_hook(lambda *_: computed.append(1))
    capture(tmp_path, encoder)
    assert computed == []


def test_a_head_whose_logits_are_capped_is_none():
    asked = teacher(tiny.T5)
    own = asked.model.module.forward

    def capped(**options):
        output = own(**options)
        output.logits = 0.5 * torch.tanh(output.logits / 0.5)
        return output

    asked.model.module.forward = capped
    assert asked.head() is None


def capture(folder, encoder, done=frozenset()):
    codec = MeanCodec()
    with CacheWriter(folder, identity(codec, vocab_size=encoder.teacher.vocab_size), codec) as writer:
        if writer.needs_state:
            writer.learn(encoder.learn(ROWS, KEYS))
        added = list(encoder.add_all(writer, ROWS, KEYS, done))
        writer.finish()
    return added


def test_hidden_states_and_logits_decode_to_the_same(tmp_path):
    asked = teacher(tiny.T5)
    by_states = TeacherEncoder.of(asked, MeanCodec(), Silent())
    assert by_states.head is not None
    by_logits = attrs.evolve(by_states, head=None)
    assert sorted(capture(tmp_path / "states", by_states)) == sorted(capture(tmp_path / "logits", by_logits))
    one, other = (LogitCache.open(tmp_path / name, codec=MeanCodec()) for name in ("states", "logits"))
    for key in KEYS.values():
        np.testing.assert_allclose(one.decode(key), other.decode(key), atol=1e-4)


def test_what_is_learnt_does_not_depend_on_the_order_of_rows():
    encoder = TeacherEncoder.of(teacher(tiny.T5), MeanCodec(), Silent())
    one, other = encoder.learn(ROWS, KEYS), encoder.learn(ROWS[::-1], KEYS)
    assert {name: array.tobytes() for name, array in one.items()} == {
        name: array.tobytes() for name, array in other.items()
    }


def test_a_capture_that_goes_on_gives_the_same_bytes(tmp_path):
    encoder = TeacherEncoder.of(teacher(tiny.T5), MeanCodec(), Silent())
    capture(tmp_path / "whole", encoder)
    some = {row.id for row in ROWS[3:9]}
    assert len(capture(tmp_path / "parts", encoder, done=some)) == len(ROWS) - len(some)
    capture(tmp_path / "parts", encoder)
    whole, parts = (LogitCache.open(tmp_path / name, codec=MeanCodec()) for name in ("whole", "parts"))
    assert [whole.get(key) for key in KEYS.values()] == [parts.get(key) for key in KEYS.values()]


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (lambda head: attrs.evolve(head, weight_VD=head.weight_VD * 1.1), "differ from those of its output head"),
        (lambda head: attrs.evolve(head, weight_VD=head.weight_VD[:-1]), "270 wide, its output head makes 269"),
    ],
)
def test_a_teacher_whose_head_is_not_all_is_refused_before_anything_is_captured(wrong, sentence):
    encoder = TeacherEncoder.of(teacher(tiny.T5), MeanCodec(), Silent())
    encoder.check(ROWS, KEYS)
    with pytest.raises(Mismatch, match=sentence):
        attrs.evolve(encoder, head=wrong(encoder.head)).check(ROWS, KEYS)
