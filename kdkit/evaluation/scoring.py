"""Scores and differences: each row's values from metric suites, as means with intervals."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
import numpy as np

from kdkit.api.values import Difference, Direction, Interval, Score
from kdkit.evaluation.intervals import bootstrap_intervals, mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import TypeAlias

    import numpy.typing as npt

    from kdkit.api.suites import NamedSuite
    from kdkit.api.values import Example
    from kdkit.evaluation.intervals import Places

    Array: TypeAlias = npt.NDArray[np.float64]
    Counts: TypeAlias = npt.NDArray[np.uint16]


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
    """The values of every suite for each row, without metrics that no row counts for.

    Args:
        suites: The suites; columns come in this order.
        generated: A text a row.
        references: What each is compared with.
        examples: The rows themselves.

    Raises:
        KdkitError: A suite fails, or gives something else than one finite number or None a row.
    """
    assert len(generated) == len(references) == len(examples)
    columns = [
        Column(
            suite=named.name,
            metric=metric,
            values_R=_column(values),
            direction=named.direction_of(metric),
        )
        for named in suites
        for metric, values in named.score(generated, references, examples).items()
    ]
    return [column for column in columns if not np.isnan(column.values_R).all()]


def scores_of(
    model: str,
    against: str,
    columns: Sequence[Column],
    *,
    resamples: int,
    seed: int,
    document_R: Places | None = None,
) -> list[Score]:
    """Means of columns, with their intervals.

    Args:
        model: Whose texts: "teacher", "student" or a baseline.
        against: What they were compared with: "truth" or "teacher".
        columns: See `columns_of`.
        resamples: Resamplings behind each interval.
        seed: Determines them.
        document_R: The number of each row's document, where whole documents are drawn.
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
        for column, found in _intervals(columns, resamples=resamples, seed=seed, document_R=document_R)
    ]


def differences_of(
    ours: Sequence[Column],
    theirs: Sequence[Column],
    *,
    resamples: int,
    seed: int,
    than: str = "teacher",
    document_R: Places | None = None,
) -> list[Difference]:
    """The student's scores minus another model's, for every metric that both have, over the rows that count for both.

    Args:
        ours: The student's.
        theirs: Those of the other model.
        resamples: Resamplings behind each interval.
        seed: Determines them.
        than: The other model.
        document_R: The number of each row's document, where whole documents are drawn.
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
        for column, found in _intervals(counted, resamples=resamples, seed=seed, document_R=document_R)
    ]


def _intervals(
    columns: Sequence[Column], *, resamples: int, seed: int, document_R: Places | None
) -> Iterator[tuple[Column, Interval]]:
    """The mean of each column."""
    if not columns:
        return
    values_RM = np.stack([column.values_R for column in columns], axis=1)
    ends_2M = bootstrap_intervals(values_RM, resamples=resamples, seed=seed, document_R=document_R)
    for column, (low, high) in zip(columns, ends_2M.T, strict=True):
        count = int(np.count_nonzero(~np.isnan(column.values_R)))
        yield column, Interval(value=mean(column.values_R), low=float(low), high=float(high), count=count)


def _column(values: Sequence[float | None]) -> Array:
    """A metric's values as numbers, NaN where a row does not count."""
    return np.array([math.nan if value is None else float(value) for value in values], dtype=np.float64)
