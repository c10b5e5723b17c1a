"""What a codec costs and keeps: quality by the bytes that a token takes in the logit cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.report.numbers.axes import bytes_per_token
from kdkit.report.numbers.configurations import labels_apart
from kdkit.report.numbers.names import metric_name
from kdkit.report.page import formats
from kdkit.report.page.charts.sizes import SizeChart, Sized
from kdkit.report.page.document import Choice, Figure, Figures, Part
from kdkit.report.page.tables import Cell, Row, Table
from kdkit.report.parts.cells import score_cell
from kdkit.report.parts.drawn import levels, tabs, titled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.evaluation.row_scores import RowKey
    from kdkit.report.numbers.statistics import Statistics


def of_sweep(stats: Statistics, groups: Sequence[Sequence[RowKey]]) -> Part | None:
    """A figure for each metric; None where trials do not differ in their codec."""
    drawn = [(name, figure(stats, group)) for name, group in zip(tabs(groups), groups, strict=True)]
    options = tuple((name, (Figures(figures=(found,)),)) for name, found in drawn if found is not None)
    if not options:
        return None
    told = (
        "What the student that learnt from a codec is worth, by the bytes that one token takes in the logit cache. "
        "Lines are 95 % intervals over rows and seeds."
    )
    return Part(
        key="codecs", title="What the codec costs and keeps", blocks=(told, Choice(label="Metric", options=options))
    )


def figure(stats: Statistics, group: Sequence[RowKey]) -> Figure | None:
    """A metric by the bytes that a token takes in the logit cache, where trials differ in their codec."""
    sized = [(size, each) for each in stats.configurations if (size := bytes_per_token(each)) is not None]
    axes = {axis for each in stats.configurations for axis in each.values if axis.split(".")[0] == "codec"}
    if not axes or len({size for size, _ in sized}) < 2:
        return None
    sized.sort(key=lambda pair: pair[0])
    apart = labels_apart([each.values for _, each in sized])
    labels = {id(each): label.removeprefix("codec ") for (_, each), label in zip(sized, apart, strict=True)}
    key = group[0]
    measured = [(size, each, measure) for size, each in sized if (measure := stats.measure(each, key)) is not None]
    if len(measured) < 2:
        return None
    seen_against = levels(stats, key)
    rows = [Row(label=labels[id(each)], cells=(_size(size), score_cell(measure))) for size, each, measure in measured]
    rows += [Row(label=level.label, cells=(Cell(formats.NONE), score_cell(level.at))) for level in seen_against]
    return Figure(
        chart=SizeChart(
            title=titled(stats, group),
            x_label=metric_name(key) if len(group) == 1 else "score",
            size_label="bytes per token",
            points=tuple(Sized(label=labels[id(each)], size=size, at=at) for size, each, at in measured),
            levels=seen_against,
        ),
        table=Table.of(("", "bytes per token", metric_name(key)), rows),
    )


def _size(size: float) -> Cell:
    return Cell(formats.count(size) if size >= 100 else f"{size:.1f}")
