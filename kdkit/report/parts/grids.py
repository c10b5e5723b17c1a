"""Two axes of a sweep at once: heat maps."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from kdkit.report.numbers.axes import numbers, numeric_axes, value_on
from kdkit.report.numbers.configurations import short_key
from kdkit.report.numbers.statistics import Unpaired
from kdkit.report.page import formats
from kdkit.report.page.charts.grid import HeatMap
from kdkit.report.page.document import Choice, Figure, Figures, Part
from kdkit.report.page.tables import Row, Table
from kdkit.report.parts.along import spoken
from kdkit.report.parts.cells import score_cell
from kdkit.report.parts.drawn import tabs, titled

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kdkit.evaluation.row_scores import RowKey
    from kdkit.report.numbers.configurations import Configuration
    from kdkit.report.numbers.statistics import Statistics


def of_sweep(stats: Statistics, groups: Sequence[Sequence[RowKey]]) -> Part | None:
    """The heat maps of scores; None where no axes cross."""
    options = []
    for name, group in zip(tabs(groups), groups, strict=True):
        found = figures(stats, group)
        if found:
            options.append((name, (Figures(figures=tuple(found)),)))
    told = (
        "The framed value is the best. All that is within noise of it has its colour; the others are the paler the "
        "worse they are. Means over seeds; the intervals are in the table under each."
    )
    if not options:
        return None
    return Part(key="grids", title="Two axes at once", blocks=(told, Choice(label="Metric", options=tuple(options))))


def figures(stats: Statistics, group: Sequence[RowKey]) -> list[Figure]:
    """A heat map for each two numeric axes that cross: where most of their pairs of values have a trial."""
    key = group[0]
    every = list(dict.fromkeys(name for each in stats.configurations for name in each.values))
    found = []
    for across, down in combinations(numeric_axes(stats.configurations), 2):
        columns, rows = numbers(stats.configurations, across), numbers(stats.configurations, down)
        cells: dict[tuple[float, float], Configuration] = {}
        placed = 0
        for each in stats.configurations:
            x, y = value_on(each, across), value_on(each, down)
            if x is not None and y is not None and stats.measure(each, key) is not None:
                cells[x, y] = each
                placed += 1
        if not cells or len(cells) < 0.6 * len(columns) * len(rows) or placed > len(cells):
            continue
        measures = {place: stats.measure(each, key) for place, each in cells.items()}
        known = {place: measure.value for place, measure in measures.items() if measure is not None}
        best = max(known, key=lambda place: known[place] * (stats.direction(key).sense or 1))
        as_good = _as_good(stats, cells, best, key)
        found.append(
            Figure(
                chart=HeatMap(
                    title=titled(stats, group),
                    x_label=spoken(across),
                    y_label=spoken(down),
                    columns=tuple(map(formats.tick, columns)),
                    rows=tuple(map(formats.tick, rows)),
                    values=tuple(tuple(known.get((x, y)) for x in columns) for y in rows),
                    best=(rows.index(best[1]), columns.index(best[0])),
                    as_good=tuple(tuple((x, y) in as_good for x in columns) for y in rows),
                ),
                table=Table.of(
                    (short_key(down, every), *(f"{short_key(across, every)} {formats.tick(x)}" for x in columns)),
                    [
                        Row(label=formats.tick(y), cells=tuple(score_cell(measures.get((x, y))) for x in columns))
                        for y in rows
                    ],
                ),
            )
        )
    return found


def _as_good(
    stats: Statistics, cells: Mapping[tuple[float, float], Configuration], best: tuple[float, float], key: RowKey
) -> set[tuple[float, float]]:
    """The places that are within noise of the best; where no rows tell, those whose values lie in its interval."""
    top = stats.measure(cells[best], key)
    found = {best}
    for place, each in cells.items():
        measure = stats.measure(each, key)
        if measure is None or top is None or place == best:
            continue
        apart = stats.difference(each, cells[best], key)
        if top.low <= measure.value <= top.high if isinstance(apart, Unpaired) else apart.holds_zero:
            found.add(place)
    return found
