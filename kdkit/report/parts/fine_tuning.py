"""What fine-tuning did to the teacher, before anything was asked of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.evaluation.row_scores import RowKey
from kdkit.report.numbers.names import capital, metric_name
from kdkit.report.page import formats
from kdkit.report.page.document import Part
from kdkit.report.page.tables import Cell, Row, Table
from kdkit.report.parts.cells import LESS, difference_cell

if TYPE_CHECKING:
    from kdkit.evaluation.record import Change
    from kdkit.report.read.run import RunFacts

CURE = "train it for fewer steps or at a lower rate, on more rows, or leave teacher.fine_tune out"


_HELD_OUT = {
    True: "the teacher had none of them",
    False: "the teacher was not trained on them, but they picked the epoch that was kept",
}


def of_run(facts: RunFacts) -> Part | None:
    """The teacher's scores before and after, with a sentence; None where no trained model was fine-tuned."""
    changes = facts.evaluation.fine_tuning
    said = sentence(facts)
    if not changes or said is None:
        return None
    rows = f"the same {formats.count(facts.evaluation.row_count)} {facts.split} rows, in one way"
    table = Table.of(("", "before", "after", "after minus before"), map(_row, changes))
    return Part(
        key="fine-tuning",
        title="What fine-tuning did to the teacher",
        blocks=(
            f"{said} Both were asked about the same {rows}, in one way; {_HELD_OUT[facts.split == 'test']}.",
            table,
        ),
    )


def sentence(facts: RunFacts) -> str | None:
    """Whether the teacher is better for it, by its hard loss; None where that is not known."""
    change = _hard(facts)
    if change is None:
        return None
    values = f"hard loss {formats.metric(change.before.value)} before, {formats.metric(change.after.value)} after"
    if change.difference.holds_zero:
        return f"Fine-tuning made no difference to the teacher that is more than noise: {values}."
    if change.difference.value > 0:
        return f"Fine-tuning made the teacher worse: {values}; {CURE}."
    return f"Fine-tuning made the teacher better: {values}."


def in_short(facts: RunFacts) -> tuple[str, ...]:
    """The same in lines that a terminal has room for."""
    change = _hard(facts)
    if change is None:
        return ()
    before, after = (formats.metric(each.value) for each in (change.before, change.after))
    line = f"hard loss {before} before fine-tuning, {after} after ({change.difference.verdict})"
    return (line, *CURE.rsplit(", ", 1)) if change.difference.verdict == "worse" else (line,)


def _hard(facts: RunFacts) -> Change | None:
    return next((each for each in facts.evaluation.fine_tuning if each.difference.metric == "hard"), None)


def _row(change: Change) -> Row:
    cells = (Cell(formats.metric(change.before.value)), Cell(formats.metric(change.after.value)))
    difference = change.difference
    return Row(
        label=capital(metric_name(RowKey("teacher", "truth", difference.suite, difference.metric))),
        note=LESS if difference.direction.sense < 0 else "",
        cells=(*cells, difference_cell(difference)),
    )
