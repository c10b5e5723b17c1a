"""Published numbers beside those of a sweep: a recipe's `[reference]`, matched by the values of its axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit import plugins
from kdkit.errors import PluginError
from kdkit.plugins.structure import Structurer
from kdkit.report.page import formats
from kdkit.report.parts.configurations import metric_name
from kdkit.report.parts.scores import Cell, Group, Row, Table
from kdkit.report.read.scored import described, flat, same_value

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kdkit.api.values import PublishedRun
    from kdkit.evaluation.row_scores import RowKey
    from kdkit.report.numbers.statistics import Statistics
    from kdkit.report.read.scored import Configuration


@attrs.frozen(kw_only=True, eq=False)
class Published:
    """Published runs.

    Attributes:
        source: Who published them, where and when.
        runs: The runs.
    """

    source: str
    runs: tuple[PublishedRun, ...]

    def of(self, configuration: Configuration) -> PublishedRun | None:
        """The published run that is set up as a configuration: each of its values is the configuration's."""
        for run in self.runs:
            if all(same_value(value, _setting(configuration, key)) for key, value in run.values.items()):
                return run
        return None

    def score(self, configuration: Configuration, key: RowKey) -> float | None:
        """The published value of a student's score."""
        run = self.of(configuration)
        return None if run is None or key.model != "student" else run.scores.get((key.against, key.suite, key.metric))


def load(reference: Mapping[str, Any] | None) -> Published | None:
    """What a resolved `[reference]` table names; None where there is none.

    Raises:
        PluginError: It cannot be had: its plugin is not installed, or of another version.
    """
    if reference is None:
        return None
    structurer = Structurer(plugins.load())
    _, component = structurer.component("references", reference, ("reference",))
    if structurer.problems:
        raise PluginError("; ".join(sentence for _, sentence in structurer.problems))
    return Published(source=component.source, runs=tuple(component.runs()))


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
                Table(
                    title=f"Ours beside the published, against the {against}",
                    note="Ours, in small print the published value and ours minus it. No interval was published.",
                    columns=("", *(metric_name(key) for key in mine)),
                    groups=(Group(rows=rows),),
                )
            )
    if any(run.numbers for run in published.runs):
        found.append(_numbers(published.runs))
    rest = [run for run in published.runs if not any(run is other for _, other in matched)]
    if rest:
        found.append(_not_here(rest))
    return found


def _setting(configuration: Configuration, key: str) -> object:
    """A key of a configuration's recipe: of its own values, else what its runs have."""
    values = flat(dict(configuration.values))
    if key in values:
        return values[key]
    return configuration.runs[0].recipe.get(key) if configuration.runs else None


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
    return Table(title="Published sizes and times", columns=("", *names), groups=(Group(rows=rows),), folded=True)


def _not_here(runs: Sequence[PublishedRun]) -> Table:
    places = list(dict.fromkeys(place for run in runs for place in run.scores))
    return Table(
        title="Published, and not among these trials",
        columns=("", *(f"{metric.replace('_', ' ')}, {against}" for against, _, metric in places)),
        groups=(
            Group(
                rows=tuple(
                    Row(
                        label=described(run.values),
                        note=run.name,
                        cells=tuple(Cell(formats.metric(run.scores.get(place))) for place in places),
                    )
                    for run in runs
                )
            ),
        ),
        folded=True,
    )
