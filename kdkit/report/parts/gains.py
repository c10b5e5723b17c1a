"""What the teacher is worth: every configuration beside the same student of labels only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.api.values import Interval
from kdkit.report.numbers.names import group_name, suites_of
from kdkit.report.numbers.statistics import Unpaired, is_labels_only
from kdkit.report.numbers.versus_labels import against_labels
from kdkit.report.page.document import Choice, Part
from kdkit.report.page.dotplot import Dot, DotGroup, DotPlot
from kdkit.report.page.tables import Row, Table
from kdkit.report.parts.cells import apart, seeds_note
from kdkit.report.parts.drawn import headline_first, tabs
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.api.values import Difference
    from kdkit.evaluation.row_scores import RowKey
    from kdkit.report.numbers.configurations import Configuration
    from kdkit.report.numbers.statistics import Statistics

OF_TEACHER = frozenset({"soft", "total"})
"""Losses that are not a score: they change with what the teacher says and how it is weighed."""
SIDES = ("labels only is better", "distilled is better")
"""What lies left and right of 0 where more of a metric is better."""
MOST_DRAWN = 30
"""So many configurations are drawn; the others are in the table."""


def of_sweep(stats: Statistics, key: RowKey | None) -> Part | None:
    """A row for each configuration that learns from the teacher: its scores minus those of labels only."""
    keys = [
        each
        for each in stats.of_student()
        if (each.against == "truth" or each.suite in {"texts", "tokens"})
        and not (each.suite == "loss" and each.metric in OF_TEACHER)
    ]
    groups = headline_first(stats.folded(keys), key)
    plots = [(group, plot) for group in groups if (plot := forest(stats, group)) is not None]
    found = _table(stats, groups)
    if found is None:
        return None
    told = (
        "Each configuration minus the same student of labels only, on the same seeds and rows. Lines are 95 % "
        "intervals over rows and seeds. A hollow dot is within noise: its interval holds 0."
    )
    names = tabs([group for group, _ in plots])
    choice = Choice(
        label="Metric", options=tuple((name, (plot,)) for name, (_, plot) in zip(names, plots, strict=True))
    )
    blocks = (told, choice, found) if plots else (found,)
    return Part(key="gains", title="Every configuration against labels only", blocks=blocks)


def forest(stats: Statistics, group: Sequence[RowKey]) -> DotPlot | None:
    """The differences from labels only in a metric, the best first; None where neither more nor less is better."""
    key = group[0]
    sense = stats.direction(key).sense
    if not sense:
        return None
    learning = [each for each in stats.configurations if not is_labels_only(each)]
    told = [(each, found) for each in learning if isinstance(found := against_labels(stats, each, key), Interval)]
    if not told:
        return None
    if stats.is_common(key._replace(model="labels-only")):
        told.sort(key=lambda pair: -sense * pair[1].value)
    most = max(len(each.runs) for each, _ in told)
    full = [pair for pair in told if len(pair[0].runs) == most]
    fewer = [pair for pair in told if len(pair[0].runs) < most]
    shown = full[:MOST_DRAWN], fewer[: max(0, MOST_DRAWN - len(full))]
    left = len(told) - sum(map(len, shown))
    groups = [DotGroup(title=plural(most, "seed") if fewer else "", dots=_dots(shown[0], note=False))]
    if shown[1]:
        groups.append(
            DotGroup(title="Fewer seeds: of one, the interval is over rows alone", dots=_dots(shown[1], note=True))
        )
    return DotPlot(
        title=f"{group_name(group)}{', lower is better' if sense < 0 else ''}",
        groups=tuple(groups),
        sides=SIDES if sense > 0 else SIDES[::-1],
        note=f"{left} more are in the table." if left else "",
    )


def dot_of(found: Difference, label: str, note: str = "") -> Dot:
    """A difference from labels only, in the tone of what it amounts to."""
    return Dot(label=label, note=note, at=found, tone=found.verdict or "within noise")


def _dots(told: Sequence[tuple[Configuration, Difference]], *, note: bool) -> tuple[Dot, ...]:
    return tuple(dot_of(found, each.label, seeds_note(each) if note else "") for each, found in told)


def _table(stats: Statistics, groups: Sequence[Sequence[RowKey]]) -> Table | None:
    rows = []
    for each in stats.configurations:
        found = [] if is_labels_only(each) else [against_labels(stats, each, group[0]) for group in groups]
        if not all(isinstance(one, Unpaired) for one in found):
            rows.append(Row(label=each.label, note=seeds_note(each), cells=tuple(map(apart, found))))
    if not rows:
        return None
    return Table.of(
        ("", *(f"{group_name(group)} ({suites_of(group)})" for group in groups)),
        rows,
        title="Minus labels only, in every metric",
        note="In small print 95 % intervals over rows and seeds, and of one seed over rows alone. With so many "
        "differences some are outside of noise by chance: one in twenty where there is nothing.",
        folded=True,
    )
