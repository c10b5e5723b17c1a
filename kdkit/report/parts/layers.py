"""Which of the teacher's layers the student is made of, where a measure chose them, and what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.api.values import Pruning
from kdkit.report.numbers.names import capital
from kdkit.report.page import formats
from kdkit.report.page.charts.bars import Bars
from kdkit.report.page.document import Figure, Figures, Part
from kdkit.report.page.tables import Cell, Row, Table
from kdkit.report.read.files import as_table
from kdkit.runs.facts_table import from_table

if TYPE_CHECKING:
    from kdkit.api.values import KeptLayers
    from kdkit.report.read.run import RunFacts


def of_run(facts: RunFacts) -> Part | None:
    """The layers that were kept, a drawing of what each is worth, and the numbers; None where no measure chose any."""
    told = as_table(facts.stage("teacher").get("pruning"))
    if not told:
        return None
    pruning = from_table(Pruning, told, where=f"{facts.folder}/run.json")
    measured = [stack for stack in pruning.layers if stack.scores is not None]
    said = f"The student is made of the teacher's {pruning.in_words()}."
    if not measured:
        return Part(key="layers", title="What the student is made of", blocks=(said,))
    figures = tuple(Figure(chart=_bars(pruning, stack), table=_table(pruning, stack)) for stack in measured)
    note = "Orange bars: layers that were kept; grey bars: those that were left out."
    return Part(
        key="layers",
        title="What the student is made of",
        blocks=(said, Figures(figures=figures, note=note, look="small")),
    )


def _title(stack: KeptLayers) -> str:
    return capital(stack.stack.replace("_", " "))


def _bars(pruning: Pruning, stack: KeptLayers) -> Bars:
    return Bars(
        title=f"{_title(stack)}: {'loss without each' if pruning.loss is not None else 'influence of each'}",
        x_label=stack.stack.removesuffix("s").replace("_", " "),
        y_label="more nats per token" if pruning.loss is not None else "one minus the cosine",
        values=tuple(_worth(pruning, score) for score in stack.scores or ()),
        kept=stack.kept,
    )


def _worth(pruning: Pruning, score: float | None) -> float | None:
    """How much loss a layer saves, or its influence."""
    return score if score is None or pruning.loss is None else score - pruning.loss


def _table(pruning: Pruning, stack: KeptLayers) -> Table:
    rows = []
    for layer, score in enumerate(stack.scores or ()):
        more = _worth(pruning, score)
        numbers = [formats.metric(score)] + ([formats.signed(more)] if pruning.loss is not None else [])
        texts = numbers if score is not None else ["cannot be left out", *numbers[1:]]
        rows.append(Row(label=str(layer), cells=tuple(map(Cell, (*texts, "yes" if layer in stack.kept else "no")))))
    if pruning.loss is None:
        return Table.of(("layer", "influence", "kept"), rows, title=_title(stack), look="narrow")
    note = f"Hard loss in nats per token; the whole teacher's is {formats.metric(pruning.loss)}."
    columns = ("layer", "loss without it", "difference", "kept")
    return Table.of(columns, rows, title=_title(stack), note=note, look="narrow")
