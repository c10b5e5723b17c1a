"""The end of a page in a terminal: its verdict and some of its tables, in 80 columns."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from kdkit.system.wording import visible

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from rich.console import RenderableType
    from rich.table import Table as Grid

    from kdkit.report.page.tables import Row, Table

WIDTH = 80
WIDE = 4
"""A table of more columns has less room between them, and none beside its rows."""
BESIDE = "within noise"
"""The one note of a row's last cell that is shown beside it."""


def closing(verdict: str, tables: Iterable[Table], page: Path) -> RenderableType:
    """A verdict, tables, and where the page is, for a rich console."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [Text(visible(verdict), style="bold")]
    for table in tables:
        parts += [Text(""), lines(table)]
    # Long folder names run on in one piece, so that a terminal's own links and copying work.
    parts += [Text(""), Text(f"report: {visible(str(page))}", overflow="ignore", no_wrap=True)]
    return Group(*parts)


def plain(drawn: RenderableType) -> str:
    """What is for a rich console as plain text of at most 80 columns (but for the page's path)."""
    from rich.console import Console

    stream = io.StringIO()
    console = Console(file=stream, width=WIDTH, no_color=True, force_terminal=False, highlight=False, emoji=False)
    console.print(drawn, soft_wrap=False, crop=False)
    return "".join(f"{line.rstrip()}\n" for line in stream.getvalue().splitlines())


def lines(table: Table) -> RenderableType:
    """A table: headings on lines of their own, for they are longer than labels, and one grid beneath each."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [_grid(table)]
    for group in table.groups:
        parts += [Text(visible(group.title), style="dim")] if group.title else []
        parts.append(_grid(table, group.rows))
    return Group(*parts, *([Text(""), Text(visible(table.note), style="dim")] if table.note else []))


def _grid(table: Table, rows: Sequence[Row] | None = None) -> Grid:
    """Rows in the columns of a table; its heads where there are none."""
    from rich.table import Table as Grid
    from rich.text import Text

    heads = table.columns[1:]
    gap = 2 if len(heads) >= WIDE else 3
    every = [row for group in table.groups for row in group.rows]
    widths = [
        max(*(len(word) for word in head.split()), *(len(row.cells[place].text) for row in every), 0)
        for place, head in enumerate(heads)
    ]
    beside = max((len(_beside(row)) for row in every), default=0) if len(heads) < WIDE else 0
    room = WIDTH - sum(widths) - gap * len(widths) - (beside + gap if beside else 0)
    grid = Grid.grid(padding=(0, gap, 0, 0), pad_edge=False)
    label = min(34, room, max((len(_label(row)) for row in every), default=0))
    grid.add_column(width=max(label, 8), overflow="fold")
    for width, head in zip(widths, heads, strict=True):
        style = {"teacher": "blue", "student": "dark_orange3"}.get(head, "")
        grid.add_column(width=width, justify="right", vertical="bottom", style=style)
    if beside:
        grid.add_column(width=beside, style="dim", no_wrap=True)
    if rows is None:
        grid.add_row("", *(Text(visible(head), style="bold") for head in heads), *([""] if beside else []))
    for row in rows or ():
        cells = (Text(visible(cell.text)) for cell in row.cells)
        grid.add_row(Text(_label(row)), *cells, *([Text(_beside(row))] if beside else []))
    return grid


def _label(row: Row) -> str:
    return f"  {visible(row.label)}"


def _beside(row: Row) -> str:
    return BESIDE if row.cells[-1].note == BESIDE else ""
