"""What a sweep found: the best configuration beside labels only and the next best, and the best by each metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.report.numbers.selection import by_score, headline
from kdkit.report.numbers.statistics import Unpaired, is_labels_only, within_noise
from kdkit.report.numbers.versus_best import BETTER, NOISE, UNKNOWN, WORSE, named, of_fewer, of_kind, others, summed_up
from kdkit.report.numbers.versus_labels import against_labels
from kdkit.report.page import formats
from kdkit.report.page.document import Part
from kdkit.report.parts.configurations import apart, cell, group_name, metric_name, suites_of
from kdkit.report.parts.scores import Cell, Group, Row, Table
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.api.values import Difference
    from kdkit.evaluation.row_scores import RowKey
    from kdkit.report.numbers.selection import Selection
    from kdkit.report.numbers.statistics import Statistics
    from kdkit.report.numbers.versus_best import Judged

MOST_NAMED = 2
"""So many configurations that are no better are named one by one; more are counted."""


@attrs.frozen(kw_only=True)
class Finding:
    """The sentence that a sweep comes to, and the numbers it stands on."""

    sentence: str
    detail: str


def finding(stats: Statistics, selection: Selection, split: str) -> Finding:
    """What came of it: the best configuration, its score, and what that is worth beside labels only and the others.

    That is said of the score that the report is about, and of the one that chose, where that is another.
    """
    best, key = selection.best, headline(stats)
    measure = None if best is None or key is None else stats.measure(best, key)
    if best is None or key is None or measure is None:
        return Finding(sentence="No trial of this sweep is scored yet.", detail="")
    name = metric_name(key)
    versus = against_labels(stats, best, key)
    worth = "a student of labels only" if is_labels_only(best) else _beside_labels(versus)
    by_choice = _by_what_chose(stats, selection, key, split)
    beside = others(stats, best, key)
    sentences = [
        f"Best on validation: {best.label}, whose {name} is {formats.metric(measure.value)} on {split}; {worth}.",
        summed_up(beside, split),
        by_choice,
    ]
    parts = [f"Chosen by {selection.by} on the validation rows"]
    if measure.interval:
        parts.append(f"{name}, 95 % interval {measure.interval} over {_over(measure.seeds, measure.count)}")
    if not isinstance(versus, Unpaired) and not is_labels_only(best):
        parts.append(f"minus labels only, row by row: {_signed(versus)}")
    if by_choice and selection.key is not None:
        better = of_kind(others(stats, best, selection.key), BETTER)
        parts += [f"better by the {metric_name(selection.key)}: {named(better)}"] if better else []
    fewer = of_fewer(beside, split)
    details = ["; ".join(parts) + ".", "" if fewer in sentences else fewer]
    return Finding(sentence=" ".join(filter(None, sentences)), detail=" ".join(filter(None, details)))


def _by_what_chose(stats: Statistics, selection: Selection, told: RowKey, split: str) -> str:
    """The same by the score that chose, where the numbers tell anything apart by it that the other score does not."""
    best, key = selection.best, selection.key
    if best is None or key is None or key == told or stats.measure(best, key) is None:
        return ""
    if any(told in group and key in group for group in stats.folded([told, key])):
        return ""
    parts = []
    versus = against_labels(stats, best, key)
    if not is_labels_only(best) and not isinstance(versus, Unpaired):
        interval = "" if within_noise(versus) else f" ({formats.signed_interval(versus.low, versus.high)})"
        parts.append(f"it is {_beside_labels(versus)}{interval}")
    better = of_kind(others(stats, best, key), BETTER)
    if better:
        parts.append(f"{plural(len(better), 'other')} {'is' if len(better) == 1 else 'are'} better than it")
    return (
        f"By the {metric_name(key)} on {split}, which chose it on validation, {' and '.join(parts)}." if parts else ""
    )


def _beside_labels(versus: Difference | Unpaired) -> str:
    if isinstance(versus, Unpaired):
        return "there is no student of labels only to compare it with"
    if within_noise(versus):
        return "within noise of labels only"
    side = versus.verdict or ("more" if versus.value > 0 else "less")
    return f"{formats.metric(abs(versus.value))} {side} than labels only"


def best_part(stats: Statistics, selection: Selection, split: str) -> Part | None:
    """The best configuration's scores beside those of labels only and of the next best, with paired differences."""
    best = selection.best
    if best is None:
        return None
    other = next((each for each, _ in selection.ranked[1:]), None)
    has_labels = not is_labels_only(best)
    rows = []
    for group in stats.folded(stats.of_student("truth")):
        key = group[0]
        ours = stats.measure(best, key)
        if ours is None:
            continue
        cells = [cell(ours)]
        if has_labels:
            cells += [cell(stats.labels_only(best, key)), apart(against_labels(stats, best, key))]
        if other is not None:
            cells += [cell(stats.measure(other, key)), apart(stats.difference(best, other, key))]
        rows.append(Row(label=group_name(group), note=suites_of(group), cells=tuple(cells)))
    columns = ["", "the best", *(("labels only", "difference") if has_labels else ())]
    if other is not None:
        columns += ["the next best", "difference"]
    chosen = f"{best.label} is the best by {selection.by} on the validation rows, mean over its seeds."
    text = [f"{chosen} {selection.note}".strip(), _on_what(split)]
    if not has_labels:
        text.append("It is a student of labels only: none that learnt from the teacher did better there.")
    if other is not None:
        shared = stats.seeds_in_common(best, other)
        few = shared < max(len(best.runs), len(other.runs))
        text.append(f"The next best there is {other.label}{_on_these(shared) if few else ''}.")
    table = Table(
        title="On the rows of " + split,
        note="Differences are paired by row and seed; in small print 95 % intervals over rows and seeds. Within noise: "
        "the interval of the difference holds 0.",
        columns=tuple(columns),
        groups=(Group(rows=tuple(rows)),),
    )
    return Part(key="best", title="The best configuration", text=tuple(text), tables=(table,) if rows else ())


