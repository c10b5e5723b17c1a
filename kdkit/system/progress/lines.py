"""Progress as plain lines, for logs and pipes."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, TextIO

from kdkit.system.progress.work import Work, clock, whole
from kdkit.system.wording import visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdkit.system.progress.interface import StageShown, Task


class Lines:
    """Progress as plain lines: one at the start of a stage, one every few seconds, one at the end of a task."""

    def __init__(self, stream: TextIO | None = None, *, every: float = 5.0) -> None:
        self._stream = stream if stream is not None else sys.stderr
        self._every = every

    @contextmanager
    def stage(self, stage: StageShown) -> Iterator[None]:
        """A stage whose beginning is a line."""
        self.note(f"{stage}; {whole(stage, ())}")
        yield

    @contextmanager
    def task(self, name: str, *, total: int | None, unit: str, done: int = 0) -> Iterator[Task]:
        """A task that writes a line every few seconds, and one at its end."""
        task = _Shown(self, Work(name=name, total=total, unit=unit, done=done), self._every)
        yield task
        task.show()

    def note(self, message: str) -> None:
        """One line."""
        print(visible(message), file=self._stream, flush=True)


class _Shown:
    def __init__(self, lines: Lines, work: Work, every: float) -> None:
        self._lines, self._work, self._every = lines, work, every
        self._last = time.monotonic()

    def advance(self, amount: int = 1, **facts: str) -> None:
        self._work.advance(amount, **facts)
        at_end = self._work.done == self._work.total  # the line of a task's end follows
        if not at_end and time.monotonic() - self._last >= self._every:
            self.show()

    def show(self) -> None:
        work, self._last = self._work, time.monotonic()
        of_total = f" of {work.total}" if work.total is not None else ""
        left = work.left
        taken = clock(work.seconds) if left is None else f"{clock(left)} left"
        self._lines.note(", ".join((f"{work.name}: {work.done}{of_total} {work.unit}", *work.told, taken)))
