"""Progress: bars on a terminal, a line every few seconds elsewhere, nothing in scripts that do not ask for it."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol, TextIO

from kdkit.system.wording import visible

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from rich import progress as bars
    from rich.console import Console


class Task(Protocol):
    """One piece of work whose progress is shown."""

    def advance(self, amount: int = 1, **facts: str) -> None:
        """So much more is done; `facts`, such as loss="1.32", are shown beside the bar."""
        ...


class Progress(Protocol):
    """Where stages report what they are doing."""

    def task(self, name: str, *, total: int | None, unit: str, done: int = 0) -> AbstractContextManager[Task]:
        """A context manager around a piece of work.

        Args:
            name: What is done: "capture".
            total: How much there is; None if that is not known.
            unit: Of what: "rows".
            done: How much was done before (after resuming).
        """
        ...

    def note(self, message: str) -> None:
        """One line that stays."""
        ...


class Silent:
    """Progress that shows nothing: the default in scripts."""

    @contextmanager
    def task(self, name: str, *, total: int | None, unit: str, done: int = 0) -> Iterator[Task]:  # noqa: ARG002
        """A task that shows nothing."""
        yield _SilentTask()

    def note(self, message: str) -> None:
        """Nothing."""


class _SilentTask:
    def advance(self, amount: int = 1, **facts: str) -> None:
        pass


class Lines:
    """Progress as plain lines, one every few seconds: for logs and pipes."""

    def __init__(self, stream: TextIO | None = None, *, every: float = 5.0) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._every = every

    @contextmanager
    def task(self, name: str, *, total: int | None, unit: str, done: int = 0) -> Iterator[Task]:
        """A task that writes a line every few seconds, and one at its end."""
        task = _LineTask(self, name, total, unit, done, self._every)
        yield task
        task.show()

    def note(self, message: str) -> None:
        """One line."""
        print(visible(message), file=self._stream, flush=True)


class _LineTask:
    def __init__(self, lines: Lines, name: str, total: int | None, unit: str, done: int, every: float) -> None:
        self._lines, self._name, self._total, self._unit = lines, name, total, unit
        self._done = self._start = done
        self._every = every
        self._began = self._shown = time.monotonic()
        self._facts: dict[str, str] = {}

    def advance(self, amount: int = 1, **facts: str) -> None:
        self._done += amount
        self._facts.update(facts)
        at_end = self._done == self._total  # the line of a task's end follows
        if not at_end and time.monotonic() - self._shown >= self._every:
            self.show()

    def show(self) -> None:
        now = self._shown = time.monotonic()
        seconds = now - self._began
        of_total = f" of {self._total}" if self._total is not None else ""
        parts = [f"{self._name}: {self._done}{of_total} {self._unit}", *(f"{k} {v}" for k, v in self._facts.items())]
        fresh = self._done - self._start
        if self._total is not None and fresh > 0 and self._done < self._total:
            parts.append(f"{clock(seconds * (self._total - self._done) / fresh)} left")
        else:
            parts.append(clock(seconds))
        self._lines.note(", ".join(parts))


class Bars:
    """Progress as rich bars on a terminal: one display, however deep tasks are nested."""

    def __init__(self, console: Console | None = None) -> None:
        from rich import progress as bars
        from rich.console import Console

        self.console = console if console is not None else Console(stderr=True)
        self._open = 0
        self._shown = bars.Progress(
            bars.TextColumn("{task.description:<10}", markup=False),
            bars.BarColumn(bar_width=24),
            bars.MofNCompleteColumn(),
            bars.TextColumn("{task.fields[unit]}", markup=False),
            bars.TimeElapsedColumn(),
            bars.TextColumn("eta"),
            bars.TimeRemainingColumn(),
            bars.TextColumn("{task.fields[facts]}", markup=False),
            console=self.console,
        )

    @contextmanager
    def task(self, name: str, *, total: int | None, unit: str, done: int = 0) -> Iterator[Task]:
        """A bar with what is done, how long it took, and how long it will take."""
        bar = self._shown.add_task(visible(name), total=total, completed=done, unit=unit, facts="")
        self._open += 1
        self._shown.start()
        try:
            yield _BarTask(self._shown, bar)
        finally:
            self._open -= 1
            if self._open == 0:
                self._shown.stop()  # what is shown last stays on the screen
            self._shown.remove_task(bar)

    def note(self, message: str) -> None:
        """One line above the bars."""
        self.console.print(visible(message), markup=False, highlight=False, emoji=False)


class _BarTask:
    def __init__(self, shown: bars.Progress, bar: bars.TaskID) -> None:
        self._shown, self._bar = shown, bar
        self._facts: dict[str, str] = {}

    def advance(self, amount: int = 1, **facts: str) -> None:
        self._facts.update(facts)
        text = "  ".join(f"{key} {value}" for key, value in self._facts.items())
        self._shown.update(self._bar, advance=amount, facts=text)


def for_stderr() -> Progress:
    """Bars where standard error is a terminal, else lines."""
    return Bars() if sys.stderr.isatty() else Lines()


def clock(seconds: float) -> str:
    """A time for people: `3:20`, `1:02:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
