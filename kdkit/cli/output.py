"""Results on standard output: JSON, and tables that are plain text unless a terminal shows them."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import rich_click as click

if TYPE_CHECKING:
    from collections.abc import Sequence


def to_json(value: Any, *, ascii_only: bool = False) -> str:
    """One JSON document, indented."""
    return json.dumps(value, indent=2, ensure_ascii=ascii_only, allow_nan=False)


def print_json(value: Any) -> None:
    """The same on standard output, in ASCII where that is not UTF-8."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    click.echo(to_json(value, ascii_only=encoding.lower().replace("-", "") != "utf8"))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """A table: drawn on a terminal, else columns two blanks apart, a line a row, nothing cut."""
    if sys.stdout.isatty():
        _draw(columns, rows)
        return
    widths = [max(len(row[index]) for row in [columns, *rows]) for index in range(len(columns))]
    for row in [columns, *rows]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _draw(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))  # not markup: a cell may hold brackets
    Console().print(table)
