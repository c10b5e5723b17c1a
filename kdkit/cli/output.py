"""What the command line prints: sentences, lines, JSON, and tables that are plain text unless a terminal shows them.

Names, ids and texts of models come from anywhere, so none reaches a terminal as it is: control characters are shown.
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from typing import TYPE_CHECKING, Any

import rich_click as click

from kdkit.system.wording import visible, wrapped

# Within JSON these stand in strings only.
_CONTROLS = re.compile("[\x7f-\x9f\u202a-\u202e\u2066-\u2069]")

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType


def say(text: object = "", *, err: bool = False, indent: int = 2) -> None:
    """A sentence on standard output, or on standard error; a terminal's lines end between its words.

    Args:
        text: What is said.
        err: Whether on standard error.
        indent: How far lines after the first are indented on a terminal.
    """
    stream = sys.stderr if err else sys.stdout
    width = shutil.get_terminal_size().columns if stream.isatty() else None
    put(text if width is None else wrapped(str(text), width, indent), err=err)


def put(text: object, *, err: bool = False, nl: bool = True) -> None:
    """Lines as they are, to be copied or under each other."""
    click.echo(visible(str(text)), err=err, nl=nl)


def to_json(value: Any, *, ascii_only: bool = False) -> str:
    """One JSON document, indented."""
    return harmless(json.dumps(value, indent=2, ensure_ascii=ascii_only, allow_nan=False))


def harmless(text: str) -> str:
    """JSON with the same values whose control characters beyond those of ASCII are escaped too."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def print_json(value: Any) -> None:
    """The same on standard output, in ASCII where that is not UTF-8."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    click.echo(to_json(value, ascii_only=encoding.lower().replace("-", "") != "utf8"))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table: drawn on a terminal, else columns two blanks apart, a line a row, nothing cut."""
    if sys.stdout.isatty():
        _draw(columns, rows)
        return
    rows = [[visible(cell) for cell in row] for row in rows]
    widths = [max(len(row[index]) for row in [columns, *rows]) for index in range(len(columns))]
    for row in [columns, *rows]:
        put("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_drawn(drawn: RenderableType) -> None:
    """What is for a rich console: in colour on a terminal, else as plain text of 80 columns."""
    from kdkit.report.page import terminal

    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(drawn, crop=False)
    else:
        put(terminal.plain(drawn), nl=False)


def _draw(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))  # two blanks apart, as where it is plain
    for column in columns:
        table.add_column(Text(visible(column)), overflow="fold")
    for row in rows:
        table.add_row(*(Text(visible(cell)) for cell in row))  # not markup: a cell may hold brackets
    Console().print(table)
