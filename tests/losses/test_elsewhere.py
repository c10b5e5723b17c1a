"""What docs/losses.md says of other toolkits' losses, on one batch. Letters: N tokens, V vocabulary."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kdkit import distillation_loss

LOGITS_2NV = np.random.default_rng(0).normal(size=(2, 6, 9)) * 2
LABELS_N = np.arange(6)


def softmax(logits_NV, temperature=1.0):
    p_NV = np.exp(logits_NV / temperature)
    return p_NV / p_NV.sum(axis=-1, keepdims=True)


def kl(p_NV, q_NV):
    return (p_NV * np.log(p_NV / q_NV)).sum(axis=-1).mean()


def ours(**options):
    """Loss, and its gradient."""
    student_BTV = torch.from_numpy(LOGITS_2NV[1][None]).requires_grad_()
    defaults = {"alpha": 1.0, "temperature": 1.0}
    labels_BT = torch.from_numpy(LABELS_N[None])
    total = distillation_loss(student_BTV, torch.from_numpy(LOGITS_2NV[0][None]), labels_BT, **defaults | options).total
    total.backward()
    return float(total.detach()), student_BTV.grad


@pytest.mark.parametrize("lam", [0.1, 0.9])
def test_where_lam_is_the_students_weight_beta_is_the_rest(lam):
    p_NV, q_NV = map(softmax, LOGITS_2NV)
    mixed_NV = (1 - lam) * p_NV + lam * q_NV
    theirs = lam * kl(q_NV, mixed_NV) + (1 - lam) * kl(p_NV, mixed_NV)
    assert ours(divergence="jensen-shannon", beta=1 - lam)[0] == pytest.approx(theirs, rel=1e-9)


def test_where_lam_is_a_skew_it_is_ours():
    p_NV, q_NV = map(softmax, LOGITS_2NV)
    found = {name: ours(divergence=name, skew=0.2)[0] for name in ("skew-forward-kl", "skew-reverse-kl")}
    assert found["skew-forward-kl"] == pytest.approx(kl(p_NV, 0.2 * p_NV + 0.8 * q_NV), rel=1e-9)
    assert found["skew-reverse-kl"] == pytest.approx(kl(q_NV, 0.8 * p_NV + 0.2 * q_NV), rel=1e-9)


@pytest.mark.parametrize(("soft", "hard", "temperature"), [(0.5, 0.5, 2.0), (0.9, 0.1, 4.0)])
def test_weights_without_t_squared_are_one_alpha_up_to_a_factor_of_all(soft, hard, temperature):
    student_NV = torch.from_numpy(LOGITS_2NV[1]).requires_grad_()
    p_NV = torch.from_numpy(softmax(LOGITS_2NV[0], temperature))
    logq_NV = (student_NV / temperature).log_softmax(-1)
    soft_loss = (p_NV * (p_NV.log() - logq_NV)).sum(-1).mean()
    hard_loss = torch.nn.functional.cross_entropy(student_NV, torch.from_numpy(LABELS_N))
    (soft * soft_loss + hard * hard_loss).backward()
    alpha = soft / (soft + hard * temperature**2)
    _, gradient_BTV = ours(alpha=alpha, temperature=temperature)
    torch.testing.assert_close(gradient_BTV[0] * hard / (1 - alpha), student_NV.grad)


def test_a_value_that_holds_the_teachers_entropy_is_higher_by_it_and_has_our_gradient():
    student_NV = torch.from_numpy(LOGITS_2NV[1]).requires_grad_()
    p_NV = torch.from_numpy(softmax(LOGITS_2NV[0]))
    theirs = -(p_NV * student_NV.log_softmax(-1)).sum(-1).mean()
    theirs.backward()
    total, gradient_BTV = ours()
    entropy = float(-(p_NV * p_NV.log()).sum(-1).mean())
    assert float(theirs.detach()) == pytest.approx(total + entropy, rel=1e-9)
    torch.testing.assert_close(gradient_BTV[0], student_NV.grad)
