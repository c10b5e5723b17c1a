"""Intervals over rows and seeds: what rows sum up to in each resample, and what that says of a mean over seeds.

Letters: R rows, B resamples, S seeds, X what is summed, M models with their metrics.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from kdkit.evaluation.scoring import LEVEL, draws

if TYPE_CHECKING:
    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[np.float64]


def drawn_sums(terms_RX: Array, *, resamples: int, seed: int) -> Array:
    """The sum of each column over each resample of the rows, `[B, X]`: one matrix product, whatever the columns are."""
    return np.concatenate([draws_BR @ terms_RX for draws_BR in draws(len(terms_RX), resamples, seed)])


def interval(values_S: Array, drawn_BS: Array) -> tuple[float, float, float]:
    """The mean of seeds' values and the ends of its 95 % interval over rows and seeds.

    Rows and seeds are crossed: with variances of rows, of seeds, and of what a row does under one seed alone, the mean
    of S seeds over R rows has the variance `rows / R + seeds / S + both / (R S)`. Resampling the rows of the mean over
    seeds tells the first and the last term, the variance of the seeds' values over S the second and the last. So they
    are added, and the last, which resampling tells too, is taken off once; what is left is never below either part.

    Few seeds tell little of how much others would differ. So the normal distribution gives way to Student's t, with the
    degrees of freedom of such a sum (Satterthwaite, "An approximate distribution of estimates of variance components",
    Biometrics Bulletin 2 (1946)): `S - 1` where the seeds are all of it. With one seed this is the percentile interval
    over rows.

    Args:
        values_S: Each seed's value.
        drawn_BS: The same of each resample of the rows, NaN where the rows drawn say nothing.
    """
    seeds, value = len(values_S), float(values_S.mean())
    drawn_BS = drawn_BS[~np.isnan(drawn_BS).any(axis=1)]
    if math.isnan(value) or not len(drawn_BS):
        return value, value, value
    means_B = drawn_BS.mean(axis=1)
    low, high = np.percentile(means_B, LEVEL)
    below, above = max(value - float(low), 0.0), max(float(high) - value, 0.0)
    if seeds > 1:
        of_rows = float(means_B.var())
        of_both = float((drawn_BS - means_B[:, None]).var(axis=0).sum()) / (seeds - 1) / seeds
        of_seeds = float(values_S.var(ddof=1)) / seeds
        wider = _beyond_rows(of_rows, of_seeds, of_both, seeds)
        below, above = math.hypot(below, wider), math.hypot(above, wider)
    return value, value - below, value + above


def _beyond_rows(of_rows: float, of_seeds: float, of_both: float, seeds: int) -> float:
    """What seeds add to half the interval over rows; squares of halves add up."""
    from scipy.special import stdtrit

    if not of_seeds > 0:
        return 0.0
    share = LEVEL[1] / 100
    whole = max(of_rows, of_seeds, of_rows + of_seeds - of_both)
    freedom = (seeds - 1) * (whole / of_seeds) ** 2
    return math.sqrt(
        max(float(stdtrit(freedom, share)) ** 2 * whole - float(stdtrit(math.inf, share)) ** 2 * of_rows, 0.0)
    )
