"""Divergences between two distributions as NumPy loops in float64: what `check_loss` holds losses against.

They share no line with `kdkit.losses.divergences`, and take probabilities, not their logarithms.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Divergence: TypeAlias = Callable[[Sequence[float], Sequence[float]], float]


def forward_kl(teacher: Sequence[float], student: Sequence[float]) -> float:
    """KL(teacher || student)."""
    total = 0.0
    for p, q in zip(teacher, student, strict=True):
        if p > 0:
            total += p * math.log(p / q) if q > 0 else math.inf
    return total


def reverse_kl(teacher: Sequence[float], student: Sequence[float]) -> float:
    """KL(student || teacher)."""
    return forward_kl(student, teacher)


def jensen_shannon(teacher: Sequence[float], student: Sequence[float], beta: float = 0.5) -> float:
    """Generalised, with the teacher's weight."""
    mixture = [beta * p + (1 - beta) * q for p, q in zip(teacher, student, strict=True)]
    return beta * forward_kl(teacher, mixture) + (1 - beta) * forward_kl(student, mixture)


def skew_forward_kl(teacher: Sequence[float], student: Sequence[float], skew: float = 0.1) -> float:
    """KL of the teacher from a mixture in which its share is `skew`."""
    return forward_kl(teacher, [skew * p + (1 - skew) * q for p, q in zip(teacher, student, strict=True)])


def skew_reverse_kl(teacher: Sequence[float], student: Sequence[float], skew: float = 0.1) -> float:
    """KL of the student from a mixture in which its share is `skew`."""
    return forward_kl(student, [skew * q + (1 - skew) * p for p, q in zip(teacher, student, strict=True)])


def total_variation(teacher: Sequence[float], student: Sequence[float]) -> float:
    """The mass by which one exceeds the other."""
    return sum(max(p - q, 0.0) for p, q in zip(teacher, student, strict=True))


REFERENCES: Mapping[str, Callable[..., float]] = {
    "forward-kl": forward_kl,
    "reverse-kl": reverse_kl,
    "jensen-shannon": jensen_shannon,
    "skew-forward-kl": skew_forward_kl,
    "skew-reverse-kl": skew_reverse_kl,
    "total-variation": total_variation,
}
