"""Tables as values, rendered alike into HTML, Markdown and lines of a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable


@attrs.frozen
class Cell:
    """A number, in smaller print what is to be known about it, and what it amounts to.

    Attributes:
        text: The number.
        note: Its interval, or the like.
        verdict: "better", "worse" or "within noise", for a difference; empty where that is not said.
    """

    text: str
    note: str = ""
    verdict: str = ""


@attrs.frozen(kw_only=True)
class Row:
    """A label and its numbers."""

    label: str
    note: str = ""
    cells: tuple[Cell, ...]


@attrs.frozen(kw_only=True)
class Group:
    """Rows under a common heading; no heading where the title is empty."""

    title: str = ""
    note: str = ""
    rows: tuple[Row, ...]


@attrs.frozen(kw_only=True)
class Table:
    """A table.

    Attributes:
        title: Its heading; none where empty.
        note: What is said below it.
        columns: The names of its columns, the label's first.
        groups: Its rows.
        folded: Whether it is shown only when its title is clicked.
        look: "wordy" where cells hold words, which wrap; "narrow" where a full page's width is too much.
    """

    title: str = ""
    note: str = ""
    columns: tuple[str, ...]
    groups: tuple[Group, ...]
    folded: bool = False
    look: str = ""

    @classmethod
    def of(cls, columns: Iterable[str], rows: Iterable[Row], *, title: str = "", note: str = "", look: str = "",
           folded: bool = False) -> Self:  # fmt: skip
        """A table whose rows are one group."""
        return cls(title=title, note=note, columns=tuple(columns), groups=(Group(rows=tuple(rows)),), look=look,
                   folded=folded)  # fmt: skip

    def turned(self) -> Self:
        """The same with rows as columns, where it has more columns than rows; a table of several groups as it is."""
        if len(self.groups) != 1 or len(self.columns) - 1 <= len(self.groups[0].rows):
            return self
        (group,) = self.groups
        heads = (f"{row.label} ({row.note})" if row.note else row.label for row in group.rows)
        rows = tuple(
            Row(label=column, cells=tuple(row.cells[place] for row in group.rows))
            for place, column in enumerate(self.columns[1:])
        )
        return attrs.evolve(self, columns=(self.columns[0], *heads), groups=(attrs.evolve(group, rows=rows),))
