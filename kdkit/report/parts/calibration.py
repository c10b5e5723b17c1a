"""Whether tokens that a model gives a probability of 0.8 are right 8 times in 10: the diagram, and its table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.report.numbers import pairs
from kdkit.report.page import formats
from kdkit.report.parts.scores import Cell, Group, Row, Table

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kdkit.evaluation.record import Bin
    from kdkit.report.read.run import Facts

DRAWN = ("teacher", "student", pairs.LABELS_ONLY)


@attrs.frozen(kw_only=True)
class Reliability:
    """Of each model that is drawn, its bins."""

    title: str
    models: Mapping[str, tuple[Bin, ...]]


def diagram(facts: Facts) -> Reliability | None:
    """The diagram of teacher, student and the student without a teacher; None where no bin of these is known."""
    models = {model: facts.calibration[model] for model in DRAWN if facts.calibration.get(model)}
    return Reliability(title="Calibration of tokens", models=models) if models else None


def table(facts: Facts) -> Table | None:
    """The numbers behind it, of every model."""
    groups = tuple(
        Group(title=pairs.MODELS[model][:1].upper() + pairs.MODELS[model][1:], rows=tuple(map(_row, bins)))
        for model in pairs.MODELS
        if (bins := facts.calibration.get(model))
    )
    if not groups:
        return None
    columns = ("probability", "tokens", "mean probability", "share right")
    return Table(title="The numbers behind the calibration", columns=columns, groups=groups, folded=True)


def _row(each: Bin) -> Row:
    cells = (formats.count(each.count), formats.metric(each.confidence), formats.metric(each.accuracy))
    return Row(label=formats.interval(each.low, each.high, 2), cells=tuple(map(Cell, cells)))
