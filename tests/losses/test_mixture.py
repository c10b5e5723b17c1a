"""The loss against a float64 NumPy reference, over random shapes, masks, temperatures and alphas."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdkit import distillation_loss
from kdkit.api.values import DenseTargets, LabelPlaces, TokenCounts
from kdkit.builtin.losses.kd import KD
from kdkit.errors import Mismatch, UsageError
from kdkit.losses import HardLoss, token_counts
from kdkit.losses.alignment import label_mask, teacher_rows
from kdkit.losses.divergences import DIVERGENCES
from kdkit.testing.divergences import REFERENCES


def reference(student_BTV, teacher_BTV, labels_BT, alpha, temperature):
    """The thesis's definition, written with loops."""

    def logp(row):
        row = row - row.max()
        return row - math.log(np.exp(row).sum())

    hard, soft = [], []
    for b, t in np.ndindex(labels_BT.shape):
        label = labels_BT[b, t]
        if label == -100:
            continue
        hard.append(-logp(student_BTV[b, t])[label])
        if t < teacher_BTV.shape[1]:
            width = min(student_BTV.shape[-1], teacher_BTV.shape[-1])
            p = logp(teacher_BTV[b, t, :width] / temperature)
            q = logp(student_BTV[b, t, :width] / temperature)
            soft.append((np.exp(p) * (p - q)).sum() * temperature**2)
    hard_mean = np.mean(hard) if hard else 0.0
    soft_mean = np.mean(soft) if soft else 0.0
    return alpha * soft_mean + (1 - alpha) * hard_mean, hard_mean, soft_mean


@st.composite
def batches(draw):
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    batch, tokens, teacher_tokens = (draw(st.integers(1, 4)) for _ in range(3))
    vocab, teacher_vocab = draw(st.integers(2, 12)), draw(st.integers(2, 12))
    student = rng.normal(size=(batch, tokens, vocab)) * draw(st.sampled_from([0.1, 1.0, 20.0]))
    teacher = rng.normal(size=(batch, teacher_tokens, teacher_vocab)) * draw(st.sampled_from([0.1, 1.0, 20.0]))
    labels = rng.integers(0, vocab, size=(batch, tokens))
    labels[rng.random(labels.shape) < draw(st.sampled_from([0.0, 0.3, 1.0]))] = -100
    return student, teacher, labels


alphas = st.sampled_from([0.0, 0.25, 0.5, 1.0])
temperatures = st.sampled_from([0.1, 0.5, 1.0, 2.0, 4.0])


@given(batches(), alphas, temperatures)
def test_the_loss_is_the_definition(batch, alpha, temperature):
    student, teacher, labels = batch
    loss = distillation_loss(
        torch.from_numpy(student), torch.from_numpy(teacher), torch.from_numpy(labels),
        alpha=alpha, temperature=temperature,
    )  # fmt: skip
    expected = reference(student, teacher, labels, alpha, temperature)
    np.testing.assert_allclose([loss.total, loss.hard, loss.soft], expected, rtol=1e-9, atol=1e-9)


@given(batches(), temperatures)
def test_a_student_that_equals_its_teacher_has_no_soft_loss_and_no_gradient(batch, temperature):
    student, _, labels = batch
    student_BTV = torch.from_numpy(student).requires_grad_()
    loss = distillation_loss(
        student_BTV, torch.from_numpy(student), torch.from_numpy(labels), alpha=1.0, temperature=temperature
    )
    loss.total.backward()
    assert abs(float(loss.soft)) < 1e-10
    assert student_BTV.grad is not None
    assert float(student_BTV.grad.abs().max()) < 1e-10


@given(batches(), temperatures)
def test_the_soft_loss_is_never_negative(batch, temperature):
    student, teacher, labels = map(torch.from_numpy, batch)
    loss = distillation_loss(student, teacher, labels, alpha=0.5, temperature=temperature)
    assert float(loss.soft) >= -1e-12


@given(batches(), alphas)
def test_what_stands_under_a_mask_never_counts(batch, alpha):
    student, teacher, labels = map(torch.from_numpy, batch)
    noisy = student.clone()
    noisy[labels == -100] += 1000.0
    before = distillation_loss(student, teacher, labels, alpha=alpha, temperature=2.0)
    after = distillation_loss(noisy, teacher, labels, alpha=alpha, temperature=2.0)
    assert float(before.total) == float(after.total)


def test_at_its_ends_alpha_is_one_loss_alone():
    torch.manual_seed(0)
    student, teacher, labels = torch.randn(2, 3, 7), torch.randn(2, 3, 7), torch.randint(0, 7, (2, 3))
    hard = distillation_loss(student, teacher, labels, alpha=0.0, temperature=2.0)
    soft = distillation_loss(student, teacher, labels, alpha=1.0, temperature=2.0)
    assert float(hard.total) == float(hard.hard) == float(soft.hard)
    assert float(soft.total) == float(soft.soft) == float(hard.soft)
    expected = torch.nn.functional.cross_entropy(student.flatten(0, 1), labels.flatten())
    torch.testing.assert_close(hard.total, expected)


