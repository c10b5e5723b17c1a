"""What differs between the recipes of a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.report.page import formats
from kdkit.report.page.document import Part
from kdkit.report.page.tables import Cell, Row, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kdkit.report.numbers.configurations import Configuration


def of_comparison(configurations: Sequence[Configuration]) -> Part:
    """A row for each key for which the recipes do not all say the same."""
    keys = list(configurations[0].values)
    text = ["Only the keys for which the recipes do not all say the same." if keys else "The recipes are the same."]
    if any(len(each.runs) > 1 for each in configurations):
        text.append("Runs that differ by the seed of their training alone are seeds of one configuration.")
    rows = [Row(label=key, cells=tuple(_cells(key, configurations))) for key in keys]
    columns = ("", *(each.label for each in configurations))
    tables = [Table.of(columns, rows, title="Keys of the recipes", look="wordy").turned()] if rows else []
    return Part(key="recipes", title="What differs", blocks=(*text, *tables))


def _cells(key: str, configurations: Iterable[Configuration]) -> Iterable[Cell]:
    for each in configurations:
        value = each.values.get(key)
        yield Cell(formats.NONE if value is None else formats.setting(value))
