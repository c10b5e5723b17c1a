"""A student to distil into: the teacher, disturbed; and the gradient that distillation gives its output head.

The gradient of the forward KL divergence with respect to the head's weight is sum_n (q_n - p_n) h_n^T / T, with the
student's distribution q and state h, and the target's distribution p. Two of them are compared by their cosine without
forming a [V, D] matrix: <A^T H, B^T H> is the sum of (A B^T) * (H H^T), entry by entry.

Letters: N tokens, V vocabulary, D hidden, H width of the student's state.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
import torch

if TYPE_CHECKING:
    from kdkit.logits.bench.records import Material

SEED = 17
NOISE = 0.5
PROJECTED = 64
# Tokens of which the hidden states' root mean square is taken.
SAMPLE_TOKENS = 4096


@attrs.frozen(kw_only=True, eq=False)
class StudentRows:
    """The student's states and logits of some tokens."""

    states_NH: torch.Tensor
    logits_NV: torch.Tensor


@attrs.frozen(kw_only=True, eq=False)
class StateStudent:
    """A student whose hidden states are the teacher's with noise, under the teacher's head.

    Attributes:
        material: Where the head is.
        noise_D: The noise's standard deviation in each coordinate.
    """

    material: Material
    noise_D: torch.Tensor

    description = (
        "the teacher's hidden states with noise of half the root mean square of each coordinate, and the same head"
    )

    def rows(self, number: int, logits_NV: torch.Tensor, states_ND: torch.Tensor | None) -> StudentRows:  # noqa: ARG002
        """Its view of a batch of the teacher's rows; the batch's number seeds the noise."""
        assert states_ND is not None
        states_NH = states_ND + self.noise_D * _noise(number, states_ND)
        return StudentRows(states_NH=states_NH, logits_NV=self.material.logits_of_states(states_NH))


@attrs.frozen(kw_only=True, eq=False)
class LogitStudent:
    """A student of a teacher of which only logits are known: these with noise, and a projection of them for states.

    Attributes:
        projection_VH: Takes logits to states.
    """

    projection_VH: torch.Tensor

    description = (
        "the teacher's logits with noise of half the standard deviation of each row; a random projection of the "
        f"teacher's logits to {PROJECTED} numbers stands for hidden states"
    )

    def rows(self, number: int, logits_NV: torch.Tensor, states_ND: torch.Tensor | None) -> StudentRows:  # noqa: ARG002
        """As `StateStudent.rows`."""
        centred_NV = logits_NV - logits_NV.mean(-1, keepdim=True)
        states_NH = centred_NV @ self.projection_VH
        spread_N1 = centred_NV.square().mean(-1, keepdim=True).sqrt()
        return StudentRows(states_NH=states_NH, logits_NV=logits_NV + NOISE * spread_N1 * _noise(number, logits_NV))


def student_of(material: Material) -> StateStudent | LogitStudent:
    """The disturbed teacher; its noise is scaled on what codecs learn from, and the same at every call."""
    if material.head is None:
        generator = torch.Generator().manual_seed(SEED)
        projection_VH = torch.randn(material.vocab_size, PROJECTED, generator=generator)
        return LogitStudent(projection_VH=projection_VH / math.sqrt(material.vocab_size))
    total_D, tokens = torch.zeros(material.head.weight_VD.shape[1], dtype=torch.float64), 0
    for record in material.learn():
        assert record.states_TD is not None
        total_D += torch.from_numpy(record.states_TD).double().square().sum(0)
        tokens += record.tokens
        if tokens >= SAMPLE_TOKENS:
            break
    return StateStudent(material=material, noise_D=NOISE * (total_D / max(tokens, 1)).sqrt().float())


@attrs.define(kw_only=True, eq=False)
class HeadGradient:
    """The gradient of an output head's weight that errors q - p make under a student's states, not formed.

    Attributes:
        error_NV: What each token's logits get.
        gram_NN: The student's states times themselves.
    """

    error_NV: torch.Tensor
    gram_NN: torch.Tensor
    _square: float | None = None

    def dot(self, other: HeadGradient) -> float:
        """The inner product of two gradients under the same states."""
        return float((self.gram_NN.double() * (self.error_NV @ other.error_NV.T).double()).sum())

    def square(self) -> float:
        """The square of its norm, computed once."""
        if self._square is None:
            self._square = self.dot(self)
        return self._square


def cosine(first: HeadGradient, second: HeadGradient) -> float | None:
    """Cosine between two gradients; None where one of them is nothing."""
    if not (first.square() > 0 and second.square() > 0):
        return None
    return min(1.0, first.dot(second) / math.sqrt(first.square() * second.square()))


def _noise(number: int, like: torch.Tensor) -> torch.Tensor:
    generator = torch.Generator().manual_seed(SEED * 1_000_003 + number)
    return torch.randn(like.shape, generator=generator)