def test_each_term_reaches_the_student_and_none_the_teacher():
    torch.manual_seed(0)
    teacher = torch.randn(2, 3, 7, requires_grad=True)
    labels = torch.randint(0, 7, (2, 3))
    for alpha in (0.0, 0.5, 1.0):
        student = torch.randn(2, 3, 7, requires_grad=True)
        distillation_loss(student, teacher, labels, alpha=alpha, temperature=2.0).total.backward()
        assert student.grad is not None
        assert float(student.grad.abs().min()) > 0
        assert teacher.grad is None


def apply(loss, student_BTV, labels_BT, targets, counts=None):
    """A mixer on all label tokens of a batch."""
    mask_BT = label_mask(labels_BT)
    rows = teacher_rows(targets, LabelPlaces.of(labels_BT))
    return loss(student_BTV[mask_BT], labels_BT[mask_BT], rows, counts or token_counts(labels_BT, targets))


@given(batches(), alphas, st.integers(1, 3))
def test_splitting_a_batch_does_not_change_its_loss(batch, alpha, pieces):
    student, teacher, labels = map(torch.from_numpy, batch)
    loss = KD(alpha=alpha, temperature=2.0)
    lengths = torch.full((len(labels),), teacher.shape[1])
    whole = apply(loss, student, labels, DenseTargets(logits_BTV=teacher, lengths_B=lengths))
    counts = token_counts(labels, DenseTargets(logits_BTV=teacher, lengths_B=lengths))
    total = sum(
        float(apply(loss, s, y, DenseTargets(logits_BTV=t, lengths_B=n), counts).total)
        for s, t, y, n in zip(
            *(tensor.tensor_split(pieces) for tensor in (student, teacher, labels, lengths)), strict=True
        )
        if len(y)
    )
    assert total == pytest.approx(float(whole.total), abs=1e-9)


@pytest.mark.parametrize(("lengths", "pieces"), [((1, 16, 3, 7, 2, 9, 5, 16), (2, 4, 8)), ((2,) * 4 + (16,) * 4, (2,))])
def test_micro_batches_of_any_size_give_one_loss_and_one_gradient(lengths, pieces):
    """Means are over the tokens of the step: a mean of the micro-batches' means would weigh short rows more."""
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(2, len(lengths), max(lengths), 11)) * 3
    labels_BT = torch.from_numpy(rng.integers(0, 11, student.shape[:2]))
    labels_BT[torch.arange(max(lengths)) >= torch.tensor(lengths)[:, None]] = -100
    targets = DenseTargets(logits_BTV=torch.from_numpy(teacher), lengths_B=torch.tensor(lengths))
    counts = token_counts(labels_BT, targets)
    found = []
    for count in (1, *pieces):
        leaf_BTV, total = torch.from_numpy(student).requires_grad_(), 0.0
        for part in torch.arange(len(lengths)).tensor_split(count):
            own = DenseTargets(logits_BTV=targets.logits_BTV[part], lengths_B=targets.lengths_B[part])
            loss = apply(KD(alpha=0.5, temperature=2.0), leaf_BTV[part], labels_BT[part], own, counts).total
            loss.backward()
            total += float(loss.detach())
        found.append((total, leaf_BTV.grad))
    expected = reference_by_lengths(student, teacher, labels_BT.numpy(), lengths)
    for total, gradient_BTV in found:
        assert total == pytest.approx(expected, rel=1e-9)
        torch.testing.assert_close(gradient_BTV, found[0][1], rtol=1e-9, atol=1e-12)


def reference_by_lengths(student, teacher, labels_BT, lengths):
    """The mixture at alpha 0.5 and temperature 2 over the real tokens of all rows, by `reference`."""
    tokens = [(b, t) for b, length in enumerate(lengths) for t in range(length)]
    one = [np.stack([array[place] for place in tokens])[None] for array in (student, teacher, labels_BT)]
    return reference(*one, 0.5, 2.0)[0]


def test_teacher_rows_beyond_their_length_are_never_read():
    torch.manual_seed(0)
    student, labels = torch.randn(2, 4, 5), torch.randint(0, 5, (2, 4))
    teacher = torch.randn(2, 4, 5)
    lengths = torch.tensor([2, 4])
    spoilt = teacher.clone()
    spoilt[0, 2:] = float("nan")
    loss = KD(alpha=1.0)
    clean, other = (
        apply(loss, student, labels, DenseTargets(logits_BTV=rows_BTV, lengths_B=lengths))
        for rows_BTV in (teacher, spoilt)
    )
    assert float(clean.total) == float(other.total)


@pytest.mark.parametrize(
    ("temperature", "lengths", "softmaxes"), [(1.0, [3, 3], 2), (1.0, [3, 1], 2), (2.0, [3, 3], 3)]
)
def test_what_both_terms_need_of_the_student_is_made_once(monkeypatch, temperature, lengths, softmaxes):
    """At temperature 1 one log-softmax serves the hard and the soft loss; the other is the teacher's."""
    made, inner = [], torch.log_softmax
    monkeypatch.setattr(torch, "log_softmax", lambda x, dim: made.append(x) or inner(x, dim))
    torch.manual_seed(0)
    targets = DenseTargets(logits_BTV=torch.randn(2, 3, 7), lengths_B=torch.tensor(lengths))
    apply(KD(alpha=0.5, temperature=temperature), torch.randn(2, 3, 7), torch.randint(0, 7, (2, 3)), targets)
    assert len(made) == softmaxes


