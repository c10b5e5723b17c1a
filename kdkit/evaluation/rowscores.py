"""What each row of an evaluation scored: kept beside `evaluation.json`, so that runs can be compared row by row.

rows.npz
ids                                  the rows' ids, in the order of all else
MODEL|AGAINST|SUITE|METRIC           a value a row, NaN where the row does not count
MODEL|AGAINST|SUITE|METRIC|weights   its weight in the mean, where that is not 1: the tokens behind a loss
MODEL|AGAINST|SUITE|METRIC|gaps      of a calibration error (`kdkit.evaluation.calibration`): what the row adds to each
                                     bin's gap

A score is `sum(weight * value) / sum(weight)`. A calibration error is no mean of rows: its `gaps` are in place of
values, a row of them a row, and it is the sum over bins of `|sum(weight * gap)|`, over `sum(weight)`.

Letters: R rows, K bins of a row (1 where it has a value), B resamples, S seeds.
"""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

import attrs
import numpy as np

from kdkit.errors import DamagedData, Mismatch, MissingInput
from kdkit.evaluation.resampling import drawn_sums, interval
from kdkit.files import write_atomically
from kdkit.values import Difference

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    Array: TypeAlias = npt.NDArray[np.float64]

FILE = "rows.npz"
_DAMAGE = (ValueError, KeyError, TypeError, EOFError, RuntimeError)  # what NumPy and zipfile raise of a damaged file


class RowKey(NamedTuple):
    """Which score: see `kdkit.values.Score`."""

    model: str
    against: str
    suite: str
    metric: str


@attrs.frozen(kw_only=True, eq=False)
class RowScores:
    """Each row's value of each score.

    Attributes:
        ids: The rows' ids.
        values: A value a row for each score, NaN where the row does not count.
        weights: The rows' weights in a score's mean; a score that is not here weighs all alike.
        gaps: Of each calibration error, which is in `values` no more, the gaps `[R, K]`.
    """

    ids: tuple[str, ...]
    values: Mapping[RowKey, Array]
    weights: Mapping[RowKey, Array] = attrs.field(factory=dict)
    gaps: Mapping[RowKey, Array] = attrs.field(factory=dict)

    @property
    def keys(self) -> tuple[RowKey, ...]:
        """Every score that is here."""
        return (*self.values, *self.gaps)

    def weights_of(self, key: RowKey) -> Array:
        """The rows' weights in a score, 0 where a row does not count."""
        weights_R = self.weights.get(key, np.ones(len(self.ids)))
        said_R = self.values[key] if key in self.values else self.gaps[key].sum(axis=1)
        return np.where(np.isnan(said_R), 0.0, weights_R)

    def terms_of(self, key: RowKey) -> Array:
        """What `score_of_sums` wants the sum of: weighted values or gaps, and the weights last, `[R, K + 1]`."""
        weights_R = self.weights_of(key)
        said_RK = self.values[key][:, None] if key in self.values else self.gaps[key]
        counted_RK = np.where(weights_R[:, None] > 0, said_RK, 0.0)
        return np.concatenate([counted_RK * weights_R[:, None], weights_R[:, None]], axis=1)

    def write(self, folder: Path) -> None:
        """Write `rows.npz`, whole or not at all."""
        arrays: dict[str, Any] = {"ids": np.array(self.ids, dtype=np.str_)}
        arrays |= {"|".join(key): values_R for key, values_R in self.values.items()}
        arrays |= {"|".join((*key, "weights")): weights_R for key, weights_R in self.weights.items()}
        arrays |= {"|".join((*key, "gaps")): gaps_RK for key, gaps_RK in self.gaps.items()}
        stream = io.BytesIO()
        np.savez_compressed(stream, **arrays)
        write_atomically(folder / FILE, stream.getvalue())

    @classmethod
    def read(cls, folder: Path) -> RowScores:
        """What `write` wrote.

        Raises:
            MissingInput: It is not there.
            DamagedData: It is something else.
        """
        path = folder / FILE
        try:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as arrays:
                found = {name: arrays[name] for name in arrays.files}
            ids = tuple(map(str, found.pop("ids").tolist()))
            kinds: dict[str, dict[RowKey, Array]] = {"": {}, "weights": {}, "gaps": {}}
            for name, array in found.items():
                model, against, suite, metric, *kind = name.split("|")
                dimensions = 2 if kind == ["gaps"] else 1
                if len(kind) > 1 or array.ndim != dimensions or len(array) != len(ids):
                    raise ValueError(f"its array {name} is not of {len(ids)} rows")
                kinds["".join(kind)][RowKey(model, against, suite, metric)] = array
            return cls(ids=ids, values=kinds[""], weights=kinds["weights"], gaps=kinds["gaps"])
        except FileNotFoundError as error:
            raise MissingInput(f"{folder} has no {FILE}: its evaluation is not finished") from error
        except (*_DAMAGE, zipfile.BadZipFile, zlib.error) as error:
            raise DamagedData(
                f"{path} is damaged ({error}); delete it and evaluation.json there and run the recipe again"
            ) from error


@attrs.frozen(kw_only=True)
class SeedMean:
    """A score over the seeds of one trial.

    Attributes:
        value: The mean over seeds.
        low: Lower end of its 95 % interval.
        high: Upper end.
        sd: Standard deviation over seeds, with n - 1; None of a single one.
        seeds: How many there are.
        count: Rows that count.
    """

    value: float
    low: float
    high: float
    sd: float | None
    seeds: int
    count: int


