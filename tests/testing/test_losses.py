"""The check of losses: what ships passes, and each kind of mistake is found."""

from __future__ import annotations

import attrs
import pytest
import torch

from kdkit.api.options import Schedule
from kdkit.api.values import LossParts, TokenCounts
from kdkit.builtin.losses.kd import KD
from kdkit.losses import HardLoss, mix
from kdkit.losses.divergences import DIVERGENCES, forward_kl
from kdkit.testing import check_loss
from kdkit.testing.divergences import REFERENCES


@pytest.mark.parametrize("name", DIVERGENCES)
def test_every_divergence_of_kd_keeps_the_promises(name):
    check_loss(KD(divergence=name, temperature=2.0), divergence=REFERENCES[name])


@pytest.mark.parametrize(
    "loss",
    [
        HardLoss(),
        KD(alpha=0.0),
        KD(alpha=Schedule(start=1.0, end=0.0), temperature=Schedule(epochs=(4.0, 1.0))),
        KD(divergence="jensen-shannon", beta=0.9),
    ],
    ids=["hard", "alpha 0", "schedules", "parameter"],
)
def test_losses_without_a_teacher_with_schedules_or_parameters_keep_the_promises(loss):
    check_loss(loss)


@attrs.frozen(kw_only=True)
class Strange:
    """A stranger's: no alpha, no temperature, `kdkit.losses.mix` for the rest; `fault` is what is wrong with it."""

    fault: str = ""
    needs_teacher: bool = True
    calls: list[int] = attrs.field(factory=list, eq=False)

    def __call__(self, student_logits_NV, labels_N, teacher, counts):  # noqa: C901 - one mistake after the other
        self.calls.append(1)
        if self.fault == "own counts":
            counts = TokenCounts(hard=len(labels_N), soft=int(teacher.known_N.sum()))
        if self.fault == "soft over labels":
            counts = TokenCounts(hard=counts.hard, soft=len(labels_N))
        if self.fault == "in place":
            with torch.no_grad():
                student_logits_NV.mul_(1.5)
        if self.fault == "half":
            student_logits_NV = student_logits_NV.bfloat16()
        options = {"alpha": 0.5, "temperature": 2.0, "divergence": forward_kl, "counts": counts}
        if self.fault == "cross-entropy for a divergence":
            options["divergence"] = lambda p, q: -(p.exp() * q).sum(-1)
        if self.fault == "negative":
            options["divergence"] = lambda p, q: -forward_kl(p, q)
        if self.fault == "log of 0":
            options["divergence"] = lambda p, q: (p.exp() * (p - q.exp().sub(q.exp().max()).abs().log())).sum(-1)
        if self.fault == "tokens by place":
            student_logits_NV = student_logits_NV * (1 + student_logits_NV.new_tensor(range(len(labels_N)))[:, None])
        if self.fault == "padding":
            teacher = attrs.evolve(teacher, known_N=teacher.known_N | True)
        parts = mix(student_logits_NV, labels_N, teacher, **options)
        if self.fault == "no teacher":
            return attrs.evolve(parts, total=mix(student_logits_NV, labels_N, None, **{**options, "alpha": 0.0}).total)
        if self.fault == "no gradient":
            return attrs.evolve(parts, total=parts.total.detach() + 0 * student_logits_NV.sum())
        if self.fault == "another gradient":
            return attrs.evolve(parts, total=parts.total + (parts.total - parts.total.detach()))
        if self.fault == "shape":
            return LossParts(total=parts.total, hard=parts.hard[None], soft=parts.soft)
        if self.fault == "state":
            return attrs.evolve(parts, total=parts.total * (1 + 1e-3 * len(self.calls)))
        return parts


def test_a_strangers_loss_without_alpha_and_temperature_is_checked_on_what_it_promises():
    check_loss(Strange())


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("own counts", "cut at"),
        ("soft over labels", "cut at"),
        ("in place", "changes the logits that it reads"),
        ("half", "computes with float64 logits in torch.float32"),
        ("cross-entropy for a divergence", "to a student that equals its teacher"),
        ("negative", "gives a soft loss of -"),
        ("log of 0", "must be finite"),
        ("tokens by place", "cut at"),
        ("padding", "cut at|padding"),
        ("no teacher", "does not depend on it"),
        ("no gradient", "has no gradient"),
        ("another gradient", "differences of the total say"),
        ("shape", "instead of one number"),
        ("state", "a second time"),
    ],
)
def test_each_mistake_is_found(fault, message):
    with pytest.raises((AssertionError, IndexError), match=message):
        check_loss(Strange(fault=fault))


@attrs.frozen(kw_only=True)
class Mixture:
    """Someone's own kd, with a mistake in the mixture."""

    alpha: float = 0.5
    temperature: float = 2.0
    fault: str = ""

    @property
    def needs_teacher(self):
        return True

    def __call__(self, student_logits_NV, labels_N, teacher, counts):
        options = {"alpha": self.alpha, "temperature": self.temperature, "divergence": forward_kl, "counts": counts}
        if self.fault == "no T^2":
            options["divergence"] = lambda p, q: forward_kl(p, q) / self.temperature**2
        if self.fault == "alpha turned":
            options["alpha"] = 1 - self.alpha
        parts = mix(student_logits_NV, labels_N, teacher, **options)
        if self.fault == "hard at temperature":
            softened = mix(student_logits_NV / 2, labels_N, teacher, **options)
            return attrs.evolve(parts, hard=softened.hard, total=parts.total)
        return parts


def test_a_mixture_is_held_to_alpha_and_temperature():
    check_loss(Mixture(), divergence=REFERENCES["forward-kl"])


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no T^2", "the soft loss is"),
        ("alpha turned", "the total is|moves a student|does not depend"),
        ("hard at temperature", "the hard loss is"),
    ],
)
def test_mistakes_in_a_mixture_are_found(fault, message):
    with pytest.raises(AssertionError, match=message):
        check_loss(Mixture(fault=fault), divergence=REFERENCES["forward-kl"])


def test_another_divergence_than_the_stated_one_is_found():
    with pytest.raises(AssertionError, match="the soft loss is"):
        check_loss(KD(divergence="reverse-kl"), divergence=REFERENCES["forward-kl"])


def test_a_loss_that_is_no_value_is_refused():
    class Plain:
        needs_teacher = False

        def __call__(self, *_):
            raise NotImplementedError

    with pytest.raises(AssertionError, match="is no attrs class"):
        check_loss(Plain())
    with pytest.raises(AssertionError, match="lacks a method"):
        check_loss(object())
