"""How the others of a comparison differ from the first: in a sentence, and drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.report.numbers.names import capital, group_name, metric_name
from kdkit.report.numbers.selection import headline
from kdkit.report.numbers.statistics import Unpaired
from kdkit.report.page import formats
from kdkit.report.page.document import Choice, Verdict
from kdkit.report.page.dotplot import Dot, DotGroup, DotPlot
from kdkit.report.parts.cells import seeds_note
from kdkit.report.parts.drawn import chosen, headline_first, tabs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.api.values import Difference
    from kdkit.evaluation.row_scores import RowKey
    from kdkit.report.numbers.configurations import Configuration
    from kdkit.report.numbers.statistics import Statistics
    from kdkit.report.page.document import Block

MOST_NAMED = 2
"""So many others are named one by one; more are counted."""


def of_comparison(stats: Statistics) -> Verdict:
    """How the others differ from the first in the headline metric."""
    first, *others = stats.configurations
    key = headline(stats)
    if key is None:
        return Verdict("These runs have no score of a student.")
    measure = stats.measure(first, key)
    if not others or measure is None:
        return Verdict(f"There is one configuration, {first.label}: nothing to compare it with.")
    told = [(each, stats.difference(each, first, key)) for each in others]
    name = metric_name(key)
    sentence = _named(told, first, name) if len(told) <= MOST_NAMED else _counted(told, first, name)
    return Verdict(
        sentence,
        f"{first.label} has {name} {formats.metric(measure.value)}. Within noise: the 95 % interval of the difference, "
        "paired by row and seed, holds 0.",
    )


def opening(stats: Statistics) -> tuple[Block, ...]:
    """Every other configuration minus the first, in the metric that the reader picks."""
    first, *others = stats.configurations
    groups = headline_first(chosen(stats), headline(stats))
    drawn = [(group, plot) for group in groups if (plot := _plot(stats, first, others, group)) is not None]
    names = tabs([group for group, _ in drawn])
    options = tuple((name, (plot,)) for name, (_, plot) in zip(names, drawn, strict=True))
    return (Choice(label="Metric", options=options),) if options else ()


def _plot(
    stats: Statistics, first: Configuration, others: Sequence[Configuration], group: Sequence[RowKey]
) -> DotPlot | None:
    sense = stats.direction(group[0]).sense
    told = [(each, stats.difference(each, first, group[0])) for each in others]
    dots = tuple(
        Dot(label=each.label, note=seeds_note(each), at=found, tone=found.verdict)
        for each, found in told
        if not isinstance(found, Unpaired) and found.verdict
    )
    if not dots:
        return None
    sides = ("the first is better", "the other is better")
    return DotPlot(
        title=f"{group_name(group)}{', lower is better' if sense < 0 else ''}",
        groups=(DotGroup(title=f"Minus {first.label}", dots=dots),),
        sides=sides if sense > 0 else sides[::-1],
    )


def _named(told: Sequence[tuple[Configuration, Difference | Unpaired]], first: Configuration, name: str) -> str:
    said = []
    for each, found in told:
        if isinstance(found, Unpaired):
            said.append(f"{each.label} cannot be compared row by row with {first.label}")
        elif found.holds_zero:
            said.append(f"{each.label} is within noise of {first.label} in {name} ({formats.signed(found.value)})")
        else:
            side = found.verdict or ("higher" if found.value > 0 else "lower")
            apart = formats.metric(abs(found.value))
            said.append(f"with {each.label}, {name} is {apart} {side} than with {first.label}")
    return f"{capital('; '.join(said))}."


def _counted(told: Sequence[tuple[Configuration, Difference | Unpaired]], first: Configuration, name: str) -> str:
    kinds = ["cannot be compared" if isinstance(found, Unpaired) else found.verdict or "another" for _, found in told]
    said = {
        "better": "better",
        "worse": "worse",
        "another": "higher or lower",
        "within noise": "within noise of it",
        "cannot be compared": "not comparable row by row",
    }
    parts = [
        f"{count} {'is' if count == 1 else 'are'} {text}" for kind, text in said.items() if (count := kinds.count(kind))
    ]
    listed = " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))
    return f"Of {len(told)} configurations beside {first.label}, {listed} in {name}."
