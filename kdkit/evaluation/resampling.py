"""Means of runs and differences between them, with intervals over rows and seeds.

Letters: R rows, B resamples, S seeds, X what is summed, M models with their metrics.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

import attrs
import numpy as np

from kdkit.api.values import Difference, Direction, Interval
from kdkit.errors import Mismatch
from kdkit.evaluation.intervals import drawn_sums, interval

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.evaluation.row_scores import Array, RowKey, RowScores


NO_SHARES = {("texts", "length"), ("tokens", "bits_per_byte")}
"""What kdkit itself measures that may be above 1, even where no row is."""


@attrs.frozen(kw_only=True)
class SeedMean(Interval):
    """A score over the seeds of one trial: their mean, and its 95 % interval.

    Attributes:
        sd: Standard deviation over seeds, with n - 1; None of a single one.
        seeds: How many there are.
    """

    sd: float | None
    seeds: int


def mean_over_seeds(runs: Sequence[RowScores], key: RowKey, *, resamples: int, seed: int) -> SeedMean:
    """A score's mean over runs that differ in their seed only, with a bootstrap interval over rows and seeds.

    See `interval` for how the interval comes about. It ends where the score can go no
    further: shares at 0 and 1, losses, calibration errors and lengths at 0, perplexities at 1.

    Args:
        runs: What each run's rows scored; one a seed.
        key: Which score.
        resamples: How many resamples.
        seed: Determines them.

    Raises:
        Mismatch: The runs were scored on different rows, or one lacks the score.
    """
    return Resamples(resamples=resamples, seed=seed).mean(runs, key)


def compare(
    ours: Sequence[RowScores],
    theirs: Sequence[RowScores],
    key: RowKey,
    their_key: RowKey,
    *,
    direction: Direction = Direction.HIGHER,
    resamples: int,
    seed: int,
) -> Difference:
    """The difference between a score of some runs and of others, paired by row and seed, with a 95 % interval.

    The i-th run of the one is paired with the i-th of the other, which has the same seed; of each pair the rows count
    that count for both. A resample draws the rows with replacement, the same for all runs. With several seeds the
    interval is over rows and seeds (see `interval`); with one it says nothing of other
    seeds.

    Args:
        ours: What the rows of each run scored; one run a seed.
        theirs: The others, in the same order of seeds.
        key: Which score of ours.
        their_key: Which of theirs.
        direction: Which values of the score are better.
        resamples: How many resamples.
        seed: Determines them.

    Returns:
        Ours minus theirs; its `model` and `than` are the keys' models, its `count` the rows that count.

    Raises:
        Mismatch: The runs were scored on different rows, or one lacks the score, or no row counts for both.
    """
    return Resamples(resamples=resamples, seed=seed).difference(ours, theirs, key, their_key, direction)


class Resamples:
    """Means and differences of runs over the same draws of rows, each run's sums over these computed once.

    Args:
        resamples: How many resamples.
        seed: Determines them.
    """

    def __init__(self, *, resamples: int, seed: int) -> None:
        self._draws = {"resamples": resamples, "seed": seed}
        self._sums: WeakKeyDictionary[RowScores, dict[str, dict[RowKey, Array]]] = WeakKeyDictionary()

    def mean(self, runs: Sequence[RowScores], key: RowKey) -> SeedMean:
        """See `mean_over_seeds`."""
        _check_rows(runs)
        terms = [_terms(run, key) for run in runs]
        values_S = np.array([run.score_of(key, each.sum(axis=0)) for run, each in zip(runs, terms, strict=True)])
        drawn_BS = np.stack([run.score_of(key, self._drawn(run, key)) for run in runs], axis=1)
        found = interval(values_S, drawn_BS, count=_count(terms))
        least, most = _range(runs, key)
        return SeedMean(
            value=found.value,
            low=min(max(found.low, least), found.value),
            high=max(min(found.high, most), found.value),
            count=found.count,
            sd=float(np.std(values_S, ddof=1)) if len(runs) > 1 else None,
            seeds=len(runs),
        )

    def difference(
        self,
        ours: Sequence[RowScores],
        theirs: Sequence[RowScores],
        key: RowKey,
        their_key: RowKey,
        direction: Direction = Direction.HIGHER,
    ) -> Difference:
        """See `compare`."""
        if len(ours) != len(theirs):
            raise Mismatch(f"{len(ours)} runs cannot be paired with {len(theirs)}: each needs a run with the same seed")
        _check_rows([*ours, *theirs])
        pairs, values, drawn = [], [], []
        for one, other in zip(ours, theirs, strict=True):
            mine_RX, other_RX = _terms(one, key), _terms(other, their_key)
            pair_RX = _paired(mine_RX, other_RX)
            own = mine_RX.shape[1]
            if np.array_equal(mine_RX[:, -1] > 0, other_RX[:, -1] > 0):
                sums = self._drawn(one, key), self._drawn(other, their_key)
            else:
                sums_BX = drawn_sums(pair_RX, document_R=one.document_numbers, **self._draws)
                sums = sums_BX[:, :own], sums_BX[:, own:]
            pairs.append(pair_RX)
            whole_X = pair_RX.sum(axis=0)
            values.append(one.score_of(key, whole_X[:own]) - other.score_of(their_key, whole_X[own:]))
            drawn.append(one.score_of(key, sums[0]) - other.score_of(their_key, sums[1]))
        if not all(pair[:, -1].any() for pair in pairs):
            raise Mismatch(f"no row counts for both {' '.join(key)} and {' '.join(their_key)}")
        found = interval(np.array(values), np.stack(drawn, axis=1), count=_count(pairs))
        return Difference(
            suite=key.suite,
            metric=key.metric,
            model=key.model,
            than=their_key.model,
            direction=direction,
            **attrs.asdict(found),
        )

    def _drawn(self, run: RowScores, key: RowKey) -> Array:
        """The sums of a score's terms over each resample; those of all scores of a model come of one product."""
        models = self._sums.setdefault(run, {})
        if key.model not in models:
            keys = [each for each in run.keys if each.model == key.model]
            terms = [run.terms_of(each) for each in keys]
            ends = np.cumsum([terms_RX.shape[1] for terms_RX in terms])[:-1]
            sums_BX = drawn_sums(np.concatenate(terms, axis=1), document_R=run.document_numbers, **self._draws)
            models[key.model] = dict(zip(keys, np.split(sums_BX, ends, axis=1), strict=True))
        return models[key.model][key]


