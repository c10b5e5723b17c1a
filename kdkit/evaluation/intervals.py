"""Every interval of a metric: over rows, for weighted means, and over rows and seeds.

All are 95 % intervals of the bootstrap over rows (Efron and Tibshirani, "An Introduction to the Bootstrap", 1993,
chapter 13). One set of resamples, determined by the seed and the number of rows, serves all metrics; so scores of two
models on the same rows move together. Where rows are parts of documents, whole documents are drawn: what a model says
of two blocks of one text is not two independent facts.

Letters: R rows, C documents, B resamples, M metrics, S seeds, X what is summed.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from kdkit.api.values import Interval

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TypeAlias

    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[np.float64]
    Counts: TypeAlias = npt.NDArray[np.uint16]
    Places: TypeAlias = npt.NDArray[np.int64]

LEVEL = (2.5, 97.5)
_CHUNK_CELLS = 4_000_000  # rows times resamples held at once: 32 MB
_KEPT_CELLS = 50_000_000  # and kept for the next score: 100 MB


def mean(values_R: Array) -> float:
    """Mean of the values that are not NaN; at least one is not."""
    counted = values_R[~np.isnan(values_R)]
    # Rounding may carry the mean of equal values past them.
    return float(np.clip(math.fsum(counted) / counted.size, counted.min(), counted.max()))


def numbered(documents: Sequence[str]) -> Places:
    """The number of each row's document, in the order in which they first come."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(each, len(numbers)) for each in documents], dtype=np.int64)


def by_document(terms_RX: Array, document_R: Places | None) -> Array:
    """The sums of what the rows of each document add, `[C, X]`; the rows themselves where there is none."""
    if document_R is None:
        return terms_RX
    sums_CX = np.zeros((int(document_R.max(initial=-1)) + 1, terms_RX.shape[1]))
    np.add.at(sums_CX, document_R, terms_RX)
    return sums_CX


def bootstrap_intervals(values_RM: Array, *, resamples: int, seed: int, document_R: Places | None = None) -> Array:
    """95 % percentile intervals of the means of columns, by resampling rows with replacement.

    A resample's mean of a column is over those of its rows that count there; where it has none it says nothing of the
    column. An interval always holds the column's mean.

    Args:
        values_RM: Rows by metrics, NaN where a row does not count; each column has a number.
        resamples: How many times the rows are drawn.
        seed: Determines the draws.
        document_R: The number of each row's document, where whole documents are drawn.

    Returns:
        Lower and upper ends, `[2, M]`.
    """
    counts_RM = ~np.isnan(values_RM)
    filled_RM = np.where(counts_RM, values_RM, 0.0)
    sums_and_counts_RN = np.concatenate([filled_RM, counts_RM], axis=1)
    drawn_BN = drawn_sums(sums_and_counts_RN, resamples=resamples, seed=seed, document_R=document_R)
    sums_BM, drawn_counts_BM = np.split(drawn_BN, 2, axis=1)
    least_M, most_M = np.nanmin(values_RM, axis=0), np.nanmax(values_RM, axis=0)
    mean_M = np.array([mean(column) for column in values_RM.T])
    ends_2M = np.stack([mean_M, mean_M])
    for metric, mean_value in enumerate(mean_M):
        said = drawn_counts_BM[:, metric] > 0
        if said.any():
            means = sums_BM[said, metric] / drawn_counts_BM[said, metric]
            low, high = np.percentile(np.clip(means, least_M[metric], most_M[metric]), LEVEL)
            ends_2M[:, metric] = min(low, mean_value), max(high, mean_value)
    return ends_2M


def weighted_mean(
    values_R: Array, weights_R: Array, *, count: int, resamples: int, seed: int, document_R: Places | None = None
) -> Interval:
    """A weighted mean over rows, and its 95 % percentile interval by resampling rows with replacement.

    Args:
        values_R: A value a row, at least one row.
        weights_R: Their weights, all above 0: the tokens of each row for a mean over tokens.
        count: How many rows counted, where a value is of several (a batch).
        resamples: How many times the rows are drawn.
        seed: Determines the draws.
        document_R: The number of each row's document, where whole documents are drawn.
    """
    value = float(np.average(values_R, weights=weights_R))
    sums_R2 = np.stack([values_R * weights_R, weights_R], axis=1)
    drawn_B2 = drawn_sums(sums_R2, resamples=resamples, seed=seed, document_R=document_R)
    low, high = np.percentile(drawn_B2[:, 0] / drawn_B2[:, 1], LEVEL)
    return Interval(value=value, low=min(float(low), value), high=max(float(high), value), count=count)


def draws(rows: int, resamples: int, seed: int) -> Iterator[Array]:
    """How often each row is in each resample, some resamples at a time.

    Few enough to be kept are drawn once: many scores are of the same rows.
    """
    kept = rows * resamples <= _KEPT_CELLS
    for counts_BR in (_kept_counts if kept else _counts)(rows, resamples, seed, _CHUNK_CELLS):
        yield counts_BR.astype(np.float64)


def _counts(rows: int, resamples: int, seed: int, cells: int) -> Iterator[Counts]:
    generator = np.random.default_rng(seed)
    at_once = max(1, cells // rows)
    for start in range(0, resamples, at_once):
        size = min(at_once, resamples - start)
        picks_BR = generator.integers(0, rows, size=(size, rows))
        places = picks_BR + rows * np.arange(size)[:, None]
        yield np.bincount(places.ravel(), minlength=size * rows).reshape(size, rows).astype(np.uint16)


@lru_cache(maxsize=2)
def _kept_counts(rows: int, resamples: int, seed: int, cells: int) -> tuple[Counts, ...]:
    return tuple(_counts(rows, resamples, seed, cells))


def drawn_sums(terms_RX: Array, *, resamples: int, seed: int, document_R: Places | None = None) -> Array:
    """The sum of each column over each resample of the rows, `[B, X]`: one matrix product, whatever the columns are."""
    terms_CX = by_document(terms_RX, document_R)
    return np.concatenate([draws_BC @ terms_CX for draws_BC in draws(len(terms_CX), resamples, seed)])


def interval(values_S: Array, drawn_BS: Array, *, count: int) -> Interval:
    """The mean of seeds' values and its 95 % interval over rows and seeds.

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
        count: How many rows counted.
    """
    seeds, value = len(values_S), float(values_S.mean())
    drawn_BS = drawn_BS[~np.isnan(drawn_BS).any(axis=1)]
    if math.isnan(value) or not len(drawn_BS):
        return Interval(value=value, low=value, high=value, count=count)
    means_B = drawn_BS.mean(axis=1)
    low, high = np.percentile(means_B, LEVEL)
    below, above = max(value - float(low), 0.0), max(float(high) - value, 0.0)
    if seeds > 1:
        of_rows = float(means_B.var())
        of_both = float((drawn_BS - means_B[:, None]).var(axis=0).sum()) / (seeds - 1) / seeds
        of_seeds = float(values_S.var(ddof=1)) / seeds
        wider = _beyond_rows(of_rows, of_seeds, of_both, seeds)
        below, above = math.hypot(below, wider), math.hypot(above, wider)
    return Interval(value=value, low=value - below, high=value + above, count=count)


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
