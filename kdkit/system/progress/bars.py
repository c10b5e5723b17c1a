"""Progress as bars on a terminal: the stage and the time of the whole run, and a line for each piece of work."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from kdkit.system.progress.work import Work, clock, whole
from kdkit.system.wording import visible, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.table import Table

    from kdkit.system.progress.interface import StageShown, Task

EACH_SECOND = 4
"""How often it is drawn."""
SHORTEST, USUAL, LONGEST = 8, 20, 40
"""Columns of a bar: where there is no room for the shortest, there is none; further facts leave it the usual."""
GAP = 2
LEAST_NAME = 8


class Bars:
    """Progress on a terminal: one display, however deep tasks are nested. It leaves the notes, and nothing else."""

    def __init__(self, console: Console | None = None) -> None:
        from rich.console import Console
        from rich.live import Live

        self.console = console if console is not None else Console(stderr=True)
        self._shown = _Shown()
        self._open = 0
        self._live = Live(
            console=self.console,
            get_renderable=lambda: self._shown,
            refresh_per_second=EACH_SECOND,
            transient=True,
        )

    @contextmanager
    def stage(self, stage: StageShown) -> Iterator[None]:
        """A stage; a line with its time stays."""
        self._shown.stage = stage
        try:
            with self._drawn():
                yield
        finally:
            self._shown.stage = None
        self.note(f"{stage}, {clock(stage.before + stage.seconds)}")

    @contextmanager
    def task(self, name: str, *, total: int | None, unit: str, done: int = 0) -> Iterator[Task]:
        """A bar with what is done and how long the rest will take."""
        work = Work(name=name, total=total, unit=unit, done=done)
        self._shown.works = (*self._shown.works, work)
        try:
            with self._drawn():
                yield work
        finally:
            self._shown.works = tuple(other for other in self._shown.works if other is not work)

    def note(self, message: str) -> None:
        """A sentence above the bars, whose lines end between words."""
        text = wrapped(visible(message), self.console.width)
        self.console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)

    @contextmanager
    def _drawn(self) -> Iterator[None]:
        self._open += 1
        if self._open == 1:
            self._live.start(refresh=True)
        try:
            yield
        finally:
            self._open -= 1
            if not self._open:
                self._live.stop()


class _Shown:
    """What is drawn, for as many columns as there are at that moment."""

    def __init__(self) -> None:
        self.stage: StageShown | None = None
        self.works: tuple[Work, ...] = ()

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        stage, works = self.stage, self.works
        if stage is not None:
            yield _head(str(stage), whole(stage, works), options.max_width)
        if works:
            yield _rows(works, options.max_width)


def _head(left: str, right: str, width: int) -> RenderableType:
    from rich.text import Text

    gap = max(width - len(left) - len(right), GAP)
    return Text.assemble((left, "bold"), " " * gap, (right, "dim"), no_wrap=True, overflow="ellipsis")


def _rows(works: Sequence[Work], width: int) -> Table:
    """A line for each work: steps, time and the first fact always, bar and other facts where there is room."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    name, counted, timed, first = (
        max(map(len, texts))
        for texts in (
            [work.name for work in works],
            [work.counted for work in works],
            [work.timed for work in works],
            [next(iter(work.told), "") for work in works],
        )
    )
    needed = counted + timed + (first + GAP if first else 0) + 2 * GAP
    name = min(name, max(width - needed, LEAST_NAME))
    room = width - name - needed - GAP
    facts = [_fitting(work.told, first + max(room - USUAL, 0)) for work in works]
    room -= max(map(len, facts)) - first
    bar = min(room, LONGEST) if room >= SHORTEST else 0
    grid = Table.grid(padding=(0, GAP, 0, 0), pad_edge=False)
    grid.add_column(width=name, no_wrap=True, overflow="ellipsis")
    if bar:
        grid.add_column(width=bar)
    grid.add_column(width=counted, no_wrap=True, justify="right")
    grid.add_column(width=timed, no_wrap=True, justify="right", style="cyan")
    if any(facts):  # an empty column still takes the gap before it
        grid.add_column(no_wrap=True, overflow="ellipsis")
    for work, told in zip(works, facts, strict=True):
        drawn = [ProgressBar(total=work.total, completed=work.done, width=bar)] if bar else []
        last = [Text(told)] if any(facts) else []
        grid.add_row(Text(work.name), *drawn, Text(work.counted), Text(work.timed), *last)
    return grid


def _fitting(facts: Sequence[str], width: int) -> str:
    """The first fact, and of the others as many as there is room for."""
    told = facts[0] if facts else ""
    for fact in facts[1:]:
        if len(told) + GAP + len(fact) > width:
            break
        told += " " * GAP + fact
    return told
