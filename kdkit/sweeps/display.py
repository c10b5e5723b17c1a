"""Shows a running sweep: a table on a terminal, else a line when a trial starts, ends or fails."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

from kdkit.sweeps.state import Board, in_columns
from kdkit.system.progress import Bars, clock
from kdkit.system.reading import read_tail
from kdkit.system.wording import plural, visible, wrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console, RenderableType
    from rich.live import Live
    from rich.table import Table as RichTable

    from kdkit.sweeps.state import Entry, Watcher
    from kdkit.system.progress import Progress

_LOG_TAIL = 4096
_EVERY = 0.5
# Fewer columns of the screen than this tell nothing of a line of a log.
_LEAST_LINE = 20
# A head or a value that is cut keeps so many columns of the screen.
_LEAST_CELL = 3
# Wider than any table.
_UNBOUNDED = 10_000
# Lines of the screen that are not the table's rows: its head, the counts, and the prompt.
_AROUND = 6


@contextmanager
def shown(board: Board, axes: Sequence[str], progress: Progress) -> Iterator[Watcher]:
    """The display of the board: a table if progress is shown as bars, else lines."""
    if isinstance(progress, Bars):
        with Table(board=board, axes=axes, console=progress.console).live() as table:
            yield table
    else:
        yield Lines(board=board, note=progress.note)


@attrs.define(kw_only=True)
class Lines:
    """A line for each event."""

    board: Board
    note: Callable[[str], None]

    def started(self, entry: Entry) -> None:
        """A trial was started."""
        number = self.board.entries.index(entry) + 1
        self.note(f"trial {number} of {self.board.total}, {entry.trial.id} ({entry.title}): started")

    def ended(self, entry: Entry) -> None:
        """A trial came to an end."""
        self.note(f"{ending_of(entry, self.board)}; {summary_of(self.board)}")

    def tick(self) -> None:
        """Nothing."""


@attrs.define(kw_only=True)
class Table:
    """A table of the trials that is drawn again and again while they run."""

    board: Board
    axes: Sequence[str]
    console: Console
    _live: Live | None = None
    _drawn: float = 0.0

    @contextmanager
    def live(self) -> Iterator[Table]:
        """Show the table within the block; its last state stays on the screen."""
        from rich.live import Live

        with Live(self.drawn(), console=self.console, auto_refresh=False, vertical_overflow="crop") as self._live:
            yield self
            self._draw()

    def started(self, entry: Entry) -> None:  # noqa: ARG002 - the table shows it
        """A trial was started."""
        self._draw()

    def ended(self, entry: Entry) -> None:
        """A trial came to an end; why it failed stays above the table."""
        if entry.state == "failed":
            self.note(ending_of(entry, self.board))
        self._draw()

    def note(self, message: str) -> None:
        """One line above the table."""
        text = wrapped(visible(message), self.console.width)
        self.console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)

    def tick(self) -> None:
        """Draw the table again, twice a second."""
        if time.monotonic() - self._drawn >= _EVERY:
            self._draw()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        if self._live is not None:
            self._live.update(self.drawn(), refresh=True)

    def drawn(self) -> RenderableType:
        """The table, and a line of what is done."""
        from rich.console import Group
        from rich.measure import Measurement
        from rich.text import Text

        entries = fitting(self.board.entries, self.console.size.height - _AROUND)
        values = list(in_columns(entries))
        table = self._table_of(entries, self.axes, values, has_line=False)
        unbounded = self.console.options.update(width=_UNBOUNDED)
        room = self.console.width - Measurement.get(self.console, unbounded, table).maximum
        if room > _LEAST_LINE:
            table = self._table_of(entries, self.axes, values, has_line=True)
        elif room < 0:
            heads, rows = narrowed(self.axes, values, -room)
            table = self._table_of(entries, heads, rows, has_line=False)
        return Group(table, Text(summary_of(self.board)))

    def _table_of(
        self, entries: Sequence[Entry], heads: Sequence[str], rows: Sequence[Sequence[str]], *, has_line: bool
    ) -> RichTable:
        """The table, where there is room with a last column for what each trial says, cut to what is left."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table as RichTable
        from rich.text import Text

        has_seed = any(entry.trial.seed is not None for entry in self.board.entries)
        table = RichTable(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True, expand=has_line)
        best = self.board.value(entries[0])[0] if entries else "best"
        for column in (*heads, *(["seed"] if has_seed else []), "state", "time", best):
            table.add_column(Text(visible(column)), no_wrap=True)
        if has_line:
            table.add_column("", no_wrap=True, overflow="ellipsis", ratio=1)
        for entry, values in zip(entries, rows, strict=True):
            said = [_what_of(entry)] if has_line else []
            cells = [*values, entry.state, _time_of(entry), self.board.value(entry)[1], *said]
            table.add_row(*(Text(visible(cell)) for cell in cells), style=_STYLE.get(entry.state))
        return table


