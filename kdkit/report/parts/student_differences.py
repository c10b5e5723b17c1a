"""By how much a run's student differs from the one of labels only, and from its teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.report.numbers import pairs
from kdkit.report.numbers.alike import alike
from kdkit.report.numbers.names import suite_title
from kdkit.report.page.tables import Group, Row, Table
from kdkit.report.parts.cells import LESS, difference_cell

if TYPE_CHECKING:
    from kdkit.report.read.run import RunFacts

GAIN = "student minus labels only"
COLUMNS = {GAIN: "gain", "student minus teacher": "difference"}
APART = "Differences outside noise"
PAIRED = (
    "Both models of a column were scored on the same rows; in small print the 95 % interval of the mean difference of "
    "a row. Outside noise: it leaves out 0. Better and worse are said of the student."
)


def tables(facts: RunFacts) -> list[Table]:
    """By how much the student differs from the one of labels only, and from the teacher, row by row.

    What is outside noise stands in a table, and the rest in a folded one.
    """
    found = [
        *pairs.pairs(facts, against="truth"),
        *pairs.pairs(facts, against="teacher"),
        *pairs.losses(facts),
    ]
    told = alike([pair for pair in found if not pair.is_part and (pair.difference or pair.gain)])
    columns = {title: field for title, field in COLUMNS.items() if any(getattr(first, field) for first, *_ in told)}
    apart: dict[bool, dict[str, list[Row]]] = {True: {}, False: {}}
    for group in told:
        first = group[0]
        cells = tuple(difference_cell(getattr(first, field)) for field in columns.values())
        row = Row(label=pairs.label_of(group), note=LESS if first.sense < 0 else "", cells=cells)
        outside = any((each := getattr(first, field)) and not each.holds_zero for field in columns.values())
        apart[outside].setdefault(suite_title(first.suite), []).append(row)
    tables = []
    for outside in (True, False):
        title = APART if outside else f"{sum(map(len, apart[False].values()))} more, within noise"
        groups = tuple(Group(title=suite, rows=tuple(rows)) for suite, rows in apart[outside].items())
        if groups:
            note = PAIRED if outside else ""
            tables.append(Table(title=title, note=note, columns=("", *columns), groups=groups, folded=not outside))
    return tables