def mean_over_seeds(runs: Sequence[RowScores], key: RowKey, *, resamples: int, seed: int) -> SeedMean:
    """A score's mean over runs that differ in their seed only, with a bootstrap interval over rows and seeds.

    See `kdkit.evaluation.resampling.interval` for how the interval comes about. It ends where the score can go no
    further: shares at 0 and 1, losses, calibration errors and lengths at 0.

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
    resamples: int,
    seed: int,
) -> Difference:
    """By how much a score of some runs is above one of others, paired by row and seed, with a 95 % bootstrap interval.

    The i-th run of the one is paired with the i-th of the other, which has the same seed; of each pair the rows count
    that count for both. A resample draws the rows with replacement, the same for all runs. With several seeds the
    interval is over rows and seeds (see `kdkit.evaluation.resampling.interval`); with one it says nothing of other
    seeds.

    Args:
        ours: What the rows of each run scored; one run a seed.
        theirs: The others, in the same order of seeds.
        key: Which score of ours.
        their_key: Which of theirs.
        resamples: How many resamples.
        seed: Determines them.

    Returns:
        Ours minus theirs; its `model` and `than` are the keys' models, its `count` the rows that count.

    Raises:
        Mismatch: The runs were scored on different rows, or one lacks the score, or no row counts for both.
    """
    return Resamples(resamples=resamples, seed=seed).difference(ours, theirs, key, their_key)


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
        values_S = np.array([score_of_sums(terms_RX.sum(axis=0)) for terms_RX in terms])
        drawn_BS = np.stack([score_of_sums(self._drawn(run, key)) for run in runs], axis=1)
        value, low, high = interval(values_S, drawn_BS)
        least, most = _range(runs, key)
        return SeedMean(
            value=value,
            low=min(max(low, least), value),
            high=max(min(high, most), value),
            sd=float(np.std(values_S, ddof=1)) if len(runs) > 1 else None,
            seeds=len(runs),
            count=_count(terms),
        )

    def difference(
        self, ours: Sequence[RowScores], theirs: Sequence[RowScores], key: RowKey, their_key: RowKey
    ) -> Difference:
        """See `compare`."""
        if len(ours) != len(theirs):
            raise Mismatch(f"{len(ours)} runs cannot be paired with {len(theirs)}: each needs one of the same seed")
        _check_rows([*ours, *theirs])
        pairs, values, drawn = [], [], []
        for one, other in zip(ours, theirs, strict=True):
            mine_RX, other_RX = _terms(one, key), _terms(other, their_key)
            pair_RX = _paired(mine_RX, other_RX)
            own = mine_RX.shape[1]
            if np.array_equal(mine_RX[:, -1] > 0, other_RX[:, -1] > 0):
                sums = self._drawn(one, key), self._drawn(other, their_key)
            else:
                sums_BX = drawn_sums(pair_RX, **self._draws)
                sums = sums_BX[:, :own], sums_BX[:, own:]
            pairs.append(pair_RX)
            whole_X = pair_RX.sum(axis=0)
            values.append(score_of_sums(whole_X[:own]) - score_of_sums(whole_X[own:]))
            drawn.append(score_of_sums(sums[0]) - score_of_sums(sums[1]))
        if not all(pair[:, -1].any() for pair in pairs):
            raise Mismatch(f"no row counts for both {' '.join(key)} and {' '.join(their_key)}")
        value, low, high = interval(np.array(values), np.stack(drawn, axis=1))
        return Difference(
            suite=key.suite,
            metric=key.metric,
            value=value,
            low=low,
            high=high,
            count=_count(pairs),
            model=key.model,
            than=their_key.model,
        )

    def _drawn(self, run: RowScores, key: RowKey) -> Array:
        """The sums of a score's terms over each resample; those of all scores of a model come of one product."""
        models = self._sums.setdefault(run, {})
        if key.model not in models:
            keys = [each for each in run.keys if each.model == key.model]
            terms = [run.terms_of(each) for each in keys]
            ends = np.cumsum([terms_RX.shape[1] for terms_RX in terms])[:-1]
            sums_BX = drawn_sums(np.concatenate(terms, axis=1), **self._draws)
            models[key.model] = dict(zip(keys, np.split(sums_BX, ends, axis=1), strict=True))
        return models[key.model][key]


def score_of_sums(sums_X: Array) -> Array:
    """A score of the sums of its terms (see `RowScores.terms_of`) along the last axis; NaN where nothing counts."""
    weighted_XK, weight_X = sums_X[..., :-1], sums_X[..., -1]
    total_X = np.abs(weighted_XK).sum(axis=-1) if weighted_XK.shape[-1] > 1 else weighted_XK[..., 0]
    score_X: Array = np.divide(total_X, weight_X, out=np.full_like(weight_X, np.nan), where=weight_X > 0)
    return score_X


def _terms(run: RowScores, key: RowKey) -> Array:
    if key not in run.keys:
        raise Mismatch(f"a run has no {key.suite} {key.metric} of {key.model} against {key.against}")
    return run.terms_of(key)


def _paired(ours_RX: Array, theirs_RX: Array) -> Array:
    """Both sides' terms beside each other, 0 in rows that do not count for both."""
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
    """How far a score can go: where no row is below 0 it is not either, and what is a share of 1 is never more."""
    rows = [run.values[key] for run in runs if key in run.values]
    if not rows:
        return 0.0, 1.0  # a calibration error
    said = np.concatenate(rows)
    said = said[~np.isnan(said)]
    if not said.size or said.min() < 0:
        return -math.inf, math.inf
    is_share = said.max() <= 1 and key.suite != "loss" and (key.suite, key.metric) != ("texts", "length")
    return 0.0, 1.0 if is_share else math.inf
