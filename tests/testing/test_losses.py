"""The check of losses: what ships passes, and each kind of mistake is found."""

from __future__ import annotations

import attrs
import pytest
import torch

from kdkit.api.schedules import Schedule
from kdkit.api.values import LossParts, TokenCounts
from kdkit.builtin.losses.kd import KD
from kdkit.losses import HardLoss, align, mix, student_rows
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
        if self.fault == "mean over the vocabulary":
            options["divergence"] = lambda p, q: forward_kl(p, q) / p.shape[-1]
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
        ("mean over the vocabulary", "a sum over the vocabulary, not a mean"),
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
        if self.fault.startswith("no T"):
            power = {"no T^2": 2, "no T": 1}[self.fault]
            options["divergence"] = lambda p, q: forward_kl(p, q) / self.temperature**power
        if self.fault == "mean over the vocabulary":
            options["divergence"] = lambda p, q: forward_kl(p, q) / p.shape[-1]
        if self.fault == "turned round":
            options["divergence"] = lambda p, q: forward_kl(q, p)
        if self.fault == "alpha turned":
            options["alpha"] = 1 - self.alpha
        parts = mix(student_logits_NV, labels_N, teacher, **options)
        if self.fault == "hard at temperature":
            softened = mix(student_logits_NV / 2, labels_N, teacher, **options)
            return attrs.evolve(parts, hard=softened.hard, total=parts.total)
        return parts


@pytest.mark.parametrize("divergence", [REFERENCES["forward-kl"], "forward-kl", None])
def test_a_mixture_is_held_to_alpha_and_temperature(divergence):
    check_loss(Mixture(), divergence=divergence)


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


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no T^2", r"lacks the factor T\^2"),
        ("no T", r"lacks the factor T\^2"),
        ("mean over the vocabulary", "a sum over the vocabulary, not a mean"),
    ],
)
def test_mistakes_that_any_divergence_shows_are_found_without_one_to_compare_with(fault, message):
    with pytest.raises(AssertionError, match=message):
        check_loss(Mixture(fault=fault))


@attrs.frozen(kw_only=True)
class OwnKD(Mixture):
    """It has an option `divergence`."""

    divergence: str = "forward-kl"


@attrs.frozen(kw_only=True)
class MyForwardKL(Strange):
    """It has the name of a divergence, and says its temperature as codecs want it."""

    temperatures: tuple[float, ...] = (2.0,)

    def __call__(self, student_logits_NV, labels_N, teacher, counts):
        divergence = forward_kl if not self.fault else lambda p, q: forward_kl(q, p)
        options = {"alpha": 0.5, "temperature": 2.0, "divergence": divergence, "counts": counts}
        return mix(student_logits_NV, labels_N, teacher, **options)


@pytest.mark.parametrize("loss", [OwnKD(), MyForwardKL()])
def test_a_loss_with_the_name_of_a_divergence_passes_if_it_is_that(loss):
    check_loss(loss)


@pytest.mark.parametrize("loss", [OwnKD(fault="turned round"), MyForwardKL(fault="turned round")])
def test_reverse_kl_under_the_name_of_forward_kl_is_found(loss):
    with pytest.raises(AssertionError, match="the soft loss is"):
        check_loss(loss)


@pytest.mark.parametrize(
    ("loss", "arguments", "message"),
    [
        (Strange(), {"divergence": "forward-kl"}, "does not say at which temperature"),
        (Strange(), {"divergence": "reverse-kl", "temperature": 2.0}, "the soft loss is"),
        (Strange(), {"temperature": 2.0}, "temperature= without divergence="),
        (Strange(), {"divergence": "forward-kl", "over_logits": True}, "both divergence= and over_logits="),
        (Strange(), {"divergence": "foward-kl"}, "available: forward-kl, reverse-kl"),
        (Mixture(), {"divergence": "forward-kl", "temperature": 2.0}, "says its temperature itself"),
        (MyForwardKL(), {"divergence": "reverse-kl"}, "the soft loss is"),
        (HardLoss(), {"divergence": "forward-kl"}, "needs no teacher"),
    ],
)
def test_nothing_that_the_check_is_told_is_ignored(loss, arguments, message):
    with pytest.raises(AssertionError, match=message):
        check_loss(loss, **arguments)


def test_a_loss_without_fields_is_compared_at_the_temperature_that_is_given():
    check_loss(Strange(), divergence="forward-kl", temperature=2.0)


@attrs.frozen(kw_only=True)
class SquaredError:
    """Of logits, each row's mean taken off, as a mean over the vocabulary."""

    needs_teacher: bool = True

    def __call__(self, student_logits_NV, labels_N, teacher, counts):
        rows = align(student_rows(student_logits_NV), teacher, temperature=1.0)
        apart_MV = rows.teacher_logp_MV - rows.student_logp_MV
        soft = (apart_MV - apart_MV.mean(-1, keepdim=True)).square().mean(-1).sum() / max(counts.soft, 1)
        hard = HardLoss()(student_logits_NV, labels_N, None, counts).total
        return LossParts(total=(soft + hard) / 2, hard=hard.detach(), soft=soft.detach())


def test_a_loss_that_compares_logits_passes_where_it_is_said_to():
    check_loss(SquaredError(), over_logits=True)
    with pytest.raises(AssertionError, match="over_logits=True"):
        check_loss(SquaredError())


def test_another_divergence_than_the_stated_one_is_found():
    with pytest.raises(AssertionError, match="the soft loss is"):
        check_loss(KD(divergence="reverse-kl"), divergence=REFERENCES["forward-kl"])


def test_a_loss_that_is_no_value_is_refused():
    class Plain:
        needs_teacher = False

        def __call__(self, *_):
            raise NotImplementedError

    with pytest.raises(AssertionError, match="is not an attrs class"):
        check_loss(Plain())
    with pytest.raises(AssertionError, match="lacks a method"):
        check_loss(object())
