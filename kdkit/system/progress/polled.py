"""Progress that looks, whenever work reports, whether the work is to stop."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from kdkit.system.signals import poll

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from kdkit.system.progress.interface import Progress, StageShown, Task


class Polled:
    """Progress that is shown elsewhere.

    Each report may raise `KeyboardInterrupt` where a signal would: see `kdkit.system.signals.poll`.
    """

    def __init__(self, shown: Progress) -> None:
        self._shown = shown

    def stage(self, stage: StageShown) -> AbstractContextManager[None]:
        """The stage of the inner progress."""
        return self._shown.stage(stage)

    @contextmanager
    def task(self, name: str, *, total: int | None, unit: str, done: int = 0) -> Iterator[Task]:
        """The task of the inner progress."""
        poll()
        with self._shown.task(name, total=total, unit=unit, done=done) as task:
            yield _PolledTask(task)

    def note(self, message: str) -> None:
        """The note of the inner progress."""
        self._shown.note(message)


class _PolledTask:
    def __init__(self, task: Task) -> None:
        self._task = task

    def advance(self, amount: int = 1, **facts: str) -> None:
        self._task.advance(amount, **facts)
        poll()
