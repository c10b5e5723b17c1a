"""Published numbers beside those of a sweep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.report.numbers.configurations import described
from kdkit.report.numbers.names import metric_name
from kdkit.report.page import formats
from kdkit.report.page.document import Part
from kdkit.report.page.tables import Cell, Row, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.api.values import PublishedRun
    from kdkit.evaluation.row_scores import RowKey
    from kdkit.report.numbers.configurations import Configuration
    from kdkit.report.numbers.reference import Published
    from kdkit.report.numbers.statistics import Statistics


def of_sweep(stats: Statistics, reference: Published | None) -> Part | None:
    """The tables, under who published the numbers; None where nothing is named or it says nothing of these trials."""
    found = [] if reference is None else tables(stats, reference)
    if reference is None or not found:
        return None
    return Part(key="published", title="Beside published values", blocks=(f"Source: {reference.source}.", *found))


def tables(stats: Statistics, published: Published) -> list[Table]:
    """Our scores beside the published ones and the difference, then what was published and not run here."""
    matched = [(each, run) for each in stats.configurations if (run := published.of(each)) is not None]
    found = []
    told = {place for run in published.runs for place in run.scores}
    keys = [key for key in stats.keys if key.model == "student" and (key.against, key.suite, key.metric) in told]
    for against in ("truth", "teacher", "truth and teacher"):
        mine = [key for key in keys if key.against == against]
        if mine and matched:
            rows = tuple(
                Row(label=each.label, note=run.name, cells=tuple(_beside(stats, each, key, published) for key in mine))
                for each, run in matched
            )
            found.append(
                Table.of(
                    ("", *map(metric_name, mine)),
                    rows,
                    title=f"Ours beside the published, against the {against}",
                    note="Ours, in small print the published value and ours minus it. No interval was published.",
                )
            )
    if any(run.numbers for run in published.runs):
        found.append(_numbers(published.runs))
    rest = [run for run in published.runs if not any(run is other for _, other in matched)]
    if rest:
        found.append(_not_here(rest))
    return found


def _beside(stats: Statistics, configuration: Configuration, key: RowKey, published: Published) -> Cell:
    measure, told = stats.measure(configuration, key), published.score(configuration, key)
    ours = formats.NONE if measure is None else formats.metric(measure.value)
    if told is None or measure is None:
        return Cell(ours, "" if told is None else f"published {formats.metric(told)}")
    return Cell(ours, f"{formats.metric(told)}, {formats.signed(measure.value - told)}")


def _numbers(runs: Sequence[PublishedRun]) -> Table:
    names = list(dict.fromkeys(name for run in runs for name in run.numbers))
    rows = tuple(
        Row(
            label=described(run.values),
            cells=tuple(Cell(f"{run.numbers[name]:,.6g}" if name in run.numbers else formats.NONE) for name in names),
        )
        for run in runs
    )
    return Table.of(("", *names), rows, title="Published sizes and times", folded=True)


def _not_here(runs: Sequence[PublishedRun]) -> Table:
    places = list(dict.fromkeys(place for run in runs for place in run.scores))
    rows = (
        Row(
            label=described(run.values),
            note=run.name,
            cells=tuple(Cell(formats.metric(run.scores.get(place))) for place in places),
        )
        for run in runs
    )
    columns = ("", *(f"{metric.replace('_', ' ')}, {against}" for against, _, metric in places))
    return Table.of(columns, rows, title="Published, and not among these trials", folded=True)
