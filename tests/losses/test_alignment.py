"""Targets of every kind against a float64 reference: what two log-probability tensors a loss sees.

Letters: B batch, T target tokens, V vocabulary, K entries kept, R coordinates, M label tokens that the teacher
has rows for.
"""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdkit.api.values import DenseTargets, FactoredTargets, LabelPlaces, QuantizedTargets, SparseTargets
from kdkit.errors import UsageError
from kdkit.losses import distillation_loss, token_counts
from kdkit.losses.alignment import align, all_rows, label_mask, log_complement, student_rows, teacher_rows
from kdkit.losses.divergences import DIVERGENCES
from kdkit.testing.divergences import REFERENCES

IGNORED = -100
temperatures = st.sampled_from([0.5, 1.0, 2.0, 4.0])


def softmax(logits, temperature):
    x = np.asarray(logits, np.float64) / temperature
    p = np.exp(x - x.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


@attrs.frozen
class Batch:
    """A student, a dense teacher, and which of its entries are kept (True in `kept_BTV`)."""

    student_BTV: np.ndarray
    teacher_BTV: np.ndarray
    labels_BT: np.ndarray
    lengths_B: np.ndarray
    kept_BTV: np.ndarray


@st.composite
def batches(draw, *, wide: bool = False, all_kept: bool = False):
    """Random shapes and masks; `wide` lets the vocabularies differ."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    batch, tokens, rows = (draw(st.integers(1, 3)) for _ in range(3))
    vocab = draw(st.integers(2, 12))
    student_vocab = draw(st.integers(2, 12)) if wide else vocab
    scale = draw(st.sampled_from([0.1, 1.0, 5.0]))
    labels_BT = random.integers(0, student_vocab, (batch, tokens))
    labels_BT[random.random(labels_BT.shape) < draw(st.sampled_from([0.0, 0.3]))] = IGNORED
    kept_BTV = random.random((batch, rows, vocab)) < draw(st.sampled_from([0.2, 0.6]))
    # One entry that the student has too, at least: a row that is all beyond the student's vocabulary has no teacher.
    first_BT1 = random.integers(0, min(vocab, student_vocab), (batch, rows, 1))
    np.put_along_axis(kept_BTV, first_BT1, values=True, axis=-1)
    return Batch(
        student_BTV=random.normal(size=(batch, tokens, student_vocab)) * scale,
        teacher_BTV=random.normal(size=(batch, rows, vocab)) * scale,
        labels_BT=labels_BT,
        lengths_B=random.integers(0, rows + 1, batch),
        kept_BTV=np.ones_like(kept_BTV) if all_kept else kept_BTV,
    )


def sparse(batch: Batch, known, *, shift: float = 0.0, fill: float = float("-inf")) -> SparseTargets:
    """The kept entries as `SparseTargets`, in float64 so that only `align` can be at fault."""
    batches_, rows, vocab = batch.teacher_BTV.shape
    width = int(batch.kept_BTV.sum(axis=-1).max())
    ids_BTK = np.full((batches_, rows, width), -1, np.int64)
    values_BTK = np.full(ids_BTK.shape, -np.inf)
    tails = {each: np.full((batches_, rows), -np.inf) for each in known}
    for b, t in np.ndindex(batches_, rows):
        ids = np.flatnonzero(batch.kept_BTV[b, t])
        ids_BTK[b, t, : len(ids)] = ids
        values_BTK[b, t, : len(ids)] = batch.teacher_BTV[b, t, ids] + shift
        for each, tail_BT in tails.items():
            if len(ids) < vocab:
                tail_BT[b, t] = np.log(softmax(batch.teacher_BTV[b, t], each)[~batch.kept_BTV[b, t]].sum())
    for b, length in enumerate(batch.lengths_B):
        values_BTK[b, length:] = fill
    return SparseTargets(
        ids_BTK=torch.from_numpy(ids_BTK),
        values_BTK=torch.from_numpy(values_BTK),
        log_tail_BT={each: torch.from_numpy(tail_BT) for each, tail_BT in tails.items()},
        vocab_size=vocab,
        lengths_B=torch.from_numpy(batch.lengths_B),
    )


def dense(batch: Batch) -> DenseTargets:
    return DenseTargets(logits_BTV=torch.from_numpy(batch.teacher_BTV), lengths_B=torch.from_numpy(batch.lengths_B))


def counted(batch: Batch):
    """Where there are a label and a row of the teacher's."""
    for b, t in np.ndindex(batch.labels_BT.shape):
        if batch.labels_BT[b, t] != IGNORED and t < batch.lengths_B[b]:
            yield b, t


def reference_loss(batch: Batch, temperature: float) -> float:
    """Forward KL of the K + 1 masses, by loops."""
    losses = []
    for b, t in counted(batch):
        width = min(batch.student_BTV.shape[-1], batch.teacher_BTV.shape[-1])
        p_V = softmax(batch.teacher_BTV[b, t], temperature)
        ids = [i for i in np.flatnonzero(batch.kept_BTV[b, t]) if i < width]
        # What is kept and the student has no token for goes; nothing is known of where the tail's mass stands.
        # But where the student has no other entry, it stands beyond the student's vocabulary.
        tail = p_V[~batch.kept_BTV[b, t]].sum() if len(ids) < width else 0.0
        p = np.array([*p_V[ids], tail]) / (p_V[ids].sum() + tail)
        q_V = softmax(batch.student_BTV[b, t, :width], temperature)
        q = np.array([*q_V[ids], q_V[[i for i in range(width) if i not in ids]].sum()])
        losses.append(sum(x * np.log(x / y) if x > 0 else 0.0 for x, y in zip(p, q, strict=True)))
    return float(np.sum(losses)) * temperature**2 / max(len(losses), 1)


def close(value: float):
    """Everything is in float64 here, so that little but the logarithms of differences may be off."""
    return pytest.approx(value, rel=1e-4, abs=2e-5)


def loss_of(batch: Batch, targets, temperature: float):
    """The soft loss, and its gradient with respect to the student's logits."""
    student_BTV = torch.from_numpy(batch.student_BTV).requires_grad_()
    labels_BT = torch.from_numpy(batch.labels_BT)
    loss = distillation_loss(student_BTV, targets, labels_BT, alpha=1.0, temperature=temperature)
    loss.total.backward()
    assert student_BTV.grad is not None
    return float(loss.soft), student_BTV.grad.numpy()


@given(batches(), temperatures, st.sampled_from([0.0, -7.5]))
@settings(deadline=None)
def test_sparse_targets_are_their_entries_and_one_for_all_others(batch, temperature, shift):
    labels_BT, targets = torch.from_numpy(batch.labels_BT), sparse(batch, [temperature], shift=shift)
    student = student_rows(torch.from_numpy(batch.student_BTV)[label_mask(labels_BT)])
    aligned = align(student, teacher_rows(targets, LabelPlaces.of(labels_BT)), temperature=temperature)
    places = list(counted(batch))
    assert (
        aligned.teacher_logp_MV.shape == aligned.student_logp_MV.shape == (len(places), targets.ids_BTK.shape[-1] + 1)
    )
    for index, (b, t) in enumerate(places):
        ids = np.flatnonzero(batch.kept_BTV[b, t])
        for logp_MV, logits in (
            (aligned.teacher_logp_MV, batch.teacher_BTV),
            (aligned.student_logp_MV, batch.student_BTV),
        ):
            p_V, found = softmax(logits[b, t], temperature), logp_MV[index].exp().numpy()
            np.testing.assert_allclose(found[: len(ids)], p_V[ids], rtol=2e-5, atol=1e-9)
            np.testing.assert_allclose(found[-1], np.delete(p_V, ids).sum(), rtol=2e-5, atol=1e-6)
            assert (found[len(ids) : -1] == 0).all()


@given(batches(wide=True), temperatures)
@settings(deadline=None)
def test_the_sparse_loss_is_the_reference_also_where_vocabularies_differ(batch, temperature):
    found, _ = loss_of(batch, sparse(batch, [temperature]), temperature)
    assert found == close(reference_loss(batch, temperature))


@given(batches(all_kept=True, wide=True), temperatures)
@settings(deadline=None)
def test_with_every_entry_kept_sparse_is_dense_gradient_included(batch, temperature):
    loss, gradient = loss_of(batch, sparse(batch, [temperature]), temperature)
    dense_loss, dense_gradient = loss_of(batch, dense(batch), temperature)
    assert loss == close(dense_loss)
    np.testing.assert_allclose(gradient, dense_gradient, rtol=1e-4, atol=1e-6)


@given(batches(), temperatures)
@settings(deadline=None)
def test_the_sparse_loss_is_never_more_than_the_dense_one(batch, temperature):
    found, _ = loss_of(batch, sparse(batch, [temperature]), temperature)
    most, _ = loss_of(batch, dense(batch), temperature)
    assert -2e-5 <= found <= most * (1 + 1e-5) + 2e-5


@given(batches(), temperatures)
@settings(deadline=None)
def test_the_gradient_of_the_sparse_loss_is_what_differences_say(batch, temperature):
    targets = sparse(batch, [temperature])
    _, gradient = loss_of(batch, targets, temperature)
    assert np.isfinite(gradient).all()
    direction = np.random.default_rng(0).normal(size=gradient.shape)
    ahead, behind = (
        reference_loss(attrs.evolve(batch, student_BTV=batch.student_BTV + sign * 1e-5 * direction), temperature)
        for sign in (1, -1)
    )
    assert (gradient * direction).sum() == pytest.approx((ahead - behind) / 2e-5, rel=1e-3, abs=1e-4)


@given(batches(all_kept=True), temperatures)
@settings(deadline=None)
def test_entries_without_a_tail_are_the_distribution(batch, temperature):
    """As `sampled` gives them: some entries, and nothing for the others."""
    targets = sparse(batch, [temperature])
    first = attrs.evolve(targets, ids_BTK=targets.ids_BTK[..., :2], values_BTK=targets.values_BTK[..., :2])
    loss, gradient = loss_of(batch, first, temperature)
    expected, count = 0.0, 0
    for b, t in counted(batch):
        p = softmax(batch.teacher_BTV[b, t, :2], temperature)
        q = softmax(batch.student_BTV[b, t], temperature)[:2]
        expected, count = expected + (p * np.log(p / q)).sum(), count + 1
    assert loss == close(expected * temperature**2 / max(count, 1))
    assert np.isfinite(gradient).all()


@given(batches(), temperatures, st.integers(1, 5))
@settings(deadline=None)
def test_factored_targets_are_their_product(batch, temperature, rank):
    random = np.random.default_rng(1)
    vocab = batch.teacher_BTV.shape[-1]
    coordinates_BTR = random.normal(size=(*batch.teacher_BTV.shape[:2], rank))
    basis_RV, offset_V = random.normal(size=(rank, vocab)), random.normal(size=vocab)
    product = attrs.evolve(batch, teacher_BTV=coordinates_BTR @ basis_RV + offset_V)
    tensors = map(torch.from_numpy, (coordinates_BTR, basis_RV, offset_V, batch.lengths_B))
    factored = FactoredTargets(
        **dict(zip(("coordinates_BTR", "basis_RV", "offset_V", "lengths_B"), tensors, strict=True))
    )
    loss, gradient = loss_of(batch, factored, temperature)
    dense_loss, dense_gradient = loss_of(batch, dense(product), temperature)
    assert loss == pytest.approx(dense_loss, rel=1e-9, abs=1e-12)
    np.testing.assert_allclose(gradient, dense_gradient, rtol=1e-9, atol=1e-12)


def quantized(batch: Batch, *, tails: bool, fill: float = 0.0, kind=np.float64) -> QuantizedTargets:
    """Random codes and grids of the teacher's shape; `fill` is what padding's grids hold."""
    random = np.random.default_rng(2)
    shape = batch.teacher_BTV.shape
    grids = [random.uniform(0.01, 0.2, shape[:2]), random.uniform(-20, 280, shape[:2]), random.normal(size=shape[:2])]
    codes_BTV = random.integers(0, 4, shape) * random.integers(0, 86, shape)  # 0 often enough
    for each_BT in grids:
        each_BT[np.arange(shape[1]) >= batch.lengths_B[:, None]] = fill
    scale_BT, zero_point_BT, tail_BT = (torch.from_numpy(each_BT.astype(kind)) for each_BT in grids)
    return QuantizedTargets(
        codes_BTV=torch.from_numpy(codes_BTV.astype(np.uint8)),
        scale_BT=scale_BT,
        zero_point_BT=zero_point_BT,
        tail_BT=tail_BT if tails else None,
        lengths_B=torch.from_numpy(batch.lengths_B),
    )


@given(batches(wide=True), temperatures, st.booleans(), st.sampled_from([0.0, float("nan"), float("inf")]))
@settings(deadline=None)
def test_quantized_targets_are_their_codes_points_on_the_grids(batch, temperature, tails, fill):
    """Also where the teacher's vocabulary has another width, and whatever the grids of padding hold."""
    clean = quantized(batch, tails=tails)
    logits_BTV = np.zeros(batch.teacher_BTV.shape)
    for b, t, v in np.ndindex(logits_BTV.shape):
        code, scale, zero_point = int(clean.codes_BTV[b, t, v]), float(clean.scale_BT[b, t]), clean.zero_point_BT[b, t]
        logits_BTV[b, t, v] = (code - (1 if tails else 0) - float(zero_point)) * scale
        if clean.tail_BT is not None and code == 0:
            logits_BTV[b, t, v] = float(clean.tail_BT[b, t])
    loss, gradient = loss_of(batch, quantized(batch, tails=tails, fill=fill), temperature)
    dense_loss, dense_gradient = loss_of(batch, dense(attrs.evolve(batch, teacher_BTV=logits_BTV)), temperature)
    assert loss == pytest.approx(dense_loss, rel=1e-9, abs=1e-12)
    np.testing.assert_allclose(gradient, dense_gradient, rtol=1e-9, atol=1e-12)


@given(batches(), temperatures, st.sampled_from([torch.float16, torch.bfloat16, torch.float32]))
@settings(deadline=None)
def test_narrow_teachers_are_widened_for_the_loss_whatever_their_padding_holds(batch, temperature, kind):
    stored_BTV = torch.from_numpy(batch.teacher_BTV).to(kind)
    exact_BTV = stored_BTV.double().numpy()
    beyond_BT = torch.arange(stored_BTV.shape[1]) >= torch.from_numpy(batch.lengths_B)[:, None]
    narrow = DenseTargets(
        logits_BTV=stored_BTV.masked_fill(beyond_BT[..., None], torch.nan), lengths_B=torch.from_numpy(batch.lengths_B)
    )
    loss, gradient = loss_of(batch, narrow, temperature)
    wide_loss, wide_gradient = loss_of(batch, dense(attrs.evolve(batch, teacher_BTV=exact_BTV)), temperature)
    assert loss == pytest.approx(wide_loss, rel=1e-5, abs=1e-5)
    np.testing.assert_allclose(gradient, wide_gradient, rtol=1e-4, atol=1e-6)
    assert narrow.logits(all_rows(narrow)).dtype == torch.float32


@given(batches(), st.sampled_from(["whole", "shifted", "transposed", "one row for all"]))
@settings(max_examples=60, deadline=None)
def test_known_rows_are_picked_however_the_tensor_lies_in_memory(batch, layout):
    given_BTV = torch.from_numpy(batch.teacher_BTV)
    laid_BTV = {
        "whole": given_BTV,
        "shifted": torch.cat([given_BTV[:, :1], given_BTV], dim=1)[:, 1:],
        "transposed": given_BTV.transpose(0, 1).contiguous().transpose(0, 1),
        "one row for all": given_BTV[:, :1].expand(given_BTV.shape),
    }[layout]
    targets = DenseTargets(logits_BTV=laid_BTV, lengths_B=torch.from_numpy(batch.lengths_B))
    rows = teacher_rows(targets, LabelPlaces.of(torch.from_numpy(batch.labels_BT)))
    found_MV = rows.known(laid_BTV)
    assert found_MV.tolist() == [laid_BTV[b, t].tolist() for b, t in counted(batch)]
    everywhere = [row_V.tolist() for row_TV, n in zip(laid_BTV, batch.lengths_B, strict=True) for row_V in row_TV[:n]]
    assert all_rows(targets).known(laid_BTV).tolist() == everywhere


@given(batches(), temperatures, st.sampled_from([float("-inf"), 0.0, 1e30, float("nan")]))
@settings(deadline=None)
def test_padding_and_masked_tokens_never_count(batch, temperature, fill):
    """Whatever stands there: values of the teacher's padding, logits of the student's masked tokens."""
    plain = loss_of(batch, sparse(batch, [temperature]), temperature)
    noisy = batch.student_BTV.copy()
    noisy[batch.labels_BT == IGNORED] += 1000.0
    found = loss_of(attrs.evolve(batch, student_BTV=noisy), sparse(batch, [temperature], fill=fill), temperature)
    assert found[0] == plain[0]
    np.testing.assert_array_equal(found[1], plain[1])
    counts = [
        token_counts(torch.from_numpy(batch.labels_BT), targets) for targets in (dense(batch), sparse(batch, [1.0]))
    ]
    assert counts[0] == counts[1]
    assert counts[0].soft == len(list(counted(batch)))


@given(batches(), st.data())
@settings(max_examples=30, deadline=None)
def test_the_rows_of_some_tokens_are_those_of_all_between_them(batch, data):
    labels_BT = torch.from_numpy(batch.labels_BT)
    tokens = int(label_mask(labels_BT).sum())
    cut = data.draw(st.integers(0, tokens))
    for targets in (dense(batch), sparse(batch, [1.0])):
        whole = teacher_rows(targets, LabelPlaces.of(labels_BT))
        of = targets.values_BTK if isinstance(targets, SparseTargets) else targets.logits_BTV
        pieces = [whole.between(0, cut), whole.between(cut, tokens)]
        assert torch.equal(torch.cat([piece.known(of) for piece in pieces]), whole.known(of))
        assert whole.known(of).tolist() == [of[b, t].tolist() for b, t in counted(batch)]


def test_a_temperature_that_is_not_known_is_refused_with_those_that_are():
    batch = Batch(
        student_BTV=np.zeros((1, 1, 3)), teacher_BTV=np.zeros((1, 1, 3)), labels_BT=np.zeros((1, 1), np.int64),
        lengths_B=np.ones(1, np.int64), kept_BTV=np.ones((1, 1, 3), bool),
    )  # fmt: skip
    with pytest.raises(UsageError, match=r"known only at temperature 1, 2\.5, not at 2$"):
        loss_of(batch, sparse(batch, [1.0, 2.5]), 2.0)


def of_row(ids, values, log_tail, vocab_size, *, temperature=1.0) -> SparseTargets:
    """One row of sparse targets, in float64."""
    return SparseTargets(
        ids_BTK=torch.tensor([[ids]]),
        values_BTK=torch.tensor([[values]], dtype=torch.float64),
        log_tail_BT={temperature: torch.tensor([[log_tail]], dtype=torch.float64)},
        vocab_size=vocab_size,
        lengths_B=torch.tensor([1]),
    )


def soft_loss(student, targets, divergence):
    """The soft loss of one token, and its gradient."""
    leaf_BTV = torch.tensor([[student]], dtype=torch.float64, requires_grad=True)
    loss = distillation_loss(leaf_BTV, targets, torch.tensor([[0]]), alpha=1.0, temperature=1.0, divergence=divergence)
    loss.total.backward()
    return float(loss.soft), leaf_BTV.grad[0, 0].tolist()


@pytest.mark.parametrize("divergence", sorted(DIVERGENCES))
@pytest.mark.parametrize("log_tail", [-2.0, np.log(1e-12), -np.inf])
def test_a_row_of_which_the_student_has_no_kept_entry_says_nothing(divergence, log_tail):
    """All that is known of it is that the others have all there is."""
    soft, gradient = soft_loss([1.0, 1.0, 4.0], of_row([9, 10], [0.0, 0.5], log_tail, 12), divergence)
    assert soft == pytest.approx(0, abs=1e-12)
    assert gradient == [0, 0, 0]


@pytest.mark.parametrize("divergence", sorted(DIVERGENCES))
@pytest.mark.parametrize("log_tail", [-2.0, np.log(1e-12), -np.inf])
def test_a_student_without_mass_outside_the_kept_entries_has_no_gradient_there(divergence, log_tail):
    p = np.append(softmax([0.0, 0.5], 1) * -np.expm1(log_tail), np.exp(log_tail))
    q = np.append(softmax([1.0, 0.0], 1), 0.0)
    soft, gradient = soft_loss([1.0, 0.0, -np.inf, -np.inf], of_row([0, 1], [0.0, 0.5], log_tail, 4), divergence)
    with np.errstate(divide="ignore"):
        assert soft == pytest.approx(REFERENCES[divergence](p, q), rel=1e-9, abs=1e-12)
    assert np.isfinite(gradient).all()
    assert gradient[2:] == [0, 0]


@pytest.mark.parametrize("tail", [0.0, 1e-12, 0.3, 1 - 1e-9])
@pytest.mark.parametrize("divergence", sorted(DIVERGENCES))
def test_a_tail_of_any_mass_is_the_reference(divergence, tail):
    """In float32, which is what a cache gives: of little mass in the tail or in the kept entries nothing is lost."""
    kept, student = np.array([0.7, -0.4]), np.array([0.2, 1.0, -0.5, 0.1])
    with np.errstate(divide="ignore"):
        log_tail = np.log(tail) if tail < 0.9 else np.log1p(-1e-9)
        p = np.append(softmax(kept, 1) * -np.expm1(np.float64(np.float32(log_tail))), tail)
        q_V = softmax(student, 1)
        expected = REFERENCES[divergence](p, np.append(q_V[:2], q_V[2:].sum()))
    targets = of_row([0, 1], kept.tolist(), log_tail, 4)
    narrow = attrs.evolve(
        targets, values_BTK=targets.values_BTK.float(), log_tail_BT={1.0: targets.log_tail_BT[1.0].float()}
    )
    soft, gradient = soft_loss(student.tolist(), narrow, divergence)
    assert soft == pytest.approx(expected, rel=1e-5, abs=1e-7)
    assert np.isfinite(gradient).all() == np.isfinite(expected)


def test_what_is_known_of_nearly_all_mass_in_the_tail_is_exact():
    """1 - exp(x) would round it away."""
    logp = torch.tensor([-1e-9, -1e-4, -0.6, -0.8, -30.0])
    np.testing.assert_allclose(log_complement(logp), np.log(-np.expm1(logp.double().numpy())), 1e-6, 1e-12)
    assert log_complement(torch.tensor([0.0, -np.inf])).tolist() == [-np.inf, 0.0]


def test_one_entry_for_the_tail_makes_a_truncated_sum_a_divergence():
    """Of K = 2 entries alone the sum would be -0.137, and renormalised 0.0001."""
    p, q = np.log([0.5, 0.3, 0.2]), np.log([0.6, 0.35, 0.05])
    soft, gradient = soft_loss(q.tolist(), of_row([0, 1], p[:2].tolist(), p[2], 3), "forward-kl")
    assert soft == pytest.approx(0.140, abs=5e-4)
    np.testing.assert_allclose(gradient, np.exp(q) - np.exp(p), atol=1e-12)
