"""Divergences between two distributions, each written once, over aligned log-probabilities.

A divergence takes the teacher's and the student's log-probabilities, both `[..., V]`, and gives one value a token,
`[...]`, in nats. It knows nothing of temperatures, masks, averages or alpha. D(p, p) = 0 and D >= 0. All of them are
f-divergences: where entries are summed up to one (the tail of sparse targets) they are never more than before.

An entry may have the log-probability -inf: it is left out where its factor is 0, and its gradient with it, so that
0 * inf never comes up. What is infinite (p > 0 where q = 0, of the forward KL divergence) stays infinite.

Letters: p the teacher's probabilities, q the student's, V vocabulary.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import attrs

from kdkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import torch

    PerToken = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def forward_kl(teacher_logp_V: torch.Tensor, student_logp_V: torch.Tensor) -> torch.Tensor:
    """KL(p || q) (Hinton et al., 2015): the student must have mass wherever the teacher has."""
    if teacher_logp_V.requires_grad:
        return kl(teacher_logp_V, student_logp_V)
    from kdkit.losses.forward_kl_gradient import ForwardKL

    value: torch.Tensor = ForwardKL.apply(teacher_logp_V, student_logp_V)  # type: ignore[no-untyped-call]  # torch's own
    return value


def reverse_kl(teacher_logp_V: torch.Tensor, student_logp_V: torch.Tensor) -> torch.Tensor:
    """KL(q || p) (Gu et al., MiniLLM, 2024): the student must have no mass where the teacher has none."""
    return kl(student_logp_V, teacher_logp_V)


def jensen_shannon(teacher_logp_V: torch.Tensor, student_logp_V: torch.Tensor, *, beta: float) -> torch.Tensor:
    """`beta KL(p || m) + (1 - beta) KL(q || m)` with `m = beta p + (1 - beta) q` (Agarwal et al., GKD, 2024)."""
    mixture_logp_V = _log_mixture(teacher_logp_V, student_logp_V, beta)
    return beta * kl(teacher_logp_V, mixture_logp_V) + (1 - beta) * kl(student_logp_V, mixture_logp_V)


def skew_forward_kl(teacher_logp_V: torch.Tensor, student_logp_V: torch.Tensor, *, skew: float) -> torch.Tensor:
    """`KL(p || skew p + (1 - skew) q)` (Ko et al., DistiLLM, 2024)."""
    return kl(teacher_logp_V, _log_mixture(teacher_logp_V, student_logp_V, skew))


def skew_reverse_kl(teacher_logp_V: torch.Tensor, student_logp_V: torch.Tensor, *, skew: float) -> torch.Tensor:
    """`KL(q || (1 - skew) p + skew q)` (Ko et al., DistiLLM, 2024)."""
    return kl(student_logp_V, _log_mixture(teacher_logp_V, student_logp_V, 1 - skew))


def total_variation(teacher_logp_V: torch.Tensor, student_logp_V: torch.Tensor) -> torch.Tensor:
    """Half the sum of |p - q|: from 0 to 1 (Wen et al., f-DISTILL, 2023)."""
    return (teacher_logp_V.exp() - student_logp_V.exp()).abs().sum(-1) / 2


@attrs.frozen(kw_only=True)
class Divergence:
    """A divergence and its properties.

    Attributes:
        function: Called with two log-probability tensors, and with its parameter by name.
        parameter: The parameter's name, where it has one.
        default: The parameter's default.
        at_ends: The divergences that its direction is at 0 and at 1, where there is one. The divergence itself may be 0
            there, whatever the student says.
        takes_samples: Whether its gradient is linear in the teacher's probabilities, so that an unbiased sample of them
            (codec `sampled`) gives an unbiased gradient. Of the others a sample would be taken for a teacher that
            thinks all else impossible.
    """

    function: Callable[..., torch.Tensor]
    parameter: str | None = None
    default: float = math.nan
    at_ends: tuple[str | None, str | None] = (None, None)
    takes_samples: bool = False


DIVERGENCES: Mapping[str, Divergence] = {
    "forward-kl": Divergence(function=forward_kl, takes_samples=True),
    "reverse-kl": Divergence(function=reverse_kl),
    "jensen-shannon": Divergence(
        function=jensen_shannon, parameter="beta", default=0.5, at_ends=("forward-kl", "reverse-kl")
    ),
    "skew-forward-kl": Divergence(
        function=skew_forward_kl, parameter="skew", default=0.1, at_ends=("forward-kl", None)
    ),
    "skew-reverse-kl": Divergence(
        function=skew_reverse_kl, parameter="skew", default=0.1, at_ends=("reverse-kl", None)
    ),
    "total-variation": Divergence(function=total_variation),
}


def divergence_of(name: str, **parameters: float | None) -> PerToken:
    """The divergence of a name, with its `beta` or `skew` filled in.

    Args:
        name: Its name in `DIVERGENCES`.
        parameters: `beta` or `skew`, from 0 to 1, both excluded; None for the default.

    Raises:
        UsageError: There is no such divergence, it has no such parameter, or the parameter is out of range.
    """
    if name not in DIVERGENCES:
        raise UsageError(f'unknown divergence "{name}"; available: {", ".join(DIVERGENCES)}')
    found = DIVERGENCES[name]
    given = {key: value for key, value in parameters.items() if value is not None}
    for key, value in given.items():
        refusal = parameter_refusal(key, value, name)
        if refusal is not None:
            raise UsageError(f"{key} {refusal}")
    if found.parameter is None:
        return found.function
    return functools.partial(found.function, **{found.parameter: given.get(found.parameter, found.default)})


def parameter_refusal(parameter: str, value: float, divergence: str) -> str | None:
    """Why a parameter is wrong, as the rest of a sentence that begins with its name; None if it is right."""
    found = DIVERGENCES[divergence]
    if parameter != found.parameter:
        owners = " and ".join(f'"{name}"' for name, each in DIVERGENCES.items() if each.parameter == parameter)
        return f'is an option of the divergence {owners}; "{divergence}" does not have it'
    if 0 < value < 1:
        return None
    instead = [f'"{name}" for {end}' for end, name in enumerate(found.at_ends) if name is not None]
    return f"must be greater than 0 and less than 1, is {value:g}; use the divergence {' and '.join(instead)}"


def kl(first_logp_V: torch.Tensor, second_logp_V: torch.Tensor) -> torch.Tensor:
    """KL(first || second) = sum_v first (log first - log second), where first = 0 contributes nothing.

    To each entry `second - first` is added, which sums to 0: no entry is below 0 then, and the rounding of the two
    normalisers, which all entries share, cancels. Without it, two distributions that are nearly the same, as those of a
    high temperature are, have a divergence of rounding errors.
    """
    import torch

    first_p_V, second_p_V = first_logp_V.exp(), second_logp_V.exp()
    absent_V = first_p_V == 0
    between_V = (first_logp_V - second_logp_V).masked_fill(absent_V, 0.0)
    near_V = between_V.clamp(-1, 1)
    return torch.where(
        (between_V == near_V) & ~absent_V,
        first_p_V * (near_V + torch.expm1(-near_V)),
        first_p_V * between_V - first_p_V + second_p_V,
    ).sum(-1)


def _log_mixture(first_logp_V: torch.Tensor, second_logp_V: torch.Tensor, share: float) -> torch.Tensor:
    """log(share first + (1 - share) second).

    Where both are 0 it is 0 too, without a gradient.
    """
    absent_V = first_logp_V.isneginf() & second_logp_V.isneginf()
    second_logp_V = second_logp_V.masked_fill(absent_V, 0.0)
    mixture_V = (first_logp_V + math.log(share)).logaddexp(second_logp_V + math.log1p(-share))
    return mixture_V.masked_fill(absent_V, -math.inf)