def _terms(run: RowScores, key: RowKey) -> Array:
    if key not in run.keys:
        raise Mismatch(f"a run has no {key.suite} {key.metric} of {key.model} against {key.against}")
    return run.terms_of(key)


def _paired(ours_RX: Array, theirs_RX: Array) -> Array:
    """The terms of both sides, 0 in rows that do not count for both."""
    both_R1 = (ours_RX[:, -1:] > 0) & (theirs_RX[:, -1:] > 0)
    return np.where(both_R1, np.concatenate([ours_RX, theirs_RX], axis=1), 0.0)


def _count(terms: Sequence[Array]) -> int:
    """Rows that count in some run."""
    return int(np.count_nonzero(np.any([terms_RX[:, -1] > 0 for terms_RX in terms], axis=0)))


def _check_rows(runs: Sequence[RowScores]) -> None:
    first = runs[0].ids
    for run in runs[1:]:
        if run.ids == first:
            continue
        if len(run.ids) != len(first):
            raise Mismatch(f"one run was scored on {len(first)} rows and another on {len(run.ids)}: they do not pair")
        one, other = next((a, b) for a, b in zip(first, run.ids, strict=True) if a != b)
        raise Mismatch(f"two runs were scored on different rows (where one has {one}, the other has {other})")


def _range(runs: Sequence[RowScores], key: RowKey) -> tuple[float, float]:
    """The limits of a score: at least 0 if no row is below 0 (a perplexity 1), at most 1 if it is a share."""
    if any(key in run.logs for run in runs):
        return 1.0, math.inf
    rows = [run.values[key] for run in runs if key in run.values]
    if not rows:
        return 0.0, 1.0  # a calibration error
    said = np.concatenate(rows)
    said = said[~np.isnan(said)]
    if not said.size or said.min() < 0:
        return -math.inf, math.inf
    is_share = said.max() <= 1 and key.suite != "loss" and (key.suite, key.metric) not in NO_SHARES
    return 0.0, 1.0 if is_share else math.inf
