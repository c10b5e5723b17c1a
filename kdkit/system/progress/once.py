"""Progress of several pieces of work that may note the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from kdkit.system.progress.interface import Progress, StageShown, Task


class Once:
    """Progress that is shown elsewhere, each note once."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self._noted: set[str] = set()

    def stage(self, stage: StageShown) -> AbstractContextManager[None]:
        """The stage of the inner progress."""
        return self._shown.stage(stage)

    def task(self, name: str, *, total: int | None, unit: str, done: int = 0) -> AbstractContextManager[Task]:
        """The task of the inner progress."""
        return self._shown.task(name, total=total, unit=unit, done=done)

    def note(self, message: str) -> None:
        """The note of the inner progress, the first time."""
        if message not in self._noted:
            self._noted.add(message)
            self._shown.note(message)
