"""What a run came to, as values: is the teacher worth imitating, did distillation help, what does the student cost.

The page, its Markdown, the terminal and the JSON all say what stands here.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import TYPE_CHECKING

import attrs

from kdkit.errors import DamagedData, Mismatch, MissingInput
from kdkit.report.numbers import pairs
from kdkit.report.numbers.names import LABELS_ONLY, UNTAUGHT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kdkit.api.values import Cost, Difference, Interval, Score
    from kdkit.evaluation.row_scores import RowScores
    from kdkit.report.numbers.pairs import Pair
    from kdkit.report.read.run import RunFacts

BETTER, WORSE, NOISE = "better", "worse", "within noise"
FLOOR = ("constant", "nearest")
"""What a teacher has to be better than to be worth imitating."""


class Ending(StrEnum):
    """How a run ended; the first that holds, for what comes after it means nothing where it does."""

    UNSCORED = "unscored"
    TEACHER_NOT_WORTH_IT = "teacher not worth imitating"
    HELPED = "distillation helped"
    NO_DIFFERENCE = "within noise of labels only"
    HURT = "distillation hurt"
    NOT_COMPARED = "not compared with labels only"


@attrs.frozen(kw_only=True)
class Beside:
    """A model beside another in the headline metric.

    Attributes:
        model: The one.
        other: The other.
        value: The one's score.
        other_value: The other's.
        difference: The one minus the other, row by row, with its interval; None where the run has no values of rows.
        verdict: "better", "worse" or "within noise", of the one; "" where neither more nor less is better.
    """

    model: str
    other: str
    value: float
    other_value: float
    difference: Interval | None
    verdict: str


@attrs.frozen(kw_only=True)
class Conclusion:
    """What a run came to.

    Attributes:
        pair: The headline metric of all models; None where nothing was scored.
        split: The rows that were scored: "test".
        teacher: The teacher beside each baseline that a teacher has to be better than.
        gain: The student beside the same student trained on the labels only; None where there is none.
        surpassed: The teacher beside the student of labels only, where the teacher is the worse one; else None.
        imitation: The student beside its teacher; None where the teacher has no score.
        ahead: Baselines that nothing of this run taught and that are better than the student, each beside it.
        costs: What the models cost.
    """

    pair: Pair | None
    split: str
    teacher: tuple[Beside, ...] = ()
    gain: Beside | None = None
    surpassed: Beside | None = None
    imitation: Beside | None = None
    ahead: tuple[Beside, ...] = ()
    costs: Mapping[str, Cost] = attrs.field(factory=dict)

    @property
    def not_beaten(self) -> tuple[Beside, ...]:
        """The baselines that the teacher is not better than."""
        return tuple(each for each in self.teacher if each.verdict in {WORSE, NOISE})

    @property
    def ending(self) -> Ending:
        """How the run ended."""
        if self.pair is None or not is_known(self.pair.student):
            return Ending.UNSCORED
        if self.not_beaten:
            return Ending.TEACHER_NOT_WORTH_IT
        told = {BETTER: Ending.HELPED, WORSE: Ending.HURT, NOISE: Ending.NO_DIFFERENCE}
        return told.get(self.gain.verdict, Ending.NOT_COMPARED) if self.gain is not None else Ending.NOT_COMPARED

    @property
    def parameters(self) -> float | None:
        """The student's parameters over its teacher's; None where either is not known."""
        teacher, student = self.costs.get("teacher"), self.costs.get("student")
        if teacher is None or student is None or not (teacher.parameters > 0 and student.parameters > 0):
            return None
        return student.parameters / teacher.parameters


def conclude(facts: RunFacts) -> Conclusion:
    """What the numbers of a run say of its headline metric."""
    pair, costs = pairs.headline(facts), facts.evaluation.costs
    if pair is None or not is_known(pair.student):
        return Conclusion(pair=pair, split=facts.split, costs=costs)
    rows = _rows(facts)
    teacher = tuple(_paired(facts, rows, pair, "teacher", other) for other in FLOOR)
    plain = _paired(facts, rows, pair, "teacher", LABELS_ONLY)
    untaught = tuple(_paired(facts, rows, pair, model, "student") for model in UNTAUGHT)
    return Conclusion(
        pair=pair,
        split=facts.split,
        teacher=tuple(each for each in teacher if each is not None),
        gain=None if pair.gain is None else _beside(pair, "student", LABELS_ONLY, pair.gain),
        surpassed=plain if plain is not None and plain.verdict == WORSE else None,
        imitation=_beside(pair, "student", "teacher", pair.difference),
        ahead=tuple(each for each in untaught if each is not None and each.verdict == BETTER),
        costs=costs,
    )


def is_known(score: Score | None) -> bool:
    """Whether there is a score, and it is a number."""
    return score is not None and math.isfinite(score.value)


def _beside(pair: Pair, model: str, other: str, difference: Difference | None) -> Beside | None:
    """None where a score, or the difference, is not a number."""
    ours, theirs = pair.score(model), pair.score(other)
    if ours is None or theirs is None or not (is_known(ours) and is_known(theirs)):
        return None
    if difference is not None and not math.isfinite(difference.value):
        return None
    verdict = _by_intervals(pair, ours, theirs) if difference is None else difference.verdict
    return Beside(
        model=model,
        other=other,
        value=ours.value,
        other_value=theirs.value,
        difference=difference,
        verdict=verdict,
    )


def _by_intervals(pair: Pair, ours: Score, theirs: Score) -> str:
    """Without values of rows: two scores differ where their intervals do not overlap."""
    if not (ours.low > theirs.high or ours.high < theirs.low):
        return NOISE
    return {1: BETTER, -1: WORSE, 0: ""}[pair.sense * (1 if ours.value > theirs.value else -1)]


def _paired(facts: RunFacts, rows: RowScores | None, pair: Pair, model: str, other: str) -> Beside | None:
    """One model beside another, row by row where the run has values of rows."""
    from kdkit.evaluation.resampling import compare
    from kdkit.evaluation.row_scores import RowKey

    keys = [RowKey(each, pair.against, pair.suite, pair.metric) for each in (model, other)]
    if rows is None or not set(keys) <= set(rows.keys):
        return _beside(pair, model, other, None)
    resamples = facts.table("evaluation").get("bootstrap")
    try:
        found = compare(
            [rows],
            [rows],
            *keys,
            direction=pair.direction,
            resamples=resamples if isinstance(resamples, int) else 1000,
            seed=facts.seed,
        )
    except Mismatch:
        found = None
    return _beside(pair, model, other, found)


def _rows(facts: RunFacts) -> RowScores | None:
    from kdkit.evaluation.row_scores import RowScores

    try:
        return None if facts.path is None else RowScores.read(facts.path)
    except (MissingInput, DamagedData):
        return None  # the scores' own intervals tell it
