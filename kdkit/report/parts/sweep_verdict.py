"""What a sweep found: a sentence, and the rows that it stands on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.report.numbers.axes import numeric_axes, value_on
from kdkit.report.numbers.names import LABELS_ONLY, capital, metric_name
from kdkit.report.numbers.statistics import Unpaired, is_labels_only, within_noise
from kdkit.report.numbers.versus_best import UNKNOWN, of_fewer, others, summed_up
from kdkit.report.numbers.versus_labels import against_labels
from kdkit.report.page import formats
from kdkit.report.page.charts.svg import PICTURE
from kdkit.report.page.document import Figures, Verdict
from kdkit.report.page.dotplot import Dot, DotPlot
from kdkit.report.parts import along
from kdkit.report.parts.gains import SIDES, dot_of
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.api.values import Difference
    from kdkit.evaluation.row_scores import RowKey
    from kdkit.report.numbers.selection import Selection
    from kdkit.report.numbers.statistics import Statistics
    from kdkit.report.page.document import Block

LEAST_PLACES = 3
"""So many places of an axis make a finding along it."""


def of_sweep(stats: Statistics, selection: Selection, key: RowKey | None, split: str) -> Verdict:
    """What came of it in the score that the report is about, and how it was chosen."""
    best = selection.best
    measure = None if best is None or key is None else stats.measure(best, key)
    if best is None or key is None or measure is None:
        return Verdict("No trial of this sweep is scored yet.")
    name = metric_name(key)
    axis = axis_of_finding(stats, key)
    if axis is not None:
        return Verdict(_along(stats, axis, key), f"{capital(name)} on {_over(measure.count, measure.seeds, split)}.")
    versus = against_labels(stats, best, key)
    beside = others(stats, best, key)
    chosen = selection.by if selection.key is None else f"its {metric_name(selection.key)}"
    whence = "the same rows" if split == "validation" else f"{_over(measure.count, measure.seeds, split)}"
    told = f"Chosen by {chosen} on the validation rows, reported on {whence}."
    also = [summed_up(beside, split), of_fewer(beside, split)]
    if all(each.kind == UNKNOWN for each in beside):
        also = []
    label = best.label
    if is_labels_only(best):
        sentence = f"Nothing beat labels only: by {name}, {label} was the best on the validation rows."
    elif isinstance(versus, Unpaired):
        sentence = (
            f"The best on the validation rows is {label}, with {name} {formats.metric(measure.value)} on {split}. "
            "There is no student of labels only to compare it with."
        )
    elif within_noise(versus):
        sentence = (
            f"Distillation is not shown to help: in {name}, {label}, the best on the validation rows, is within noise "
            "of labels only."
        )
    elif versus.verdict == "worse":
        sentence = (
            f"Distillation did not help: in {name}, even {label}, the best on the validation rows, is {_apart(versus)} "
            "worse than labels only."
        )
    else:
        sentence = f"Distillation helps: with {label}, {name} is {_apart(versus)} better than with labels only."
    return Verdict(sentence, " ".join(dict.fromkeys(filter(None, [told, *also]))))


def opening(stats: Statistics, selection: Selection, key: RowKey | None, split: str) -> tuple[Block, ...]:
    """The chosen configuration, labels only and their difference; along one axis, the curve of the difference."""
    best = selection.best
    if best is None or key is None:
        return ()
    axis = axis_of_finding(stats, key)
    curve = None if axis is None else along.gain(stats, axis, (key,), width=PICTURE)
    if curve is not None:
        return (Figures(figures=(curve,), look="wide"),)
    ours, labels, versus = stats.measure(best, key), stats.labels_only(best, key), against_labels(stats, best, key)
    if ours is None or labels is None or isinstance(versus, Unpaired):
        return ()
    lower = ", lower is better" if stats.direction(key).sense < 0 else ""
    sides = SIDES[::-1] if lower else SIDES
    rows = (
        Dot(label=best.label, note="chosen", at=ours, tone="student"),
        Dot(label="labels only", at=labels, tone=LABELS_ONLY),
    )
    return (
        DotPlot.of(f"{capital(metric_name(key))} on {split}{lower}", *rows),
        DotPlot.of(
            "chosen minus labels only",
            dot_of(versus, "difference", "row by row"),
            sides=sides[::-1] if lower else sides,
        ),
    )


def axis_of_finding(stats: Statistics, key: RowKey) -> str | None:
    """The one axis of a sweep along which labels only changes as well: then the finding is where the teacher helps."""
    axes = numeric_axes(stats.configurations)
    if len(axes) != 1 or stats.is_common(key._replace(model=LABELS_ONLY)):
        return None
    places = {
        value
        for each in stats.configurations
        if (value := value_on(each, axes[0])) is not None and not isinstance(against_labels(stats, each, key), Unpaired)
    }
    return axes[0] if len(places) == len(stats.configurations) >= LEAST_PLACES else None


def _along(stats: Statistics, axis: str, key: RowKey) -> str:
    placed = [(value_on(each, axis) or 0.0, against_labels(stats, each, key)) for each in stats.configurations]
    return told_along(sorted(placed, key=lambda pair: pair[0]), metric_name(key), along.spoken(axis))


def told_along(placed: Sequence[tuple[float, Difference | Unpaired]], name: str, axis: str) -> str:
    """At which places of an axis the distilled student is better, at which it is worse, and at which none is shown."""
    kinds = [(place, "within noise" if isinstance(found, Unpaired) else found.verdict) for place, found in placed]
    places = [place for place, _ in kinds]
    found = {
        kind: _range([place for place, told in kinds if told == kind], places)
        for kind in ("better", "worse", "within noise")
    }
    if not found["better"]:
        first = f"Distillation does not beat labels only in {name} at any value of {axis}"
        return f"{first}, and is worse {found['worse']}." if found["worse"] else f"{first}."
    told = [f"Distillation beats labels only in {name} with {axis} {found['better']}"]
    told += [f"it is worse {found['worse']}"] if found["worse"] else []
    told += [f"{found['within noise']} the two cannot be told apart"] if found["within noise"] else []
    return f"{'; '.join(told)}."


def _range(places: Sequence[float], of: Sequence[float]) -> str:
    """Places in words: `from 500 to 2,000` where they are neighbours, `at 500 and 5,000` where not."""
    told = list(map(formats.tick, places))
    if len(told) > 2 and list(of[of.index(places[0]) :][: len(places)]) == list(places):
        return f"from {told[0]} to {told[-1]}"
    return f"at {' and '.join(filter(None, [', '.join(told[:-1]), told[-1]]))}" if told else ""


def _apart(versus: Difference) -> str:
    return formats.metric(abs(versus.value))


def _over(rows: int, seeds: int, split: str) -> str:
    told = f"{plural(rows, f'{split} row')}"
    return f"{told}, {plural(seeds, 'seed')}" if seeds > 1 else f"{told}, one seed"