def by_metric(stats: Statistics, split: str) -> Table | None:
    """For each metric the configuration that is best by it on the validation rows, and how the others are beside it."""
    keys = [key for key in stats.of_student("truth") if stats.direction(key).sense]
    found = []
    for group in stats.folded(keys):
        ranked = by_score(stats, group[0])
        measure = stats.measure(ranked[0][0], group[0]) if ranked else None
        if len(ranked) > 1 and measure is not None:
            found.append((group, ranked[0][0], measure, others(stats, ranked[0][0], group[0])))
    if not found:
        return None
    has_fewer = any(each.is_on_fewer for *_, judged in found for each in judged)
    columns = ("best on validation", split, f"better on {split}", "within noise of it", "worse")
    fewer = "on fewer seeds"
    note = (
        f"Chosen on the validation rows, reported on {split}. In brackets the paired difference from it and its 95 % "
        "interval. Within noise of it: that interval holds 0, and no choice between these is backed by the numbers."
    )
    if has_fewer:
        note += f" Those {fewer} share fewer with it than it has, and are judged on these alone."
    if any(each.kind == UNKNOWN for *_, judged in found for each in judged):
        note += " Left out are those that cannot be paired with it."
    rows = tuple(
        Row(
            label=group_name(group),
            note=suites_of(group),
            cells=(
                Cell(best.label),
                cell(measure),
                Cell(named(of_kind(judged, BETTER)) or "none"),
                Cell(_names(of_kind(judged, NOISE), len(judged))),
                Cell(_names(of_kind(judged, WORSE), len(judged))),
                *((Cell(_on_fewer(judged)),) if has_fewer else ()),
            ),
        )
        for group, best, measure, judged in found
    )
    return Table(
        title=f"Scores on {split}",
        note=note,
        columns=("", *columns, *((fewer,) if has_fewer else ())),
        groups=(Group(rows=rows),),
    )


def _on_these(seeds: int) -> str:
    return f"; the difference from it is of the {plural(seeds, 'seed')} that both have alone"


def _on_fewer(judged: Sequence[Judged]) -> str:
    """What those are that share too few seeds with the best: counted, but for those that are better."""
    told = []
    for kind in (BETTER, NOISE, WORSE):
        found = of_kind(judged, kind, fewer=True)
        if found:
            told.append(f"{len(found)} {kind}" + (f": {named(found)}" if kind == BETTER else ""))
    return "; ".join(told) or "none"


def _signed(found: Difference) -> str:
    return f"{formats.signed(found.value)} ({formats.signed_interval(found.low, found.high)})"


def _on_what(split: str) -> str:
    if split == "test":
        return "Chosen on validation rows, reported on test rows, which chose nothing."
    return (
        "The data have no test rows: these scores are on the validation rows that chose the configuration and each "
        "run's best epoch, and flatter the best."
    )


def _over(seeds: int, rows: int) -> str:
    return f"{plural(rows, 'row')} and {plural(seeds, 'seed')}" if seeds > 1 else f"{plural(rows, 'row')}, one seed"


def _names(found: Sequence[Judged], of: int) -> str:
    if not found:
        return "none"
    if len(found) == of > 1:
        return "both others" if of == 2 else f"all {of} others"
    if len(found) > MOST_NAMED:
        return f"{len(found)} of the {of} others"
    return "; ".join(each.configuration.label for each in found)
