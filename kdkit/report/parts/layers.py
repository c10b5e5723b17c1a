"""Which of the teacher's layers the student is made of, what was measured of them, and what pruning leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdkit.api.values import Pruning, layers_in_words
from kdkit.report.numbers.names import LABELS_ONLY, LOSS, MODELS, capital, metric_label
from kdkit.report.page import formats
from kdkit.report.page.charts.bars import Bars
from kdkit.report.page.document import Figure, Figures, Part
from kdkit.report.page.tables import Cell, Row, Table
from kdkit.report.read.files import as_table
from kdkit.runs.facts_table import from_table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kdkit.api.values import KeptLayers, Score
    from kdkit.report.page.document import Block
    from kdkit.report.read.run import RunFacts


LEFT = (("truth", "loss", "hard"), ("truth", "tokens", "bits_per_byte"), ("teacher", "tokens", "agreement"))
"""The scores of the untouched student that are shown: against what, the suite and the metric."""
COMPARED = ("teacher", "untouched", LABELS_ONLY, "student")


def of_run(facts: RunFacts) -> Part | None:
    """The layers that were kept, what each is worth, and what that leaves; None of a student that has none of them."""
    given = as_table(facts.table("student").get("from_teacher"))
    if not given:
        return None
    told = as_table(facts.stage("teacher").get("pruning"))
    pruning = from_table(Pruning, told, where=f"{facts.folder}/run.json") if told else None
    of = _given(given) if pruning is None else pruning.in_words()
    blocks: list[Block] = [f"The student is made of the teacher's {of}."] if of else []
    measured = [stack for stack in pruning.layers if stack.scores is not None] if pruning is not None else []
    if pruning is not None and measured:
        figures = tuple(Figure(chart=_bars(pruning, stack), table=_table(pruning, stack)) for stack in measured)
        note = "Orange bars: layers that were kept; grey bars: those that were left out."
        blocks.append(Figures(figures=figures, note=note, look="small"))
    left = _left(facts)
    blocks += [] if left is None else [left]
    return Part(key="layers", title="What the student is made of", blocks=tuple(blocks)) if blocks else None


def _given(given: Mapping[str, Any]) -> str:
    """The layers that a recipe names: "encoder layers 0 and 2, decoder layer 3"."""
    named = {stack: layers for stack, layers in given.items() if isinstance(layers, list) and layers}
    return ", ".join(layers_in_words(stack, layers) for stack, layers in named.items())


def _left(facts: RunFacts) -> Table | None:
    """What pruning alone leaves, beside teacher and student; None where the untouched student was not scored."""
    known = {(each.model, each.against, each.suite, each.metric): each for each in facts.evaluation.scores}
    shown = [key for key in LEFT if ("untouched", *key) in known]
    if not shown:
        return None
    rows = []
    for model in (model for model in COMPARED if any((model, *key) in known for key in shown)):
        scores = [known.get((model, *key)) for key in shown]
        rows.append(Row(label=MODELS[model], cells=tuple(map(_cell, scores))))
    names = ("hard loss" if suite == LOSS else metric_label(suite, metric) for _, suite, metric in shown)
    note = "The untouched student is made of these layers, before any training."
    return Table.of(("", *names), rows, title="What pruning alone leaves", note=note)


def _cell(score: Score | None) -> Cell:
    return Cell(formats.NONE) if score is None else Cell(formats.metric(score.value), formats.interval(score))


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
    if pruning.by == "greedy":
        note += " One layer after another was left out, so that of each is without all that went before it."
    columns = ("layer", "loss without it", "difference", "kept")
    return Table.of(columns, rows, title=_title(stack), note=note, look="narrow")
