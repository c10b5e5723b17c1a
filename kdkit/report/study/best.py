"""What a sweep found: the best configuration beside labels only and the next best, and the best by each metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.report import formats
from kdkit.report.compare import LABELS_ONLY
from kdkit.report.study.document import Part
from kdkit.report.study.selection import by_score, headline
from kdkit.report.study.statistics import Unpaired, is_labels_only, sense_of, within_noise
from kdkit.report.study.tables import apart, cell, metric_name
from kdkit.report.tables import Cell, Group, Row, Table
from kdkit.texts import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.evaluation.rowscores import RowKey
    from kdkit.report.study.runs import Configuration
    from kdkit.report.study.selection import Selection
    from kdkit.report.study.statistics import Statistics
    from kdkit.values import Difference

MOST_NAMED = 6
"""So many configurations are named one by one; more are counted."""


@attrs.frozen(kw_only=True)
class Finding:
    """The sentence that a sweep comes to, and the numbers it stands on."""

    sentence: str
    detail: str


def finding(stats: Statistics, selection: Selection, split: str) -> Finding:
    """What came of it: the best configuration, its score, and what that is worth beside labels only and the others."""
    best, key = selection.best, headline(stats.configurations)
    measure = None if best is None or key is None else stats.measure(best, key)
    if best is None or key is None or measure is None:
        return Finding(sentence="No trial of this sweep is scored yet.", detail="")
    name = metric_name(key)
    sentence = f"Best on validation: {best.label}, whose {name} is {formats.metric(measure.value)} on {split}"
    versus = against_labels(stats, best, key)
    if is_labels_only(best):
        sentence += ": a student of labels only"
    elif isinstance(versus, Unpaired):
        sentence += "; there is no student of labels only to compare it with"
    elif within_noise(versus):
        sentence += "; within noise of labels only"
    else:
        side = "above" if versus.value > 0 else "below"
        sentence += f"; {formats.metric(abs(versus.value))} {side} labels only"
    equals = near(stats, best, key)
    others = len(stats.configurations) - 1
    if others:
        sentence += f", and {_how_many(len(equals), others)} within noise of it"
    parts = [f"Chosen by {selection.by} on the validation rows"]
    if measure.interval:
        parts.append(f"{name}, 95 % interval {measure.interval} over {_over(measure.seeds, measure.count)}")
    if not isinstance(versus, Unpaired) and not is_labels_only(best):
        parts.append(f"minus labels only, row by row: {_signed(versus)}")
    return Finding(sentence=f"{sentence}.", detail="; ".join(parts) + ".")


def best_part(stats: Statistics, selection: Selection, split: str) -> Part | None:
    """The best configuration's scores beside those of labels only and of the next best, with paired differences."""
    best = selection.best
    if best is None:
        return None
    other = next((each for each, _ in selection.ranked[1:]), None)
    keys = [key for key in stats.keys if key.model == "student" and key.against == "truth" and "/" not in key.metric]
    rows = []
    for key in keys:
        ours = stats.measure(best, key)
        if ours is None:
            continue
        cells = [cell(ours), cell(stats.labels_only(best, key)), apart(against_labels(stats, best, key), key)]
        if other is not None:
            cells += [cell(stats.measure(other, key)), apart(stats.difference(best, other, key), key)]
        rows.append(Row(label=metric_name(key), note=key.suite, cells=tuple(cells)))
    columns = ["", "the best", "labels only", "difference"]
    if other is not None:
        columns += ["the next best", "difference"]
    chosen = f"{best.label} is the best by {selection.by} on the validation rows, mean over its seeds."
    text = [f"{chosen} {selection.note}".strip(), _on_what(split)]
    if is_labels_only(best):
        text.append("It is a student of labels only: no other that learnt from the teacher did better there.")
    if other is not None:
        text.append(f"The next best there is {other.label}.")
    table = Table(
        title="On the rows of " + split,
        note="Differences are paired by row and seed; in small print 95 % intervals over rows and seeds. Within noise: "
        "the interval of the difference holds 0.",
        columns=tuple(columns),
        groups=(Group(rows=tuple(rows)),),
    )
    return Part(key="best", title="The best configuration", text=tuple(text), tables=(table,) if rows else ())


def by_metric(stats: Statistics, split: str) -> Table | None:
    """For each metric the configuration that is best by it on the validation rows, its score, and who is as good."""
    rows = []
    for key in stats.keys:
        if key.model != "student" or key.against != "truth" or "/" in key.metric or not sense_of(key):
            continue
        ranked = by_score(stats.configurations, key)
        measure = stats.measure(ranked[0][0], key) if ranked else None
        if len(ranked) < 2 or measure is None:
            continue
        best = ranked[0][0]
        equals = near(stats, best, key)
        rows.append(
            Row(
                label=metric_name(key),
                note=key.suite,
                cells=(Cell(best.label), cell(measure), Cell(_names(equals, len(stats.configurations) - 1))),
            )
        )
    if not rows:
        return None
    return Table(
        title=f"Scores on {split}",
        note=f"Chosen on the validation rows, reported on {split}. Within noise of it: configurations whose paired "
        "difference from it has an interval that holds 0, or that cannot be paired with it; no choice between these "
        "is backed by the numbers.",
        columns=("", "best on validation", split, "within noise of it"),
        groups=(Group(rows=tuple(rows)),),
    )


def near(stats: Statistics, best: Configuration, key: RowKey) -> list[Configuration]:
    """The configurations that may be as good as the best."""
    return [
        each for each in stats.configurations if each is not best and within_noise(stats.difference(best, each, key))
    ]


def against_labels(stats: Statistics, best: Configuration, key: RowKey) -> Difference | Unpaired:
    """By how much a configuration is above the same student of labels only."""
    if is_labels_only(best):
        return Unpaired(reason="it is a student of labels only itself")
    found = stats.difference(best, best, key, key._replace(model=LABELS_ONLY))
    if not isinstance(found, Unpaired):
        return found
    trained = [each for each in stats.configurations if is_labels_only(each) and _alike(each, best)]
    return stats.difference(best, trained[0], key) if trained else found


def _alike(one: Configuration, other: Configuration) -> bool:
    """Whether two configurations are the same but for their loss."""
    return all(
        value == other.values.get(axis, value)
        for axis, value in one.values.items()
        if not axis.startswith(("loss", "codec", "teacher"))
    )


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


def _how_many(found: int, of: int) -> str:
    if not found:
        return "no other configuration is"
    if found == of:
        return "the other configuration is" if of == 1 else f"all {of} other configurations are"
    return f"{found} of the {of} other configurations {'is' if found == 1 else 'are'}"


def _names(found: Sequence[Configuration], of: int) -> str:
    if not found:
        return "none"
    if len(found) == of > 1:
        return "both others" if of == 2 else f"all {of} others"
    if len(found) > MOST_NAMED:
        return f"{len(found)} of the {of} others"
    return "; ".join(each.label for each in found)
