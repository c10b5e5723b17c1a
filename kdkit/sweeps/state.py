"""The state of a running sweep's trials, for the display and the exit code."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Literal, Protocol

import attrs

from kdkit.sweeps.monitors import TEACHER_LOSSES, are_comparable, hard_loss_of_best
from kdkit.sweeps.swept_keys import value_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from kdkit.sweeps.folder import TrialFacts
    from kdkit.sweeps.trials import Trial

State = Literal["waiting", "running", "elsewhere", "done", "failed", "interrupted"]


@attrs.define(kw_only=True)
class Entry:
    """A trial, and how far it is.

    Attributes:
        trial: The trial.
        log: Its log.
        state: "elsewhere" where another process works on it.
        began: When it was started here, by the monotonic clock.
        seconds: How long it worked in all.
        worked: How long it had worked when it was started here.
        took: How long it took from its start to its end, where both were seen here.
        best: The best epoch's value, once there is one.
        hard: The best epoch's hard loss, where what picked it depends on the teacher's loss.
        error: Why it failed.
        before: Whether it was done before this process began.
    """

    trial: Trial
    log: Path
    state: State = "waiting"
    began: float = 0.0
    seconds: float = 0.0
    worked: float = 0.0
    took: float | None = None
    best: float | None = None
    hard: float | None = None
    best_by: str = ""
    error: str = ""
    before: bool = False

    def take(self, facts: TrialFacts) -> None:
        """Take over the state of the run folder."""
        self.seconds, self.best, self.best_by, self.error = facts.seconds, facts.best, facts.best_by, facts.error
        if facts.best_by in TEACHER_LOSSES:
            self.hard = hard_loss_of_best(facts.folder)

    @property
    def title(self) -> str:
        """Its values in a few words."""
        return self.trial.title


class Watcher(Protocol):
    """A receiver of events of trials."""

    def started(self, entry: Entry) -> None:
        """A trial was started or resumed here."""
        ...

    def ended(self, entry: Entry) -> None:
        """A trial came to an end, as its state says."""
        ...

    def note(self, message: str) -> None:
        """One line that stays."""
        ...

    def tick(self) -> None:
        """Some time has passed."""
        ...


@attrs.define(kw_only=True)
class Board:
    """All trials of a sweep that this process has to run.

    Attributes:
        jobs: How many work at a time.
        entries: Those that are known.
        wanted: How many there are to be, where a search proposes them.
        refused: How many proposals made no trial.
        began: When this process began with them, by the monotonic clock.
    """

    jobs: int
    entries: list[Entry] = attrs.field(factory=list)
    wanted: int = 0
    refused: int = 0
    began: float = attrs.field(factory=time.monotonic)

    @property
    def total(self) -> int:
        """The number of trials to run."""
        return max(self.wanted, len(self.entries) + self.refused)

    @property
    def has_one_scale(self) -> bool:
        """Whether the values of the best epochs can stand side by side."""
        trials = [entry.trial for entry in self.entries]
        axes = {axis for trial in trials for axis in trial.values}
        return are_comparable((trial.recipe.training.best_by for trial in trials), axes)

    def value(self, entry: Entry) -> tuple[str, str]:
        """What is shown of a trial's best epoch: its name, and its value where it is known.

        Where values of what picked it cannot stand side by side, that is the hard loss, which all trials share.
        """
        name, value = entry.trial.recipe.training.best_by, entry.best
        if not self.has_one_scale:
            name, value = "hard loss", entry.hard
        return name.rpartition(".")[2].replace("_", " "), "" if value is None else f"{value:.3f}"

    def of(self, state: State) -> list[Entry]:
        """Those in a state."""
        return [entry for entry in self.entries if entry.state == state]

    def counts(self) -> dict[State, int]:
        """How many there are in each state."""
        found: dict[State, int] = {}
        for entry in self.entries:
            found[entry.state] = found.get(entry.state, 0) + 1
        if self.refused:
            found["failed"] = found.get("failed", 0) + self.refused
        return found

    def seconds_left(self) -> float | None:
        """The time left; None before a trial is done.

        By the median of the trials that began and ended here, since the first makes what all share, and a try that was
        broken off may have had other company; where there are none yet, by that of all that are done.
        """
        done = self.of("done")
        taken = [entry.took for entry in done if entry.took is not None] or [entry.seconds for entry in done]
        if not taken:
            return None
        usual, now = statistics.median(taken), time.monotonic()
        to_come = self.total - len(self.entries) - self.refused
        left = [usual] * (len(self.of("waiting")) + to_come)
        left += [max(usual - entry.worked - (now - entry.began), 0.0) for entry in self.of("running")]
        return sum(left) / max(1, min(self.jobs, len(left)))


def in_columns(entries: Sequence[Entry]) -> Iterator[tuple[str, ...]]:
    """The axes' values and seed of each trial."""
    for entry in entries:
        values = tuple(value_text(value) for value in entry.trial.told.values())
        yield (*values, *((str(entry.trial.seed),) if entry.trial.seed is not None else ()))