_STYLE = {"running": "bold", "failed": "red", "done": "green", "waiting": "dim"}


def narrowed(
    heads: Sequence[str], rows: Sequence[Sequence[str]], excess: int
) -> tuple[list[str], list[tuple[str, ...]]]:
    """Heads, and then values, that are cut, the longest first, until so many columns of the screen are saved."""
    longest = [max([_LEAST_CELL, *(len(row[place]) for row in rows)]) for place in range(len(heads))]
    widths = [max(len(head), width) for head, width in zip(heads, longest, strict=True)]
    for least in (longest, [_LEAST_CELL] * len(heads)):
        while excess > 0:
            place = max(range(len(heads)), key=lambda place: widths[place] - least[place], default=None)
            if place is None or widths[place] <= least[place]:
                break
            widths[place] -= 1
            excess -= 1
    short = [head if len(head) <= width else f"{head[: width - 1]}…" for head, width in zip(heads, widths, strict=True)]
    return short, [(*map(_cut, row, widths), *row[len(widths) :]) for row in rows]


def _cut(value: str, width: int) -> str:
    """A value without its middle, for values often differ at the end."""
    if len(value) <= width:
        return value
    tail = (width - 1) // 2
    return f"{value[: width - 1 - tail]}…{value[len(value) - tail :]}"


def fitting(entries: Sequence[Entry], rows: int) -> list[Entry]:
    """The trials that there is room for, in their order: first what runs, then what failed, then what was done last."""
    if len(entries) <= rows:
        return list(entries)
    ranks = {"running": 0, "elsewhere": 1, "failed": 2, "interrupted": 2, "done": 3, "waiting": 4}

    def rank(place: int) -> tuple[int, float]:
        entry = entries[place]
        return ranks[entry.state], -entry.began if entry.state == "done" else place

    chosen = sorted(range(len(entries)), key=rank)[: max(rows, 1)]
    return [entries[place] for place in sorted(chosen)]


def ending_of(entry: Entry, board: Board) -> str:
    """How a trial ended, in a line."""
    name = f"{entry.trial.id} ({entry.title})"
    if entry.state == "failed":
        return f"{name}: failed: {entry.error}; see {entry.log}"
    if entry.state == "interrupted":
        return f"{name}: interrupted; run the same command to resume it"
    best, value = board.value(entry)
    return f"{name}: done in {clock(entry.seconds)}{f', {best} {value}' if value else ''}"


def summary_of(board: Board) -> str:
    """The number of finished trials, and the time that the others will take."""
    counts = board.counts()
    words = [f"{counts.get('done', 0)} of {plural(board.total, 'trial')} done"]
    for state in ("running", "elsewhere", "failed", "interrupted"):
        words += [f"{counts[state]} {state}"] if state in counts else []
    words.append(f"{clock(time.monotonic() - board.began)} so far")
    left = board.seconds_left()
    words += [f"about {clock(left)} left"] if left and not counts.get("interrupted") else []
    return ", ".join(words)


def _time_of(entry: Entry) -> str:
    seconds = time.monotonic() - entry.began if entry.state == "running" else entry.seconds
    return clock(seconds) if seconds else ""


def _what_of(entry: Entry) -> str:
    """The last message of a running trial; the error of a failed one."""
    if entry.state != "running" or not entry.log.is_file():
        return entry.error
    lines = read_tail(entry.log, _LOG_TAIL).split("\n")[:-1]
    last = next((line for line in reversed(lines) if line.strip()), "")
    return "" if last.startswith("--- ") else last