@given(batches(), alphas, temperatures)
def test_the_gradient_is_that_of_the_definition(batch, alpha, temperature):
    """Shared pieces must not lose or double a gradient."""
    student, teacher, labels = map(torch.from_numpy, batch)
    student_BTV, other_BTV = student.clone().requires_grad_(), student.clone().requires_grad_()
    loss = distillation_loss(student_BTV, teacher, labels, alpha=alpha, temperature=temperature)
    rows, width = min(labels.shape[1], teacher.shape[1]), min(student.shape[-1], teacher.shape[-1])
    is_soft_BT = (labels != -100)[:, :rows]
    hard = torch.nn.functional.cross_entropy(
        other_BTV.flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="sum"
    )
    logp_BTV = (other_BTV[:, :rows, :width] / temperature).log_softmax(-1)
    teacher_logp_BTV = (teacher[:, :rows, :width] / temperature).log_softmax(-1)
    kl_BT = (teacher_logp_BTV.exp() * (teacher_logp_BTV - logp_BTV)).sum(-1) * is_soft_BT
    soft = kl_BT.sum() * temperature**2 / max(int(is_soft_BT.sum()), 1)
    (alpha * soft + (1 - alpha) * hard / max(int((labels != -100).sum()), 1)).backward()
    if loss.total.requires_grad:
        loss.total.backward()
    torch.testing.assert_close(student_BTV.grad, other_BTV.grad, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_the_divergence_and_its_parameter_can_be_chosen(name):
    rng = np.random.default_rng(0)
    student, teacher = rng.normal(size=(2, 1, 3, 8))
    parameter = DIVERGENCES[name].parameter
    options = {parameter: 0.3} if parameter else {}
    loss = distillation_loss(
        torch.from_numpy(student), torch.from_numpy(teacher), torch.tensor([[1, -100, 2]]),
        alpha=1.0, temperature=2.0, divergence=name, **options,
    )  # fmt: skip
    p, q = (torch.from_numpy(logits[0, [0, 2]] / 2).softmax(-1).numpy() for logits in (teacher, student))
    expected = np.mean([REFERENCES[name](*pair, **options) for pair in zip(p, q, strict=True)]) * 4
    assert float(loss.total) == pytest.approx(expected, rel=1e-9)


def test_half_precision_is_widened_before_the_softmax():
    torch.manual_seed(0)
    student, teacher, labels = torch.randn(1, 2, 50), torch.randn(1, 2, 50), torch.tensor([[1, 2]])
    low = distillation_loss(student.bfloat16(), teacher.bfloat16(), labels, alpha=0.5, temperature=1.0)
    same = distillation_loss(student.bfloat16().float(), teacher.bfloat16().float(), labels, alpha=0.5, temperature=1.0)
    assert low.total.dtype == torch.float32
    assert float(low.total) == float(same.total)


def test_without_targets_there_is_a_hard_loss_only():
    student, labels = torch.zeros(1, 4, requires_grad=True), torch.tensor([1])
    parts = HardLoss()(student, labels, None, TokenCounts(hard=1))
    same = KD(alpha=0.0)(student, labels, None, TokenCounts(hard=1))
    assert float(parts.total.detach()) == float(same.total.detach())
    assert float(parts.total.detach()) == pytest.approx(math.log(4))
    assert math.isnan(float(parts.soft))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alpha": 2.0, "temperature": 1.0}, "alpha must be from 0 to 1, is 2.0"),
        ({"alpha": 0.5, "temperature": 0.0}, "temperature must be greater than 0, is 0.0"),
        ({"alpha": 0.5, "temperature": 1.0, "divergence": "kl"}, 'unknown divergence "kl"'),
        ({"alpha": 0.5, "temperature": 1.0, "skew": 0.5}, 'skew is an option of the divergence "skew-forward-kl"'),
    ],
)
def test_options_out_of_range_are_refused(options, message):
    with pytest.raises(UsageError, match=message):
        distillation_loss(torch.zeros(1, 1, 2), torch.zeros(1, 1, 2), torch.zeros(1, 1, dtype=torch.long), **options)


def test_shapes_that_do_not_fit_are_refused():
    labels = torch.zeros(2, 3, dtype=torch.long)
    with pytest.raises(Mismatch, match=r"student logits of shape \(2, 4, 5\)"):
        distillation_loss(torch.zeros(2, 4, 5), torch.zeros(2, 3, 5), labels, alpha=0.5, temperature=1.0)
    with pytest.raises(Mismatch, match=r"teacher logits of shape \(1, 3, 5\)"):
        distillation_loss(torch.zeros(2, 3, 5), torch.zeros(1, 3, 5), labels, alpha=0.5, temperature=1.0)
