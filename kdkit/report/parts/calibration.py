"""Whether tokens that a model gives a probability of 0.8 are right 8 times in 10: the diagram, and its table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.report.numbers.names import MODELS, capital
from kdkit.report.page import formats
from kdkit.report.page.charts.reliability import Reliability
from kdkit.report.page.charts.svg import MARKS
from kdkit.report.page.document import Figure, Figures
from kdkit.report.page.tables import Cell, Group, Row, Table

if TYPE_CHECKING:
    from kdkit.evaluation.record import Bin
    from kdkit.report.read.run import RunFacts

HOW_TO_READ = (
    "A token that a model gives a probability of 0.8 should be right 8 times in 10: then a dot lies on the dashed "
    "line. Below it a model is too sure of itself. Under teacher forcing, over all label tokens."
)


def blocks(facts: RunFacts) -> list[Figures | Table]:
    """The diagram of teacher, student and the student without a teacher, and the numbers of every model."""
    bins = {model: facts.calibration[model] for model in MODELS if facts.calibration.get(model)}
    found: list[Figures | Table] = []
    drawn = {model: tuple((each.confidence, each.accuracy) for each in bins[model]) for model in MARKS if model in bins}
    if drawn:
        figure = Figure(chart=Reliability(title="Calibration of tokens", models=drawn))
        legend = tuple((model, MODELS[model]) for model in drawn)
        found.append(Figures(title="Calibration", note=HOW_TO_READ, legend=legend, figures=(figure,)))
    if bins:
        columns = ("probability", "tokens", "mean probability", "share right")
        groups = tuple(Group(title=capital(MODELS[model]), rows=tuple(map(_row, each))) for model, each in bins.items())
        found.append(Table(title="The numbers behind the calibration", columns=columns, groups=groups, folded=True))
    return found


def _row(each: Bin) -> Row:
    cells = (formats.count(each.count), formats.metric(each.confidence), formats.metric(each.accuracy))
    label = formats.span(each.low, each.high, lambda end: formats.metric(end, 2))
    return Row(label=label, cells=tuple(map(Cell, cells)))
