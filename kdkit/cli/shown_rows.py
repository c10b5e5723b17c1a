"""Rows with their labels marked, for `kdkit plan --show`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.cli.output import print_drawn, print_table, say
from kdkit.system.wording import plural, visible

if TYPE_CHECKING:
    from kdkit.pipeline.shown_rows import ShownRow, ShownRows

COLUMNS = {
    "rows": "rows",
    "labels": "labels",
    "stops": "stops",
    "sources_shortened": "read cut",
    "targets_cut": "labels cut",
    "straddling": "straddling",
    "marked_otherwise": "marked otherwise",
    "opened_otherwise": "opened otherwise",
    "lacking_tools": "lacking tools",
    "left_out": "left out",
}
"""Counts, by the heads of their columns; those of `_SELDOM` stand only where they are not 0."""
_SELDOM = ("marked_otherwise", "opened_otherwise", "lacking_tools", "left_out")
_MOST = 1200
"""Characters of a part of a row that are printed whole."""


def print_rows(found: ShownRows) -> None:
    """The rows, labels in brackets and in colour, and the table of counts."""
    from kdkit.data.given import reason_of

    say(f"\n{plural(len(found.rows), 'training row')} as the models read {_them(found)}; [[labels]] are in brackets:\n")
    for row in found.rows:
        _print_row(row)
    names = [name for name in COLUMNS if name not in _SELDOM or any(each[name] for each in found.counts.values())]
    print_table(
        ("", *(COLUMNS[name] for name in names)),
        [(split, *(f"{counts[name]:,}" for name in names)) for split, counts in found.counts.items()],
    )
    for drop in found.left_out:
        say(f"left out: {reason_of(drop)}")


def _them(found: ShownRows) -> str:
    return "it" if len(found.rows) == 1 else "them"


def _print_row(row: ShownRow) -> None:
    from rich.console import Group
    from rich.text import Text

    size = f"{plural(len(row.read_tokens), 'token')} read, {plural(len(row.label_tokens), 'label')}"
    head = Text(visible(f"{row.id}: {'; '.join((size, *row.remarks))}"), style="bold")
    body = Text.assemble(_short(row.read), ("[[", "bold green"), (_short(row.labels), "green"), ("]]", "bold green"))
    print_drawn(Group(head, body, Text("")))


def _short(text: str) -> str:
    """A text that is safe to show, without its middle where it is long."""
    shown = visible(text)
    if len(shown) <= _MOST:
        return shown
    half = _MOST // 2
    return f"{shown[:half]} (... {len(shown) - _MOST:,} characters ...) {shown[-half:]}"
