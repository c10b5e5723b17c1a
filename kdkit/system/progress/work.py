"""A piece of work as everyone shows it: how much is done, how long it took, how long it will take."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import attrs

from kdkit.system.wording import visible

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kdkit.system.progress.interface import StageShown


@attrs.define(kw_only=True, eq=False)
class Work:
    """A task. What draws it may be another thread, so that what it reads is replaced and never changed.

    Attributes:
        name: What is done.
        unit: What is counted.
        total: How much there is; None where that is not known.
        done: How much is done.
        facts: What is shown beside it, by name.
    """

    name: str = attrs.field(converter=visible)
    unit: str
    total: int | None
    done: int
    facts: Mapping[str, str] = attrs.field(factory=dict)
    _start: int = attrs.field(init=False)
    _began: float = attrs.field(init=False)

    @_start.default
    def _as_begun(self) -> int:
        return self.done

    @_began.default
    def _now(self) -> float:
        return time.monotonic()

    def advance(self, amount: int = 1, **facts: str) -> None:
        """So much more is done."""
        self.done += amount
        if facts:
            self.facts = {**self.facts, **facts}

    @property
    def seconds(self) -> float:
        """How long it has taken here."""
        return time.monotonic() - self._began

    @property
    def left(self) -> float | None:
        """Seconds that the rest takes at the pace so far; what was done before says nothing of it."""
        fresh = self.done - self._start
        if self.total is None or fresh <= 0 or self.done >= self.total:
            return None
        return self.seconds * (self.total - self.done) / fresh

    @property
    def counted(self) -> str:
        """`312/624 steps`."""
        return f"{self.done:,}{'' if self.total is None else f'/{self.total:,}'} {self.unit}"

    @property
    def timed(self) -> str:
        """How long it will take, else how long it has taken."""
        left = self.left
        return clock(self.seconds) if left is None else f"{clock(left)} left"

    @property
    def told(self) -> tuple[str, ...]:
        """Its facts."""
        return tuple(f"{key} {value}" for key, value in self.facts.items())


def whole(stage: StageShown, works: Sequence[Work]) -> str:
    """How long a run has taken so far, and how long it will take at most, where that is known."""
    left = stage.left(works[0].left if works else None)
    so_far = f"{clock(stage.run_seconds)} so far"
    return so_far if left is None else f"{so_far}, up to {_minutes(left)} left"


def clock(seconds: float) -> str:
    """A time for people: `3:20`, `1:02:05`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _minutes(seconds: float) -> str:
    hours, minutes = divmod(math.ceil(seconds / 60), 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"
