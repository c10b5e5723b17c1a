"""The interface of progress: reports about running work, and their receiver."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

SOONEST = 5.0
"""Seconds of work before which its pace says nothing of the rest of a run."""


class Task(Protocol):
    """One piece of work whose progress is shown."""

    def advance(self, amount: int = 1, **facts: str) -> None:
        """More work is done; `facts`, such as loss="1.32", are shown beside the bar, the first of them always."""
        ...


class Progress(Protocol):
    """Where stages report what they are doing."""

    def stage(self, stage: StageShown) -> AbstractContextManager[None]:
        """A context manager around a stage of a run."""
        ...

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


@attrs.frozen(kw_only=True)
class StageShown:
    """A stage of a run that is being done, and how far the whole run is.

    Attributes:
        name: Its name.
        number: Which stage it is, from 1.
        count: How many stages the run has.
        began: When the run began here, by the monotonic clock.
        before: Seconds that earlier tries of this stage took.
        expected: Seconds that it should take in all; None where nothing tells.
        later: Seconds that the stages after it will take, given those that it takes in all; None where nothing tells.
    """

    name: str
    number: int
    count: int
    began: float
    before: float = 0.0
    expected: float | None = None
    later: Callable[[float], float | None] = lambda _: None
    _entered: float = attrs.field(init=False)

    @_entered.default
    def _now(self) -> float:
        return time.monotonic()

    def __str__(self) -> str:
        """Which stage it is: `stage 5 of 8: distill`."""
        return f"stage {self.number} of {self.count}: {self.name}"

    @property
    def seconds(self) -> float:
        """Seconds since the stage began in this process."""
        return time.monotonic() - self._entered

    @property
    def run_seconds(self) -> float:
        """Seconds since the run began in this process."""
        return time.monotonic() - self.began

    def left(self, of_work: float | None) -> float | None:
        """Seconds until the run's end, as far as what was measured in it tells; else None.

        Args:
            of_work: Seconds that what is being worked on will take; None where nothing tells.
        """
        so_far = self.before + self.seconds
        if self.expected is not None:
            rest = max(self.expected - so_far, of_work or 0.0)
        elif of_work is None or self.seconds < SOONEST:
            return None
        else:
            rest = of_work
        after = self.later(so_far + rest)
        return None if after is None or rest + after <= 0 else rest + after


class Silent:
    """Progress that shows nothing."""

    @contextmanager
    def stage(self, stage: StageShown) -> Iterator[None]:  # noqa: ARG002
        """A stage that shows nothing."""
        yield

    @contextmanager
    def task(self, name: str, *, total: int | None, unit: str, done: int = 0) -> Iterator[Task]:  # noqa: ARG002
        """A task that shows nothing."""
        yield _SilentTask()

    def note(self, message: str) -> None:
        """Nothing."""


class _SilentTask:
    def advance(self, amount: int = 1, **facts: str) -> None:
        pass
