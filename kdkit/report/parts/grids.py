"""Two axes of a sweep at once: heat maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.report.numbers.axes import numbers, numeric_axes, value_on
from kdkit.report.numbers.configurations import short_key
from kdkit.report.page import formats
from kdkit.report.page.charts.grid import HeatMap
from kdkit.report.page.document import Figure, Figures, Part
from kdkit.report.page.tables import Row, Table
from kdkit.report.parts.cells import score_cell
from kdkit.report.parts.drawn import titled

if TYPE_CHECKING:
    from kdkit.evaluation.row_scores import RowKey
    from kdkit.report.numbers.statistics import Measure, Statistics


def of_sweep(stats: Statistics, key: RowKey | None) -> Part | None:
    """The heat maps of a score; None where no axes cross."""
    found = [] if key is None else figures(stats, key)
    told = "Brighter is better. Means over seeds; the intervals are in the table under each."
    return Part(key="grids", title="Two axes at once", blocks=(told, Figures(figures=tuple(found)))) if found else None


def figures(stats: Statistics, key: RowKey) -> list[Figure]:
    """A heat map for each two numeric axes that cross: where most of their pairs of values have a trial."""
    axes = numeric_axes(stats.configurations)
    every = list(dict.fromkeys(name for each in stats.configurations for name in each.values))
    found = []
    for index, across in enumerate(axes):
        for down in axes[index + 1 :]:
            columns, rows = numbers(stats.configurations, across), numbers(stats.configurations, down)
            cells: dict[tuple[float, float], Measure] = {}
            placed = 0
            for each in stats.configurations:
                x, y, measure = value_on(each, across), value_on(each, down), stats.measure(each, key)
                if x is not None and y is not None and measure is not None:
                    cells[x, y] = measure
                    placed += 1
            if len(cells) < 0.6 * len(columns) * len(rows) or placed > len(cells):
                continue
            values = tuple(tuple(cells[x, y].value if (x, y) in cells else None for x in columns) for y in rows)
            found.append(
                Figure(
                    chart=HeatMap(
                        title=f"{titled(stats, (key,))}, against the truth",
                        x_label=across,
                        y_label=down,
                        columns=tuple(map(formats.tick, columns)),
                        rows=tuple(map(formats.tick, rows)),
                        values=values,
                        lower_is_better=stats.direction(key).sense < 0,
                    ),
                    table=Table.of(
                        (short_key(down, every), *(f"{short_key(across, every)} {formats.tick(x)}" for x in columns)),
                        [
                            Row(label=formats.tick(y), cells=tuple(score_cell(cells.get((x, y))) for x in columns))
                            for y in rows
                        ],
                    ),
                )
            )
    return found
