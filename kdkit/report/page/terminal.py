"""The end of a page in a terminal: its verdict and some of its tables, in 80 columns."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from kdkit.system.wording import visible, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.table import Table as Grid
    from rich.text import Text

    from kdkit.report.page.tables import Row, Table

WIDTH = 80
WIDE = 4
"""A table of more columns has less room between them, and none beside its rows."""
_COLOURS = [
    (90, 90, 90), (205, 60, 50), (45, 145, 70), (170, 120, 20), (60, 120, 215), (160, 80, 170), (30, 140, 150),
    (128, 128, 128),
]  # fmt: skip
"""The eight colours of a terminal, such that they can be read on white and on black."""
_STYLES = {"better": "green", "worse": "red", "within noise": "dim"}
_COPIED = ("kdkit ", "-o ")
"""How a line begins that is to be copied."""
BESIDE = "within noise"
"""The one note of a row's last cell that is shown beside it."""


def stacked(*parts: RenderableType) -> RenderableType:
    """Parts with an empty line between them."""
    from rich.console import Group
    from rich.text import Text

    spaced = [line for part in parts for line in (part, Text(""))]
    return Group(*spaced[:-1])


def together(*parts: RenderableType) -> RenderableType:
    """Parts below each other."""
    from rich.console import Group

    return Group(*parts)


def paragraphs(first: str, *others: str) -> RenderableType:
    """Sentences, the first of them bold; those that are empty are left out."""
    from rich.text import Text

    return together(Text(visible(first), style="bold"), *(Text(visible(text)) for text in others if text))


def aside(text: str) -> RenderableType:
    """A line that matters less, in one piece."""
    from rich.text import Text

    return _in_one_piece(Text(visible(text), style="dim"))


def facts(rows: Sequence[tuple[str, tuple[str, ...]]]) -> RenderableType:
    """Labels with lines beside them: sentences that end between words, and paths and commands each in one piece.

    A terminal's own links and copying then work.
    """
    from rich.text import Text

    width = max((len(label) for label, _ in rows), default=0) + 2
    lines = []
    for label, sentences in rows:
        told = [
            line
            for each in sentences
            for line in ([each] if each.startswith(_COPIED) else wrapped(each, WIDTH - width, indent=0).split("\n"))
        ]
        heads = [f"{label}:", *[""] * (len(told) - 1)]
        lines += [
            Text.assemble((head.ljust(width), "bold"), visible(line)) for head, line in zip(heads, told, strict=True)
        ]
    return together(*map(_in_one_piece, lines))


class Folded:
    """Parts whose longest lines continue in the next one: rich's `print`, called by others, cuts what is too wide."""

    def __init__(self, inner: RenderableType) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.segment import Segment

        width = options.max_width
        for line in Segment.split_lines(console.render(self._inner, options)):
            length = Segment.get_line_length(line)
            for piece in Segment.divide(line, range(width, length + width, width)):
                yield from (*piece, Segment.line()) if piece else ()


def _in_one_piece(line: Text) -> Text:
    line.no_wrap, line.overflow = True, "ignore"
    return line


def height(drawn: RenderableType) -> int:
    """Lines that it takes on a terminal of 80 columns, which breaks those that are longer."""
    return sum(max(1, -(-len(line) // WIDTH)) for line in plain(drawn).splitlines())


def plain(drawn: RenderableType) -> str:
    """What is for a rich console as plain text of at most 80 columns (but for the page's path)."""
    from rich.console import Console

    stream = io.StringIO()
    console = Console(file=stream, width=WIDTH, no_color=True, force_terminal=False, highlight=False, emoji=False)
    console.print(drawn, soft_wrap=False, crop=False)
    return "".join(f"{line.rstrip()}\n" for line in stream.getvalue().splitlines())


def html(drawn: RenderableType) -> str:
    """What is for a rich console as a notebook shows it: the same letters and colours, on light and on dark."""
    from rich.console import Console
    from rich.terminal_theme import TerminalTheme

    theme = TerminalTheme((255, 255, 255), (0, 0, 0), _COLOURS)
    console = Console(
        file=io.StringIO(), width=WIDTH, record=True, force_terminal=True, color_system="truecolor", highlight=False,
        emoji=False,
    )  # fmt: skip
    console.print(drawn, crop=False)
    text = console.export_html(theme=theme, code_format="{code}", inline_styles=True)
    return f'<pre style="white-space:pre;line-height:1.35;font-family:monospace">{text}</pre>'


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
    indent = "  " if any(group.title for group in table.groups) else ""
    label = min(34, room, max((len(indent + visible(row.label)) for row in every), default=0))
    grid.add_column(width=max(label, 8), overflow="fold")
    for width, head in zip(widths, heads, strict=True):
        style = {"teacher": "blue", "student": "dark_orange3"}.get(head, "")
        grid.add_column(width=width, justify="right", vertical="bottom", style=style)
    if beside:
        grid.add_column(width=beside, style="dim", no_wrap=True)
    if rows is None:
        grid.add_row("", *(Text(visible(head), style="bold") for head in heads), *([""] if beside else []))
    for row in rows or ():
        cells = (Text(visible(cell.text), style=_STYLES.get(cell.verdict, "")) for cell in row.cells)
        grid.add_row(Text(indent + visible(row.label)), *cells, *([Text(_beside(row))] if beside else []))
    return grid


def _beside(row: Row) -> str:
    return BESIDE if row.cells[-1].note == BESIDE else ""
