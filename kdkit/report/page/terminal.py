"""The table that closes a run in the terminal."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import attrs

from kdkit.report.numbers import pairs
from kdkit.report.page import formats
from kdkit.report.parts import costs, scores, verdict
from kdkit.report.read.run import read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from rich.console import RenderableType
    from rich.table import Table as Grid

    from kdkit.report.parts.scores import Cell, Table
    from kdkit.report.read.run import Facts

WIDTH = 80
NOISE = "within noise"
HEADS = {
    pairs.MODELS["labels-only"]: "labels only",
    pairs.MODELS["untouched"]: "un- touched",
    pairs.MODELS["nearest"]: "nearest row",
    "retention": "ratio",
    scores.DISTILLED: "student minus labels only",
}
"""Shorter names of columns: six models and a ratio have 80 columns of a terminal."""


def closing_table(folder: Path) -> RenderableType:
    """The verdict, a row for each metric and cost, and where the report is, for a rich console."""
    from rich.console import Group
    from rich.text import Text

    run = read(folder)
    judged = verdict.of_run(run)
    parts: list[RenderableType] = [Text(formats.visible(judged.sentence), style="bold")]
    for drawn in _drawn(run):
        parts += [Text(""), drawn]
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


def _drawn(run: Facts) -> Iterator[RenderableType]:
    from rich.text import Text

    shown = [table for table in scores.comparison(run) if not table.folded]
    for table in shown:
        yield Lines.of(table).drawn()
    apart = scores.differences(run)
    if apart is not None and scores.DISTILLED in apart.columns:
        yield Lines.of(apart, cell=_difference).drawn()
        if lower := _lower_is_better(apart):
            yield Text(lower, style="dim")
    spent = costs.table(run)
    if spent is not None:
        yield Lines.of(spent).drawn()


def _lower_is_better(apart: Table) -> str:
    """Of which rows of a table less is better, all losses as one; empty where it is of none."""
    names = [
        "losses" if group.title == scores.suite_title(pairs.LOSS) else formats.visible(row.label)
        for group in apart.groups
        for row in group.rows
        if row.note == scores.LESS
    ]
    told = sorted(dict.fromkeys(names), key=lambda name: name != "losses")
    listed = " and ".join(filter(None, (", ".join(told[:-1]), *told[-1:])))
    return f"Of {listed}, less is better." if told else ""


def _number(cell: Cell) -> str:
    return cell.text


def _difference(cell: Cell) -> str:
    """A difference with its interval; one that is within noise is called that and nothing else."""
    if cell.verdict == NOISE:
        return NOISE
    return f"{cell.text} ({cell.note})" if cell.note else cell.text


@attrs.frozen(kw_only=True)
class Lines:
    """A table as lines of a terminal.

    Attributes:
        heads: What stands over the columns, the label's first.
        groups: A heading, and of each row the label, the cells, and what is said beside them.
        gap: Blanks between columns.
    """

    heads: tuple[str, ...]
    groups: tuple[tuple[str, tuple[tuple[str, tuple[str, ...], str], ...]], ...]
    gap: int

    @classmethod
    def of(cls, table: Table, *, cell: Callable[[Cell], str] = _number) -> Lines:
        """The lines of a table; beside a row stands what is said of noise, where there is room."""
        wide = len(table.columns) > 4
        return cls(
            heads=tuple(HEADS.get(column, column) for column in table.columns),
            groups=tuple(
                (
                    formats.visible(group.title),
                    tuple(
                        (
                            f"  {formats.visible(row.label)}",
                            tuple(map(cell, row.cells)),
                            "" if wide else row.cells[-1].note if row.cells[-1].note == NOISE else "",
                        )
                        for row in group.rows
                    ),
                )
                for group in table.groups
            ),
            gap=2 if wide else 3,
        )

    def drawn(self) -> RenderableType:
        """Headings on lines of their own, for they are longer than labels, and one grid beneath each."""
        from rich.console import Group
        from rich.text import Text

        parts: list[RenderableType] = [self._grid([("", self.heads[1:], "")], bold=True)]
        for title, rows in self.groups:
            parts += [Text(title, style="dim"), self._grid(rows)]
        return Group(*parts)

    def _grid(self, rows: Sequence[tuple[str, tuple[str, ...], str]], *, bold: bool = False) -> Grid:
        from rich.table import Table as Grid
        from rich.text import Text

        every = [row for _, listed in self.groups for row in listed]
        widths = [
            max(*(len(word) for word in head.split()), *(len(cells[place]) for _, cells, _ in every), 0)
            for place, head in enumerate(self.heads[1:])
        ]
        beside = max((len(note) for *_, note in every), default=0)
        room = WIDTH - sum(widths) - self.gap * len(widths) - (beside + self.gap if beside else 0)
        grid = Grid.grid(padding=(0, self.gap, 0, 0), pad_edge=False)
        label = min(34, room, max((len(label) for label, *_ in every), default=0))
        grid.add_column(width=max(label, 8), overflow="fold")
        for width, head in zip(widths, self.heads[1:], strict=True):
            style = {"teacher": "blue", "student": "dark_orange3"}.get(head, "")
            grid.add_column(width=width, justify="right", vertical="bottom", style=style)
        if beside:
            grid.add_column(width=beside, style="dim", no_wrap=True)
        for label_text, cells, note in rows:
            style = "bold" if bold else ""
            grid.add_row(
                Text(label_text), *(Text(cell, style=style) for cell in cells), *([Text(note)] if beside else [])
            )
        return grid
