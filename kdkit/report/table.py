"""The table that closes a run in the terminal."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from kdkit.report import compare, facts, formats, tables, verdict

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import RenderableType

WIDTH = 80


def closing_table(folder: Path) -> RenderableType:
    """The verdict, a row for each metric and cost, and where the report is, for a rich console."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    run = facts.read(folder)
    judged = verdict.judge(compare.headline(run), run.costs, split=run.split)
    parts: list[RenderableType] = [Text(formats.visible(judged.sentence), style="bold")]
    shown = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold", show_edge=False)
    shown.add_column("", overflow="fold", max_width=34)
    shown.add_column("teacher", justify="right", style="blue")
    shown.add_column("student", justify="right", style="dark_orange3")
    shown.add_column("ratio", justify="right")
    shown.add_column("", style="dim", no_wrap=True)
    for group in (group for table in tables.comparison(run) if not table.folded for group in table.groups):
        shown.add_row(Text(formats.visible(group.title), style="dim"))
        for row in group.rows:
            *_, last = row.cells
            label = Text(f"  {formats.visible(row.label)}")
            shown.add_row(label, *(Text(cell.text) for cell in row.cells), Text(last.note))
    if shown.row_count:
        parts += [Text(""), shown]
    # Long folder names run on in one piece, so that a terminal's own links and copying work.
    parts += [
        Text(""),
        Text(f"report: {formats.visible(str(folder / 'report.html'))}", overflow="ignore", no_wrap=True),
    ]
    return Group(*parts)


def closing_text(folder: Path) -> str:
    """The closing table as plain text of at most 80 columns (but for the report's path)."""
    from rich.console import Console

    stream = io.StringIO()
    console = Console(file=stream, width=WIDTH, no_color=True, force_terminal=False, highlight=False, emoji=False)
    console.print(closing_table(folder), soft_wrap=False, crop=False)
    return "".join(f"{line.rstrip()}\n" for line in stream.getvalue().splitlines())
