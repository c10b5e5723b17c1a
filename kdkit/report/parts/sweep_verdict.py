"""What a sweep found, in a few sentences: the best configuration beside labels only and the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.report.numbers.names import metric_name
from kdkit.report.numbers.selection import headline
from kdkit.report.numbers.statistics import Unpaired, is_labels_only, within_noise
from kdkit.report.numbers.versus_best import BETTER, named, of_fewer, of_kind, others, summed_up
from kdkit.report.numbers.versus_labels import against_labels
from kdkit.report.page import formats
from kdkit.report.page.document import Verdict
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from kdkit.api.values import Difference
    from kdkit.evaluation.row_scores import RowKey
    from kdkit.report.numbers.selection import Selection
    from kdkit.report.numbers.statistics import Statistics


def of_sweep(stats: Statistics, selection: Selection, split: str) -> Verdict:
    """What came of it: the best configuration, its score, and what that is worth beside labels only and the others.

    That is said of the score that the report is about, and of the one that chose, where that is another.
    """
    best, key = selection.best, headline(stats)
    measure = None if best is None or key is None else stats.measure(best, key)
    if best is None or key is None or measure is None:
        return Verdict("No trial of this sweep is scored yet.")
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
    interval = formats.interval(measure)
    if interval:
        parts.append(f"{name}, 95 % interval {interval} over {_over(measure.seeds, measure.count)}")
    if not isinstance(versus, Unpaired) and not is_labels_only(best):
        parts.append(f"minus labels only, row by row: {_signed(versus)}")
    if by_choice and selection.key is not None:
        better = of_kind(others(stats, best, selection.key), BETTER)
        parts += [f"better by the {metric_name(selection.key)}: {named(better)}"] if better else []
    fewer = of_fewer(beside, split)
    details = ["; ".join(parts) + ".", "" if fewer in sentences else fewer]
    return Verdict(" ".join(filter(None, sentences)), " ".join(filter(None, details)))


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
        interval = "" if within_noise(versus) else f" ({formats.signed_interval(versus)})"
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


def _signed(found: Difference) -> str:
    return f"{formats.signed(found.value)} ({formats.signed_interval(found)})"


def _over(seeds: int, rows: int) -> str:
    return f"{plural(rows, 'row')} and {plural(seeds, 'seed')}" if seeds > 1 else f"{plural(rows, 'row')}, one seed"
