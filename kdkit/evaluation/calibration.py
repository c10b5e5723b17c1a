"""Calibration: whether tokens that a model gives a probability of 0.8 are right 8 times in 10.

The expected calibration error sorts tokens by the probability of their most likely candidate into 15 bins of equal
width; it is the mean over tokens of the distance between a bin's mean probability and its share of right tokens
(Guo, Pleiss, Sun and Weinberger, "On Calibration of Modern Neural Networks", 2017, section 2).

Letters: R rows, N tokens, K bins.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

import attrs
import numpy as np

from kdkit.evaluation.record import Bin, Calibration

if TYPE_CHECKING:
    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[np.float64]

BINS = 15


@attrs.define(kw_only=True, eq=False)
class Bins:
    """Counts of tokens by bin: how many, the sum of their probabilities, and how many are right."""

    count_K: Array = attrs.field(factory=lambda: np.zeros(BINS))
    confidence_K: Array = attrs.field(factory=lambda: np.zeros(BINS))
    right_K: Array = attrs.field(factory=lambda: np.zeros(BINS))

    def add(self, confidence_N: Array, right_N: Array) -> None:
        """Add tokens.

        Args:
            confidence_N: The probability of each token's most likely candidate, above 0 and up to 1.
            right_N: 1 where that candidate is the label, else 0.
        """
        # A bin holds its upper edge, not its lower one, as there.
        bin_N = np.clip(np.ceil(confidence_N * BINS).astype(np.int64) - 1, 0, BINS - 1)
        self.count_K += np.bincount(bin_N, minlength=BINS)
        self.confidence_K += np.bincount(bin_N, weights=confidence_N, minlength=BINS)
        self.right_K += np.bincount(bin_N, weights=right_N, minlength=BINS)

    def __add__(self, other: Bins) -> Bins:
        """The sum of both."""
        return Bins(
            count_K=self.count_K + other.count_K,
            confidence_K=self.confidence_K + other.confidence_K,
            right_K=self.right_K + other.right_K,
        )

    @property
    def tokens(self) -> int:
        """How many tokens there are."""
        return int(self.count_K.sum())

    @property
    def gaps(self) -> Array:
        """Of each bin, the sum of probabilities minus the number of right tokens, over all tokens; NaN of none."""
        with np.errstate(invalid="ignore"):
            gap_K: Array = (self.confidence_K - self.right_K) / self.count_K.sum()
        return gap_K

    @property
    def error(self) -> float:
        """The expected calibration error, 0 to 1."""
        return float(np.abs(self.gaps).sum())

    def calibration(self) -> Calibration:
        """The error, and what a reliability diagram shows."""
        bins = tuple(
            Bin(
                low=place / BINS,
                high=(place + 1) / BINS,
                count=int(count),
                confidence=float(confidence / count) if count else math.nan,
                accuracy=float(right / count) if count else math.nan,
            )
            for place, (count, confidence, right) in enumerate(
                zip(self.count_K, self.confidence_K, self.right_K, strict=True)
            )
        )
        return Calibration(ece=self.error, bins=bins)
