"""Masked logits through every codec that keeps them, to the loss. Letters: T target tokens, V vocabulary, K entries kept."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kdkit.api.values import SparseTargets, TeacherBlock
from kdkit.builtin.codecs.float_ import Float
from kdkit.builtin.codecs.sampled import Sampled
from kdkit.builtin.codecs.topk import TopK
from kdkit.builtin.codecs.u8_lz4 import U8LZ4
from kdkit.losses import distillation_loss
from kdkit.losses.divergences import DIVERGENCES
from kdkit.testing.divergences import REFERENCES

TOKENS, VOCAB = 6, 40
# Of more than one and of fewer entries than `TopK(k=8)` keeps.
OPEN = (40, 30, 9, 8, 3, 1)
EXACT = [Float(), TopK(k=VOCAB, step=2.0**-20), TopK(k=8, step=2.0**-20), TopK(k=100, step=2.0**-20)]


def masked_logits() -> np.ndarray:
    """Rows of which some entries are -inf: all but so many as `OPEN` says."""
    random = np.random.default_rng(0)
    logits_TV = random.normal(size=(TOKENS, VOCAB)).astype(np.float32) * 3
    for logits_V, count in zip(logits_TV, OPEN, strict=True):
        logits_V[random.permutation(VOCAB)[count:]] = -np.inf
    return logits_TV


def softmax(logits_TV, temperature=1.0):
    x_TV = np.asarray(logits_TV, np.float64) / temperature
    p_TV = np.exp(x_TV - x_TV.max(axis=-1, keepdims=True))
    return p_TV / p_TV.sum(axis=-1, keepdims=True)


def targets_of(codec, logits_TV):
    payload = codec.encode(TeacherBlock(id="masked", logits_TV=logits_TV))
    return codec.targets([(payload, TOKENS)], vocab_size=VOCAB, device="cpu")


def soft_loss(student_TV, targets, divergence):
    student_BTV = torch.from_numpy(student_TV)[None].requires_grad_()
    labels_BT = torch.zeros(1, TOKENS, dtype=torch.long)
    loss = distillation_loss(student_BTV, targets, labels_BT, alpha=1.0, temperature=1.0, divergence=divergence)
    loss.total.backward()
    return float(loss.soft), student_BTV.grad[0].numpy()


@pytest.mark.parametrize("codec", [*EXACT, U8LZ4(), Sampled()], ids=repr)
def test_what_is_masked_is_minus_infinity_again(codec):
    logits_TV = masked_logits()
    payload = codec.encode(TeacherBlock(id="masked", logits_TV=logits_TV))
    decoded_TV = codec.decode(payload, tokens=TOKENS, vocab_size=VOCAB)
    likeliest_T = decoded_TV.argmax(axis=1)
    assert (likeliest_T == logits_TV.argmax(axis=1)).all()
    if isinstance(codec, Sampled):  # of a sample an entry that was never drawn has a number all the same
        assert (softmax(decoded_TV)[np.isneginf(logits_TV)] < 1e-12).all()
    elif not (isinstance(codec, TopK) and codec.k < VOCAB):
        assert (np.isneginf(decoded_TV) == np.isneginf(logits_TV)).all()


@pytest.mark.parametrize("codec", EXACT, ids=repr)
@pytest.mark.parametrize("divergence", sorted(DIVERGENCES))
@pytest.mark.parametrize("masks", ["the same", "none"])
def test_a_loss_over_masked_logits_is_the_reference(codec, divergence, masks):
    """Of `topk` the reference is that of the entries kept and one for all others, which may have no mass at all."""
    logits_TV = masked_logits()
    student_TV = np.random.default_rng(1).normal(size=(TOKENS, VOCAB))
    if masks == "the same":
        student_TV[np.isneginf(logits_TV)] = -np.inf
    targets = targets_of(codec, logits_TV)
    expected = 0.0
    for token, (p_V, q_V) in enumerate(zip(softmax(logits_TV), softmax(student_TV), strict=True)):
        pair = p_V, q_V
        if isinstance(targets, SparseTargets):
            ids = targets.ids_BTK[0, token].numpy()
            pair = tuple(np.append(each_V[ids], np.delete(each_V, ids).sum()) for each_V in pair)
        expected += REFERENCES[divergence](*pair) / TOKENS
    soft, gradient_TV = soft_loss(student_TV, targets, divergence)
    assert soft == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert np.isinf(expected) == (divergence == "reverse-kl" and masks == "none")
    if np.isfinite(expected):
        assert np.isfinite(gradient_TV).all()
        if masks == "the same":
            assert (gradient_TV[np.isneginf(logits_TV)] == 0).all()


def test_topk_tells_an_entry_that_is_masked_from_one_far_below():
    logits_TV = np.array([[0.0, -1e9, -np.inf, -3.0, -np.inf, -np.inf]], np.float32)
    codec = TopK(k=4)
    found = codec.targets([(codec.encode(TeacherBlock(id="a", logits_TV=logits_TV)), 1)], vocab_size=6, device="cpu")
    assert found.ids_BTK.tolist() == [[[0, 1, 2, 3]]]
    assert found.values_BTK.tolist() == [[[0.0, -64.0, -np.inf, -3.0]]]
    assert found.log_tail_BT[1.0].tolist() == [[-np.inf]]
    far_TV = np.where(np.isneginf(logits_TV), np.float32(-1e9), logits_TV)
    found = codec.targets([(codec.encode(TeacherBlock(id="a", logits_TV=far_TV)), 1)], vocab_size=6, device="cpu")
    assert found.log_tail_BT[1.0].tolist() == [[-700.0]]


def test_a_masked_entry_is_never_drawn():
    logits_TV = masked_logits()
    for draw in ("systematic", "independent"):
        ids_TK = targets_of(Sampled(draws=200, draw=draw), logits_TV).ids_BTK[0].numpy()
        for logits_V, ids_K in zip(logits_TV, ids_TK, strict=True):
            assert np.isfinite(logits_V[ids_K[ids_K >= 0]]).all()
