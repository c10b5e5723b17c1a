"""Scores of teacher, student and baselines, metric by metric."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.values import Direction
from kdkit.evaluation.headline import WITHOUT_SUITES, headline_of
from kdkit.evaluation.row_scores import RowKey
from kdkit.report.numbers.names import (
    BASELINES,
    LABELS_ONLY,
    LOSS,
    MODELS,
    NO_SUITES,
    UNTAUGHT,
    capital,
    metric_label,
    metric_name,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kdkit.api.values import Difference, Score
    from kdkit.report.read.run import RunFacts

NEAR_ZERO = 0.02
"""A teacher that scores no more has nothing of which a student could keep a share."""


@attrs.frozen(kw_only=True)
class Pair:
    """One metric of all models, against the same references.

    Attributes:
        suite: Name of the suite.
        metric: Name within the suite.
        against: "truth" or "teacher", as in a score.
        direction: Which values of it are better.
        teacher: The teacher's score.
        student: The student's.
        baselines: Those of the baselines that have one.
        difference: Student minus teacher, row by row.
        gain: Student minus the student that was trained on the labels alone, row by row.
    """

    suite: str
    metric: str
    against: str
    teacher: Score | None
    student: Score | None
    baselines: Mapping[str, Score] = attrs.field(factory=dict)
    difference: Difference | None = None
    gain: Difference | None = None
    direction: Direction = Direction.HIGHER

    @property
    def is_part(self) -> bool:
        """Whether the metric is of a part of the rows: `recall/equals`."""
        return "/" in self.metric

    @property
    def label(self) -> str:
        """The metric in words."""
        return metric_label(self.suite, self.metric)

    @property
    def name(self) -> str:
        """The metric as a sentence begins with it: `Exact match`, `Hard loss`."""
        return capital(metric_name(RowKey("student", self.against, self.suite, self.metric)))

    @property
    def sense(self) -> int:
        """1 where more is better, -1 where less is, 0 where neither is."""
        return self.direction.sense

    @property
    def retention(self) -> float | None:
        """Student over teacher; None where that says nothing.

        That is where less is better or neither more nor less, where the teacher is near 0, and where the teacher is no
        better than what learnt nothing: a share of that is not a share of anything learnt.
        """
        if self.sense <= 0 or self.teacher is None or self.student is None:
            return None
        least = max((each.value for model in UNTAUGHT if (each := self.score(model)) is not None), default=0.0)
        if not self.teacher.value > max(least, NEAR_ZERO):
            return None
        found = self.student.value / self.teacher.value
        return found if math.isfinite(found) else None

    @property
    def within_noise(self) -> bool:
        """Whether the 95 % interval of their difference holds 0; without one, whether their two intervals overlap."""
        if self.difference is not None:
            return self.difference.holds_zero
        if self.teacher is None or self.student is None:
            return False
        return self.teacher.low <= self.student.high and self.student.low <= self.teacher.high

    @property
    def counts(self) -> tuple[int, ...]:
        """Over how many rows, of each model that has a score."""
        return tuple(score.count for model in MODELS if (score := self.score(model)) is not None)

    def score(self, model: str) -> Score | None:
        """A model's score."""
        return {"teacher": self.teacher, "student": self.student}.get(model) or self.baselines.get(model)


def pairs(facts: RunFacts, *, against: str) -> list[Pair]:
    """Every metric against these references, the headline and its suite first, losses left out."""
    found = [pair for pair in _all(facts) if pair.against == against and pair.suite != LOSS]
    first = _headline(facts)
    suites = list(dict.fromkeys([first.partition(".")[0], *(pair.suite for pair in found)]))
    return sorted(found, key=lambda pair: (suites.index(pair.suite), f"{pair.suite}.{pair.metric}" != first))


def label_of(group: Sequence[Pair]) -> str:
    """Their names as a row begins with them: `Precision, recall, F1`."""
    return capital(", ".join(dict.fromkeys(pair.label for pair in group)))


def losses(facts: RunFacts) -> list[Pair]:
    """Hard, soft and total loss of all models."""
    return [pair for pair in _all(facts) if pair.suite == LOSS]


def models(found: Sequence[Pair]) -> list[str]:
    """The models that have a score in any of these metrics."""
    return [model for model in MODELS if any(pair.score(model) is not None for pair in found)]


def headline(facts: RunFacts) -> Pair | None:
    """The metric that the verdict is about."""
    first, of_truth = _headline(facts), pairs(facts, against="truth")
    every = [*of_truth, *losses(facts), *pairs(facts, against="teacher")]
    found = next((pair for pair in every if f"{pair.suite}.{pair.metric}" == first), None)
    if found is not None or first == WITHOUT_SUITES:
        return found
    return next((pair for pair in of_truth if not pair.is_part), None)


def _all(facts: RunFacts) -> list[Pair]:
    found: dict[tuple[str, str, str], dict[str, Score]] = {}
    for score in facts.evaluation.scores:
        found.setdefault((score.suite, score.metric, score.against), {})[score.model] = score
    # A difference does not say against what it is: the truth, and the teacher in what is not scored against the truth.
    differences = {
        (each.suite, each.metric, each.than): each for each in facts.evaluation.differences if each.model == "student"
    }
    listed = []
    for (suite, metric, against), scores in found.items():
        told = against == "truth" or (suite, metric, "truth") not in found
        than = {name: differences.get((suite, metric, name)) if told else None for name in ("teacher", LABELS_ONLY)}
        listed.append(
            Pair(
                suite=suite,
                metric=metric,
                against=against,
                teacher=scores.get("teacher"),
                student=scores.get("student"),
                baselines={model: scores[model] for model in BASELINES if model in scores},
                difference=than["teacher"],
                gain=than[LABELS_ONLY],
                direction=next(iter(scores.values())).direction,
            )
        )
    return listed


def _headline(facts: RunFacts) -> str:
    """The metric that the run decided on, as "SUITE.METRIC"; of an older run, the one that it would have."""
    if facts.evaluation.headline:
        return facts.evaluation.headline
    named = [suite.get("name") if isinstance(suite, dict) else suite for suite in _suites(facts)]
    scores = [(each.suite, each.metric) for each in facts.evaluation.scores if each.against == "truth"]
    rest = dict.fromkeys(suite for suite, _ in scores if suite not in NO_SUITES)
    suites = list(dict.fromkeys([*map(str, named), *rest]))
    metrics = dict.fromkeys((suite, metric) for name in suites for suite, metric in scores if suite == name)
    return headline_of(list(metrics), best_by=str(facts.table("training").get("best_by", "")))


def _suites(facts: RunFacts) -> Sequence[Any]:
    found = facts.table("evaluation").get("suites")
    return found if isinstance(found, list) else ()
