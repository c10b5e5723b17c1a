"""The chosen configuration of a sweep, beside labels only and the next best."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.report.numbers.names import group_name, suites_of
from kdkit.report.numbers.statistics import is_labels_only
from kdkit.report.numbers.versus_labels import against_labels
from kdkit.report.page.document import Part
from kdkit.report.page.tables import Row, Table
from kdkit.report.parts.cells import apart, score_cell
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from kdkit.report.numbers.selection import Selection
    from kdkit.report.numbers.statistics import Statistics


def of_sweep(stats: Statistics, selection: Selection, split: str) -> Part | None:
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
        cells = [score_cell(ours)]
        if has_labels:
            cells += [score_cell(stats.labels_only(best, key)), apart(against_labels(stats, best, key))]
        if other is not None:
            cells += [score_cell(stats.measure(other, key)), apart(stats.difference(best, other, key))]
        rows.append(Row(label=group_name(group), note=suites_of(group), cells=tuple(cells)))
    columns = ["", "chosen", *(("labels only", "difference") if has_labels else ())]
    if other is not None:
        columns += ["the next best", "difference"]
    text = [f"{best.label} is the best by {selection.by} on the validation rows, mean over its seeds. {selection.note}"]
    text = [text[0].strip(), *_on_what(split)]
    if other is not None:
        shared = stats.seeds_in_common(best, other)
        few = shared < max(len(best.runs), len(other.runs))
        text.append(f"The next best there is {other.label}{_on_these(shared) if few else ''}.")
    table = Table.of(
        columns,
        rows,
        title=f"On the {split} rows",
        note="Chosen minus the other, paired by row and seed. In small print 95 % intervals over rows and seeds.",
    )
    return Part(key="best", title="The chosen configuration", blocks=(" ".join(text), *((table,) if rows else ())))


def _on_these(seeds: int) -> str:
    return f"; the difference from it is of the {plural(seeds, 'seed')} that both have alone"


def _on_what(split: str) -> list[str]:
    told = (
        "The data have no test rows: these scores are on the validation rows that chose the configuration and each "
        "run's best epoch, and flatter the best."
    )
    return [told] if split == "validation" else []
