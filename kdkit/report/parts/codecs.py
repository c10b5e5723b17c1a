"""What a codec costs and keeps: quality by what a token of the logit cache takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.report.numbers.axes import bytes_per_token
from kdkit.report.numbers.configurations import labels_apart
from kdkit.report.numbers.names import metric_name
from kdkit.report.page import formats
from kdkit.report.page.charts.lines import Line, LineChart, Point
from kdkit.report.page.document import Figure, Figures, Part
from kdkit.report.page.tables import Cell, Row, Table
from kdkit.report.parts.cells import score_cell
from kdkit.report.parts.drawn import levels, titled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.evaluation.row_scores import RowKey
    from kdkit.report.numbers.statistics import Statistics


def of_sweep(stats: Statistics, groups: Sequence[tuple[RowKey, ...]]) -> Part | None:
    """A figure for each metric; None where trials do not differ in their codec."""
    drawn = figures(stats, groups)
    if not drawn:
        return None
    told = "What a token of the logit cache takes on disk, and what the student that learnt from it is worth."
    blocks = (told, Figures(figures=tuple(drawn)))
    return Part(key="codecs", title="What the codec costs and keeps", blocks=blocks)


def figures(stats: Statistics, groups: Sequence[tuple[RowKey, ...]]) -> list[Figure]:
    """Quality by what a token of the logit cache takes, where trials differ in their codec."""
    sized = [(size, each) for each in stats.configurations if (size := bytes_per_token(each)) is not None]
    axes = {axis for each in stats.configurations for axis in each.values if axis.split(".")[0] == "codec"}
    if not axes or len({size for size, _ in sized}) < 2:
        return []
    sized.sort(key=lambda pair: pair[0])
    found = []
    apart = labels_apart([each.values for _, each in sized])
    labels = {id(each): label for (_, each), label in zip(sized, apart, strict=True)}
    for group in groups:
        key = group[0]
        measured = [(size, each, measure) for size, each in sized if (measure := stats.measure(each, key)) is not None]
        if len(measured) < 2:
            continue
        seen_against = levels(stats, key)
        rows = [Row(label=each.label, cells=(_size(size), score_cell(measure))) for size, each, measure in measured]
        rows += [Row(label=level.label, cells=(Cell(formats.NONE), score_cell(level.at))) for level in seen_against]
        lines = (Line(label=labels[id(each)], points=(Point(x=size, at=at),)) for size, each, at in measured)
        found.append(
            Figure(
                chart=LineChart(
                    title=f"{titled(stats, group)}, by bytes a token",
                    x_label="bytes a token of the logit cache",
                    y_label=metric_name(key) if len(group) == 1 else "score",
                    lines=tuple(lines),
                    levels=seen_against,
                ),
                table=Table.of(("", "bytes a token", metric_name(key)), rows),
            )
        )
    return found


def _size(size: float) -> Cell:
    return Cell(f"{size:,.1f}")
