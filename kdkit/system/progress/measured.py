"""Progress that measures as well: the seconds of each stage, and of the work within it, as tables for JSON."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdkit.system.progress.interface import Progress, StageShown, Task

_EVEN = "steps"
"""The unit of work that is done one by one: there the first one, which is slow, does not count for the rest."""


@attrs.define(kw_only=True)
class MeasuredWork:
    """Work of one name within a stage.

    Attributes:
        units: How much of it was done.
        before: How much had been done before.
        seconds: How long that took, without other work within it.
        even_units: Units after the first.
        even_seconds: How long these took; of work that is done in batches none.
    """

    units: int = 0
    before: int = 0
    seconds: float = 0.0
    even_units: int = 0
    even_seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Seconds a unit."""
        if self.even_units:
            return self.even_seconds / self.even_units
        return self.seconds / self.units if self.units else 0.0


@attrs.define(kw_only=True)
class MeasuredStage:
    """A stage that was done here.

    Attributes:
        seconds: How long it took.
        work: What was done in it, by name.
    """

    seconds: float = 0.0
    work: dict[str, MeasuredWork] = attrs.field(factory=dict)


@attrs.define
class Measured:
    """Passes on all that is reported to it, and measures it.

    Attributes:
        shown: Where it is shown.
        stages: The stages that were done here from their beginning.
    """

    shown: Progress
    stages: dict[str, MeasuredStage] = attrs.field(factory=dict)
    _now: MeasuredStage | None = None
    _within: list[float] = attrs.field(factory=list)  # of each piece of work that is open, seconds of others within it

    @contextmanager
    def stage(self, stage: StageShown) -> Iterator[None]:
        """A stage; one that resumes is not measured, for what was done before is not in it."""
        began, self._now = time.perf_counter(), MeasuredStage()
        try:
            with self.shown.stage(stage):
                yield
            self._now.seconds = time.perf_counter() - began
            if not stage.before:
                self.stages[stage.name] = self._now
        finally:
            self._now = None

    @contextmanager
    def task(self, name: str, *, total: int | None, unit: str, done: int = 0) -> Iterator[Task]:
        """A piece of work."""
        with self.shown.task(name, total=total, unit=unit, done=done) as task:
            if self._now is None:
                yield task
                return
            work = self._now.work.setdefault(name, MeasuredWork())
            work.before += done
            watched = _Watched(shown=task, within=self._within, place=len(self._within))
            self._within.append(0.0)
            began = time.perf_counter()
            try:
                yield watched
            finally:
                whole = time.perf_counter() - began
                own = whole - self._within.pop()
                if self._within:
                    self._within[-1] += whole
                work.units += watched.units
                work.seconds += own
                if unit == _EVEN:
                    work.even_units += watched.units - watched.first_units
                    work.even_seconds += watched.even_seconds

    def note(self, message: str) -> None:
        """A line that stays."""
        self.shown.note(message)


@attrs.define(kw_only=True)
class _Watched:
    """A piece of work that is being done."""

    shown: Task
    within: list[float]
    place: int
    units: int = 0
    first_units: int = 0
    even_seconds: float = 0.0
    _first: float | None = None

    def advance(self, amount: int = 1, **facts: str) -> None:
        """So much more is done."""
        self.units += amount
        own = time.perf_counter() - self.within[self.place]
        if self._first is None:
            self._first, self.first_units = own, amount
        self.even_seconds = own - self._first
        self.shown.advance(amount, **facts)
