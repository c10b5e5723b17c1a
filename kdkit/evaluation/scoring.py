"""Scores: what metric suites say of each row, as means with intervals.

The interval of a score is a 95 % percentile interval of the bootstrap over rows (Efron and Tibshirani, "An Introduction
to the Bootstrap", 1993, chapter 13). One set of resamples, determined by the seed and the number of rows, serves all
metrics; so scores of two models on the same rows move together.
"""

from __future__ import annotations

import math
from functools import lru_cache
from numbers import Real
from typing import TYPE_CHECKING

import attrs
import numpy as np

from kdkit.api.values import Difference, Direction, Interval, Score
from kdkit.errors import KdkitError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TypeAlias

    import numpy.typing as npt

    from kdkit.api.options import NamedSuite
    from kdkit.api.values import Example

    Array: TypeAlias = npt.NDArray[np.float64]
    Counts: TypeAlias = npt.NDArray[np.uint16]

LEVEL = (2.5, 97.5)
_CHUNK_CELLS = 4_000_000  # rows times resamples held at once: 32 MB
_KEPT_CELLS = 50_000_000  # and kept for the next score: 100 MB


@attrs.frozen(kw_only=True, eq=False)
class Column:
    """One metric's values, one a row, NaN where a row does not count; at least one counts."""

    suite: str
    metric: str
    values_R: Array
    direction: Direction = Direction.HIGHER


def columns_of(
    suites: Sequence[NamedSuite],
    generated: Sequence[str],
    references: Sequence[str],
    examples: Sequence[Example],
) -> list[Column]:
    """What every suite says of each row; a metric that no row counts for is left out.

    Args:
        suites: The suites; columns come in this order.
        generated: A text a row.
        references: What each is compared with.
        examples: The rows themselves.

    Raises:
        KdkitError: A suite gave something else than one finite number or None a row.
    """
    assert len(generated) == len(references) == len(examples)
    columns = [
        Column(
            suite=named.name,
            metric=metric,
            values_R=_column(named.name, metric, values, rows=len(examples)),
            direction=named.direction_of(metric),
        )
        for named in suites
        for metric, values in named.suite.score(generated, references, examples).items()
    ]
    return [column for column in columns if not np.isnan(column.values_R).all()]


def scores_of(model: str, against: str, columns: Sequence[Column], *, resamples: int, seed: int) -> list[Score]:
    """Means of columns, with their intervals.

    Args:
        model: Whose texts: "teacher", "student" or a baseline.
        against: What they were compared with: "truth" or "teacher".
        columns: See `columns_of`.
        resamples: Resamplings behind each interval.
        seed: Determines them.
    """
    return [
        Score(
            model=model,
            against=against,
            suite=column.suite,
            metric=column.metric,
            direction=column.direction,
            **attrs.asdict(found),
        )
        for column, found in _intervals(columns, resamples=resamples, seed=seed)
    ]


def differences_of(
    ours: Sequence[Column], theirs: Sequence[Column], *, resamples: int, seed: int, than: str = "teacher"
) -> list[Difference]:
    """Ours, the student's, minus theirs, of every metric that both have, over the rows that count for both.

    Args:
        ours: The student's.
        theirs: Those of the other model.
        resamples: Resamplings behind each interval.
        seed: Determines them.
        than: The other model.
    """
    others = {(column.suite, column.metric): column.values_R for column in theirs}
    paired = [
        attrs.evolve(own, values_R=own.values_R - others[own.suite, own.metric])
        for own in ours
        if (own.suite, own.metric) in others
    ]
    counted = [column for column in paired if not np.isnan(column.values_R).all()]
    return [
        Difference(
            suite=column.suite, metric=column.metric, than=than, direction=column.direction, **attrs.asdict(found)
        )
        for column, found in _intervals(counted, resamples=resamples, seed=seed)
    ]


def _intervals(columns: Sequence[Column], *, resamples: int, seed: int) -> Iterator[tuple[Column, Interval]]:
    """The mean of each column."""
    if not columns:
        return
    values_RM = np.stack([column.values_R for column in columns], axis=1)
    ends_2M = bootstrap_intervals(values_RM, resamples=resamples, seed=seed)
    for column, (low, high) in zip(columns, ends_2M.T, strict=True):
        count = int(np.count_nonzero(~np.isnan(column.values_R)))
        yield column, Interval(value=mean(column.values_R), low=float(low), high=float(high), count=count)


def mean(values_R: Array) -> float:
    """Mean of the values that are not NaN, of which there is at least one."""
    counted = values_R[~np.isnan(values_R)]
    # Rounding may carry the mean of equal values past them.
    return float(np.clip(math.fsum(counted) / counted.size, counted.min(), counted.max()))


def bootstrap_intervals(values_RM: Array, *, resamples: int, seed: int) -> Array:
    """95 % percentile intervals of the means of columns, by resampling rows with replacement.

    A resample's mean of a column is over those of its rows that count there; where it has none it says nothing of the
    column. An interval always holds the column's mean.

    Args:
        values_RM: Rows by metrics, NaN where a row does not count; each column has a number.
        resamples: How many times the rows are drawn.
        seed: Determines the draws.

    Returns:
        Lower and upper ends, `[2, M]`.
    """
    counts_RM = ~np.isnan(values_RM)
    filled_RM = np.where(counts_RM, values_RM, 0.0)
    sums_and_counts_RN = np.concatenate([filled_RM, counts_RM], axis=1)
    drawn_BN = np.concatenate([draws_BR @ sums_and_counts_RN for draws_BR in draws(len(values_RM), resamples, seed)])
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


def weighted_mean(values_R: Array, weights_R: Array, *, count: int, resamples: int, seed: int) -> Interval:
    """A weighted mean over rows, and its 95 % percentile interval by resampling rows with replacement.

    Args:
        values_R: A value a row, at least one row.
        weights_R: Their weights, all above 0: the tokens of each row for a mean over tokens.
        count: How many rows counted, where a value is of several (a batch).
        resamples: How many times the rows are drawn.
        seed: Determines the draws.
    """
    value = float(np.average(values_R, weights=weights_R))
    sums_R2 = np.stack([values_R * weights_R, weights_R], axis=1)
    drawn_B2 = np.concatenate([draws_BR @ sums_R2 for draws_BR in draws(len(values_R), resamples, seed)])
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


def _column(suite: str, metric: str, values: Sequence[float | None], *, rows: int) -> Array:
    """A metric's values as numbers, NaN where a row does not count."""
    if len(values) != rows:
        raise KdkitError(
            f'metric suite "{suite}" gave {len(values)} values of "{metric}" for {rows} rows; '
            f"it must give one a row, None where a row does not count"
        )
    for row, value in enumerate(values):
        if value is not None and not (isinstance(value, Real) and math.isfinite(value)):
            raise KdkitError(
                f'metric suite "{suite}" gave {value!r} as "{metric}" of row {row}; '
                f"it must give a finite number, or None where the row does not count"
            )
    return np.array([math.nan if value is None else float(value) for value in values], dtype=np.float64)
