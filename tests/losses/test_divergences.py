"""Each divergence against float64 NumPy, entries without mass and gradients included.

Letters: N tokens, V vocabulary.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdkit.errors import UsageError
from kdkit.losses.divergences import DIVERGENCES, divergence_of
from kdkit.testing.divergences import REFERENCES

NAMES = sorted(DIVERGENCES)
# Those that are finite wherever the two have no entry in common.
BOUNDED = {
    "jensen-shannon": math.log(2),
    "skew-forward-kl": -math.log(0.1),
    "skew-reverse-kl": -math.log(0.1),
    "total-variation": 1,
}


@st.composite
def pairs(draw, *, holes: bool = True, shared_holes: bool = False):
    """Two distributions as log-probabilities, with entries of none."""
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    tokens, vocab = draw(st.integers(1, 4)), draw(st.integers(2, 12))
    logits_2NV = random.normal(size=(2, tokens, vocab)) * draw(st.sampled_from([0.1, 1.0, 10.0]))
    hole_2NV = random.random(logits_2NV.shape) < (0.3 if holes else 0.0)
    hole_2NV[..., 0] = False
    if shared_holes:
        hole_2NV[1] = hole_2NV[0]
    logits_2NV[hole_2NV] = -np.inf
    return torch.from_numpy(logits_2NV).log_softmax(-1)


@pytest.mark.parametrize("name", NAMES)
@given(pairs())
@settings(max_examples=30, deadline=None)
def test_a_divergence_is_its_reference_also_where_probabilities_are_0(name, pair):
    teacher_NV, student_NV = pair
    expected = [REFERENCES[name](p, q) for p, q in zip(*pair.exp().numpy(), strict=True)]
    np.testing.assert_allclose(divergence_of(name)(teacher_NV, student_NV), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
@given(pairs(shared_holes=True))
@settings(max_examples=20, deadline=None)
def test_of_a_distribution_with_itself_it_is_0_without_gradient(name, pair):
    student_NV = pair[0].clone().requires_grad_()
    value_N = divergence_of(name)(pair[0].log_softmax(-1), student_NV.log_softmax(-1))
    value_N.sum().backward()
    assert value_N.detach().abs().max() < 1e-12
    assert student_NV.grad.abs().max() < 1e-12


@pytest.mark.parametrize("name", NAMES)
@given(pairs(), st.sampled_from([0.1, 0.5, 0.9]))
@settings(max_examples=30, deadline=None)
def test_it_is_never_negative_and_never_more_than_its_bound(name, pair, parameter):
    found = DIVERGENCES[name].parameter
    value_N = divergence_of(name, **({found: parameter} if found else {}))(*pair)
    assert (value_N >= -1e-12).all()
    if name in BOUNDED:
        bound = max(BOUNDED[name], -math.log(min(parameter, 1 - parameter)))
        assert (value_N <= bound + 1e-12).all()


@pytest.mark.parametrize("name", NAMES)
@given(pairs(holes=False), st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_its_gradient_is_what_differences_say(name, pair, seed):
    """Of the total variation only where no entry of both is the same, as none is here."""
    divergence = divergence_of(name)
    logits_NV = pair[1].clone().requires_grad_()
    divergence(pair[0], logits_NV.log_softmax(-1)).sum().backward()
    direction_NV = torch.from_numpy(np.random.default_rng(seed).normal(size=logits_NV.shape))
    ahead, behind = (
        float(divergence(pair[0], (pair[1] + sign * 1e-6 * direction_NV).log_softmax(-1)).sum()) for sign in (1, -1)
    )
    assert float((logits_NV.grad * direction_NV).sum()) == pytest.approx((ahead - behind) / 2e-6, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_an_entry_without_mass_leaves_a_gradient_that_is_a_number(name, dtype):
    """p = 0, q = 0 or both; of the two plain KL divergences only where they are finite."""
    student_V = torch.tensor([0.3, -1.0, -math.inf, -math.inf, 0.5], dtype=dtype, requires_grad=True)
    teacher_V = torch.tensor([0.1, -math.inf, 0.2, -math.inf, 1.0], dtype=dtype)
    if name == "forward-kl":
        teacher_V[2] = -math.inf
    if name == "reverse-kl":
        teacher_V[1] = 0.7
    value = divergence_of(name)(teacher_V.log_softmax(-1), student_V.log_softmax(-1))
    value.backward()
    assert math.isfinite(float(value.detach()))
    assert student_V.grad.isfinite().all()
    assert student_V.grad[[2, 3]].tolist() == [0, 0]
    assert student_V.grad.abs().max() > 0


def test_mass_where_the_other_has_none_is_infinite_for_the_plain_ones_only():
    teacher_V = torch.tensor([0.5, 0.5, 0.0]).log()
    student_V = torch.tensor([0.5, 0.0, 0.5]).log()
    infinite = {name for name in NAMES if math.isinf(float(divergence_of(name)(teacher_V, student_V)))}
    assert infinite == {"forward-kl", "reverse-kl"}


@pytest.mark.parametrize("name", NAMES)
@given(pairs())
@settings(max_examples=20, deadline=None)
def test_entries_that_are_summed_up_to_one_never_diverge_more(name, pair):
    """So the tail of sparse targets may stand for what was not kept."""
    merged = torch.stack([torch.cat([each[:, :1], each[:, 1:].logsumexp(-1, keepdim=True)], -1) for each in pair])
    divergence = divergence_of(name)
    assert (divergence(*merged) <= divergence(*pair) + 1e-12).all()


def test_parameters_lead_from_one_divergence_to_another():
    random = np.random.default_rng(0)
    teacher_NV, student_NV = torch.from_numpy(random.normal(size=(2, 5, 9))).log_softmax(-1)
    js, kl = divergence_of("jensen-shannon", beta=0.3), divergence_of("jensen-shannon", beta=0.7)
    torch.testing.assert_close(js(teacher_NV, student_NV), kl(student_NV, teacher_NV))
    for skewed, plain in (("skew-forward-kl", "forward-kl"), ("skew-reverse-kl", "reverse-kl")):
        nearly = divergence_of(skewed, skew=1e-9)(teacher_NV, student_NV)
        torch.testing.assert_close(nearly, divergence_of(plain)(teacher_NV, student_NV), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", [name for name in NAMES if DIVERGENCES[name].parameter])
def test_next_to_an_end_of_its_parameter_it_is_the_divergence_that_the_refusal_names(name):
    """Times the distance from that end, of jensen-shannon, whose value is 0 at both."""
    random = np.random.default_rng(0)
    pair = torch.from_numpy(random.normal(size=(2, 5, 9))).log_softmax(-1)
    for end, instead in enumerate(DIVERGENCES[name].at_ends):
        if instead is not None:
            nearly = divergence_of(name, **{DIVERGENCES[name].parameter: abs(end - 1e-7)})(*pair)
            scale = 1e-7 if name == "jensen-shannon" else 1
            torch.testing.assert_close(nearly / scale, divergence_of(instead)(*pair), rtol=1e-5, atol=1e-6)


def test_only_the_forward_kl_divergence_takes_samples():
    """Its gradient with respect to the student is linear in the teacher's probabilities, which no other's is."""
    logits_V = torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64)
    # On average more likely than to the student, and in one of the two less.
    one_V, other_V = torch.tensor([[0.9, 0.06, 0.04], [0.01, 0.09, 0.9]], dtype=torch.float64)

    def gradient(name, teacher_V):
        leaf_V = logits_V.clone().requires_grad_()
        divergence_of(name)(teacher_V.log(), leaf_V.log_softmax(-1)).backward()
        return leaf_V.grad

    for name in NAMES:
        mean_V = (gradient(name, one_V) + gradient(name, other_V)) / 2
        linear = torch.allclose(mean_V, gradient(name, (one_V + other_V) / 2), rtol=1e-6, atol=1e-9)
        assert linear == DIVERGENCES[name].takes_samples, name


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("kl", {}, 'unknown divergence "kl"; available: forward-kl, reverse-kl'),
        (
            "forward-kl",
            {"beta": 0.5},
            'beta is an option of the divergence "jensen-shannon"; "forward-kl" does not have it',
        ),
        (
            "jensen-shannon",
            {"skew": 0.5},
            'skew is an option of the divergence "skew-forward-kl" and "skew-reverse-kl"; ',
        ),
        (
            "jensen-shannon",
            {"beta": 1.0},
            'beta must be greater than 0 and less than 1, is 1; use the divergence "forward-kl" for 0 and "reverse-kl" ',
        ),
        ("skew-forward-kl", {"skew": 0.0}, 'and less than 1, is 0; use the divergence "forward-kl" for 0$'),
    ],
)
def test_what_is_no_divergence_is_refused(name, parameters, message):
    with pytest.raises(UsageError, match=message):
        divergence_of(name, **parameters)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "total-variation"])
def test_distributions_that_are_nearly_the_same_have_the_divergence_of_float64(name):
    """At temperature 100 half of it was the rounding of the two normalisers, and it could be below 0."""
    draw = torch.Generator().manual_seed(0)
    teacher_MV, other_MV = (torch.randn(16, 5000, generator=draw) for _ in range(2))
    student_MV = 0.9 * teacher_MV + 0.1 * other_MV
    single, double = (
        divergence_of(name)(*(torch.log_softmax(each.to(kind) / 100, dim=-1) for each in (teacher_MV, student_MV)))
        for kind in (torch.float32, torch.float64)
    )
    assert single.double().mean().item() == pytest.approx(double.mean().item(), rel=1e-3)
    assert (divergence_of(name)(*[torch.log_softmax(teacher_MV / 100, dim=-1)] * 2) >= 0).all()
