"""What reports on several runs say of a score: its mean over seeds, its interval, and paired differences.

All of it comes from `kdkit.evaluation.row_scores`; here is what is done once, and what to do where rows are not to be
had.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING

import attrs

from kdkit.api.values import Direction, Interval
from kdkit.errors import Mismatch
from kdkit.evaluation.resampling import Resamples
from kdkit.report.numbers.names import LABELS_ONLY, MODELS
from kdkit.report.read.files import number
from kdkit.report.read.scored import SEED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kdkit.api.values import Difference
    from kdkit.evaluation.row_scores import RowKey, RowScores
    from kdkit.report.numbers.configurations import Configuration
    from kdkit.report.read.scored import ScoredRun

SAME = 1e-9
"""Scores that differ by no more are one: two runs may sum in another order."""


@attrs.frozen(kw_only=True)
class Measure(Interval):
    """A score of a configuration: mean over its seeds and 95 % interval over rows and seeds, NaN where not known."""

    seeds: int


@attrs.frozen(kw_only=True)
class Unpaired:
    """Why two configurations have no paired difference."""

    reason: str


class Statistics:
    """Scores of configurations, each computed once.

    Args:
        configurations: Those that are compared.
    """

    def __init__(self, configurations: Sequence[Configuration]) -> None:
        self.configurations = tuple(configurations)
        self._measures: dict[tuple[int, RowKey], Measure | None] = {}
        self._differences: dict[tuple[int, RowKey, int, RowKey], Difference | Unpaired] = {}
        self._resamples: dict[tuple[int, int], Resamples] = {}

    @cached_property
    def keys(self) -> tuple[RowKey, ...]:
        """Every score of any run, in the order of their evaluations."""
        runs = [run for configuration in self.configurations for run in configuration.runs]
        return tuple(dict.fromkeys(key for run in runs for key in run.scores))

    def of_student(self, against: str | None = None, *, parts: bool = False) -> list[RowKey]:
        """The student's scores, against one reference or any: over all rows, or of parts of these (`recall/equals`)."""
        return [
            key
            for key in self.keys
            if key.model == "student" and against in {None, key.against} and ("/" in key.metric) is parts
        ]

    def direction(self, key: RowKey) -> Direction:
        """Which values of a score are better."""
        return self._directions.get((key.suite, key.metric), Direction.HIGHER)

    @cached_property
    def _directions(self) -> Mapping[tuple[str, str], Direction]:
        runs = [run for configuration in self.configurations for run in configuration.runs]
        return {(key.suite, key.metric): score.direction for run in runs for key, score in run.scores.items()}

    def measure(self, configuration: Configuration, key: RowKey) -> Measure | None:
        """A score of a configuration; None where none of its runs has it."""
        place = (id(configuration), key)
        if place not in self._measures:
            self._measures[place] = self._measure(configuration, key)
        return self._measures[place]

    def labels_only(self, configuration: Configuration, key: RowKey) -> Measure | None:
        """A score of the same student trained on labels alone: the baseline's, or its own where it is one itself."""
        if is_labels_only(configuration):
            return self.measure(configuration, key)
        return self.measure(configuration, key._replace(model=LABELS_ONLY))

    def is_common(self, key: RowKey) -> bool:
        """Whether a score of a baseline is the same beside all configurations, seed by seed."""
        by_seed: dict[object, float] = {}
        for run in (run for configuration in self.configurations for run in configuration.runs):
            value = run.scores[key].value if key in run.scores else None
            if value is not None and abs(by_seed.setdefault(run.recipe.get(SEED), value) - value) > SAME:
                return False
        return True

    def having(self, key: RowKey) -> list[Configuration]:
        """The configurations that have a score."""
        return [each for each in self.configurations if any(key in run.scores for run in each.runs)]

    def common(self, key: RowKey) -> Measure | None:
        """A score of a baseline that is the same beside all configurations, from the one that has the most seeds."""
        found = self.having(key) if self.is_common(key) else []
        most = max(found, key=lambda each: sum(key in run.scores for run in each.runs), default=None)
        return None if most is None else self.measure(most, key)

    def difference(
        self, ours: Configuration, theirs: Configuration, key: RowKey, their_key: RowKey | None = None
    ) -> Difference | Unpaired:
        """By how much a score of one configuration is above another's, over the rows and seeds of both."""
        place = (id(ours), key, id(theirs), their_key or key)
        if place not in self._differences:
            self._differences[place] = self._difference(ours, theirs, key, their_key or key)
        return self._differences[place]

    def seeds_in_common(self, one: Configuration, other: Configuration) -> int:
        """On how many seeds the two are compared."""
        return len(_paired(one, other))

    def folded(self, keys: Sequence[RowKey]) -> list[tuple[RowKey, ...]]:
        """Scores that are equal, for all models and configurations, together: of single assertions recall is f1."""
        groups: dict[object, list[RowKey]] = {}
        for key in keys:
            groups.setdefault(self._told_of(key), []).append(key)
        return [tuple(group) for group in groups.values()]

    def _told_of(self, key: RowKey) -> object:
        """All that any run says of a score, whichever model it is of."""
        told = []
        for run in (run for configuration in self.configurations for run in configuration.runs):
            for model in MODELS:
                score = run.scores.get(key._replace(model=model))
                told.append(
                    None
                    if score is None
                    else (*(round(end, 9) for end in (score.value, score.low, score.high)), score.count)
                )
        return key.against, self.direction(key), tuple(told)

    def _measure(self, configuration: Configuration, key: RowKey) -> Measure | None:
        runs = [run for run in configuration.runs if key in run.scores]
        if not runs:
            return None
        rows = [run.rows for run in runs if run.rows is not None and key in run.rows.keys]
        if len(rows) == len(runs) and _same_rows(rows):
            found = self._resampling(runs).mean(rows, key)
            return Measure(value=found.value, low=found.low, high=found.high, seeds=found.seeds, count=found.count)
        scores = [run.scores[key] for run in runs]
        alone = scores[0] if len(scores) == 1 else None
        return Measure(
            value=math.fsum(score.value for score in scores) / len(scores),
            low=math.nan if alone is None else alone.low,
            high=math.nan if alone is None else alone.high,
            seeds=len(scores),
            count=max(score.count for score in scores),
        )

    def _difference(
        self, ours: Configuration, theirs: Configuration, key: RowKey, their_key: RowKey
    ) -> Difference | Unpaired:
        pairs = _paired(ours, theirs)
        if not pairs:
            return Unpaired(reason="they have no seed in common")
        if any(run.rows is None for pair in pairs for run in pair):
            return Unpaired(reason="a run has no rows.npz")
        mine = [one.rows for one, _ in pairs if one.rows is not None]
        other = [two.rows for _, two in pairs if two.rows is not None]
        if not _same_rows([*mine, *other]):
            return Unpaired(reason="they were scored on different rows")
        if not all(key in rows.keys for rows in mine) or not all(their_key in rows.keys for rows in other):
            return Unpaired(reason="one of them lacks this score")
        try:
            return self._resampling([pair[0] for pair in pairs]).difference(
                mine, other, key, their_key, self.direction(key)
            )
        except Mismatch as error:
            return Unpaired(reason=str(error))

    def _resampling(self, runs: Sequence[ScoredRun]) -> Resamples:
        """How often and from which seed: as in the evaluation of the first run."""
        recipe = runs[0].recipe
        own = recipe.get("seed")
        resamples, seed = int(number(recipe.get("evaluation.bootstrap")) or 1000), own if isinstance(own, int) else 0
        return self._resamples.setdefault((resamples, seed), Resamples(resamples=resamples, seed=seed))


def is_labels_only(configuration: Configuration) -> bool:
    """Whether its students learnt nothing from a teacher."""
    return not any(run.needs_teacher for run in configuration.runs)


def within_noise(difference: Difference | Unpaired) -> bool:
    """Whether a difference may be none: its interval holds 0. Where there is none, nothing can be told."""
    return isinstance(difference, Unpaired) or difference.holds_zero


def _paired(ours: Configuration, theirs: Configuration) -> list[tuple[ScoredRun, ScoredRun]]:
    """Runs of the same seed; runs of any seed where each side has but one."""
    by_seed = {run.recipe.get(SEED): run for run in theirs.runs}
    pairs = [(run, by_seed[run.recipe.get(SEED)]) for run in ours.runs if run.recipe.get(SEED) in by_seed]
    if not pairs and len(ours.runs) == len(theirs.runs) == 1:
        return [(ours.runs[0], theirs.runs[0])]
    return pairs


def _same_rows(rows: Sequence[RowScores]) -> bool:
    return all(other.ids == rows[0].ids for other in rows[1:])
