"""Scores of teacher and student, paired."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from kdkit.report.facts import Facts
    from kdkit.values import Difference, Score

LOSS = "loss"
"""The suite under which an evaluation files hard, soft and total loss: lower is better."""


@attrs.frozen(kw_only=True)
class Pair:
    """One metric of both models, against the same references."""

    suite: str
    metric: str
    against: str
    teacher: Score | None
    student: Score | None
    difference: Difference | None = None

    @property
    def is_part(self) -> bool:
        """Whether the metric is of a part of the rows: `recall/equals`."""
        return "/" in self.metric

    @property
    def ratio(self) -> float | None:
        """Student over teacher; None where one is missing or the teacher has nothing."""
        if self.teacher is None or self.student is None or not self.teacher.value > 0:
            return None
        found = self.student.value / self.teacher.value
        return found if math.isfinite(found) else None

    @property
    def within_noise(self) -> bool:
        """Whether the 95 % interval of their difference holds 0; without one, whether their two intervals overlap."""
        if self.difference is not None:
            return self.difference.low <= 0 <= self.difference.high
        if self.teacher is None or self.student is None:
            return False
        return self.teacher.low <= self.student.high and self.student.low <= self.teacher.high

    @property
    def counts(self) -> tuple[int, ...]:
        """Over how many rows, of each model that has a score."""
        return tuple(score.count for score in (self.teacher, self.student) if score is not None)


def pairs(facts: Facts, *, against: str) -> list[Pair]:
    """Every metric against these references, the recipe's own first, losses left out."""
    found: dict[tuple[str, str], dict[str, Score]] = {}
    for score in facts.scores:
        if score.against == against and score.suite != LOSS:
            found.setdefault((score.suite, score.metric), {})[score.model] = score
    differences = {(each.suite, each.metric): each for each in facts.differences} if against == "truth" else {}
    listed = [
        attrs.evolve(_pair(*key, against, models), difference=differences.get(key)) for key, models in found.items()
    ]
    suites = list(dict.fromkeys([_headline_suite(facts), *(pair.suite for pair in listed)]))
    best_by = str(facts.table("training").get("best_by", ""))
    return sorted(listed, key=lambda pair: (suites.index(pair.suite), f"{pair.suite}.{pair.metric}" != best_by))


def losses(facts: Facts) -> list[Pair]:
    """Hard, soft and total loss of both models."""
    found: dict[tuple[str, str], dict[str, Score]] = {}
    for score in facts.scores:
        if score.suite == LOSS:
            found.setdefault((score.metric, score.against), {})[score.model] = score
    return [_pair(LOSS, metric, against, models) for (metric, against), models in found.items()]


def headline(facts: Facts) -> Pair | None:
    """The metric that the verdict is about: the recipe's `best_by`, else f1, else the first there is."""
    whole = [pair for pair in pairs(facts, against="truth") if not pair.is_part]
    if not whole:
        return None
    if f"{whole[0].suite}.{whole[0].metric}" == facts.table("training").get("best_by"):
        return whole[0]
    first_suite = [pair for pair in whole if pair.suite == whole[0].suite]
    return next((pair for pair in first_suite if pair.metric == "f1"), first_suite[0])


def _pair(suite: str, metric: str, against: str, models: dict[str, Score]) -> Pair:
    return Pair(
        suite=suite, metric=metric, against=against, teacher=models.get("teacher"), student=models.get("student")
    )


def _headline_suite(facts: Facts) -> str:
    """The suite of `training.best_by`, else the first of `evaluation.suites`."""
    best_by = str(facts.table("training").get("best_by", ""))
    named = [score.suite for score in facts.scores if best_by == f"{score.suite}.{score.metric}"]
    if named:
        return named[0]
    for suite in facts.table("evaluation").get("suites") or ():
        return str(suite.get("name", "")) if isinstance(suite, dict) else str(suite)
    return ""
