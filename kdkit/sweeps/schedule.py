"""Schedules trials: some at a time, without the finished ones; a failure does not stop the others."""

from __future__ import annotations

import math
import signal
import time
from typing import TYPE_CHECKING

import attrs

from kdkit.sweeps.folder import claim_of, is_worked_on, log_of, trial_facts
from kdkit.sweeps.process import STOPPED
from kdkit.sweeps.state import Board, Entry
from kdkit.system.files import make_folder
from kdkit.system.locks import HeldError, Lock

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from kdkit.sweeps.folder import TrialFacts
    from kdkit.sweeps.process import Launch, Worker
    from kdkit.sweeps.state import Watcher
    from kdkit.sweeps.trials import Trial
    from kdkit.system.signals import Stop


@attrs.define(kw_only=True)
class Schedule:
    """Runs trials in a sweep's folder.

    A trial that another process works on is left to that, and looked at again when nothing else is to do: so several
    processes, on several machines, can work in one folder. Who starts a trial holds its claim until it has ended, since
    it takes a moment before the trial's own process locks its folder.

    Attributes:
        folder: The sweep's.
        jobs: How many trials work at a time.
        launch: Starts one.
        watcher: Is told what happens.
        stop: Whether a signal has come.
        board: What is known of the trials.
        every: Seconds between two looks at the trials that work here.
        every_other: Seconds between two looks at those that others work on.
    """

    folder: Path
    jobs: int
    launch: Launch
    watcher: Watcher
    stop: Stop
    board: Board
    every: float = 0.1
    every_other: float = 1.0
    _looked: float = -math.inf
    _has_begun: bool = False
    _working: dict[int, tuple[Entry, Worker, Lock]] = attrs.field(factory=dict)

    def run(self, trials: Iterable[Trial]) -> list[Entry]:
        """Run trials until each is done or has failed, or a signal has come.

        Returns:
            An entry for each.
        """
        entries = self.add(trials)
        self._has_begun = True
        try:
            while self._step(entries):
                self.watcher.tick()
                time.sleep(self.every)
        except BaseException:
            self._end_all()
            raise
        return entries

    def add(self, trials: Iterable[Trial]) -> list[Entry]:
        """Put trials on the board that are to be run, here or elsewhere, with their state."""
        known = {entry.trial.id: entry for entry in self.board.entries}
        entries = []
        for trial in trials:
            entry = known.get(trial.id)
            is_new = entry is None
            if entry is None:
                entry = Entry(trial=trial, log=log_of(self.folder, trial.id))
                self.board.entries.append(entry)
            if is_new or entry.state in {"waiting", "elsewhere"}:
                self._look(entry, first=is_new and not self._has_begun)
            entries.append(entry)
        return entries

    def _step(self, entries: list[Entry]) -> bool:
        """Collect ended trials and start new ones; tells whether there are more."""
        for slot, (entry, worker, claim) in list(self._working.items()):
            code = worker.poll()
            if code is not None:
                del self._working[slot]
                claim.release()
                self._end(entry, code)
        if self.stop:
            return self._pass_on_stop()
        waiting = [entry for entry in entries if entry.state == "waiting"]
        for entry in waiting:
            if len(self._working) >= self.jobs:
                return True
            self._begin(entry)
        if not self._working and time.monotonic() - self._looked >= self.every_other:
            self._looked = time.monotonic()
            for entry in entries:
                if entry.state == "elsewhere":
                    self._look(entry)
        return bool(self._working) or any(entry.state in {"waiting", "elsewhere"} for entry in entries)

    def _begin(self, entry: Entry) -> None:
        """Start a trial unless another process has done it meanwhile, or is about to."""
        self._look(entry)
        if entry.state != "waiting":
            return
        claim = Lock(claim_of(self.folder, entry.trial.id))
        make_folder(claim_of(self.folder, entry.trial.id).parent)
        try:
            claim.acquire(0)
        except HeldError:  # another process was quicker
            return
        slot = next(number for number in range(self.jobs) if number not in self._working)
        entry.state, entry.began, entry.worked = "running", time.monotonic(), entry.seconds
        self._working[slot] = entry, self.launch(entry.trial, self.folder, slot=slot), claim
        self.watcher.started(entry)

    def _look(self, entry: Entry, *, first: bool = False) -> None:
        """See in its run folder whether a trial is still to be done, and by whom."""
        facts = self._facts(entry)
        entry.take(facts)
        before = entry.state
        if facts.status == "done":
            entry.state, entry.before = "done", first
            if not first:
                self.watcher.ended(entry)
        elif is_worked_on(self.folder, entry.trial.id):
            entry.state = "elsewhere"
            if before != "elsewhere":
                self.watcher.note(f"{entry.trial.id} ({entry.title}): another process is working on it; waiting for it")
        else:
            entry.state = "waiting"

    def _end(self, entry: Entry, code: int) -> None:
        """A trial's process has ended."""
        facts = self._facts(entry)
        entry.take(facts)
        if facts.status == "done":
            entry.state = "done"
            if not entry.worked:
                entry.took = time.monotonic() - entry.began
        elif facts.status == "running" or is_worked_on(self.folder, entry.trial.id):  # another process was quicker
            entry.state = "elsewhere"
            return
        elif code in STOPPED and code != 0:
            entry.state, entry.error = "interrupted", ""
        else:
            entry.state = "failed"
            entry.error = facts.error or f"its process ended with exit code {code}"
        self.watcher.ended(entry)

    def _facts(self, entry: Entry) -> TrialFacts:
        return trial_facts(
            self.folder,
            entry.trial.id,
            values=entry.trial.values,
            seed=entry.trial.seed,
        )

    def _pass_on_stop(self) -> bool:
        """Tell the trials, once, to save and exit; tells whether some have not exited yet."""
        assert self.stop.signal is not None
        for entry, worker, _ in self._working.values():
            if entry.state == "running":
                worker.send(self.stop.signal)
                entry.state = "interrupted"
        return bool(self._working)

    def _end_all(self) -> None:
        """Kill the running trials: at a second Ctrl-C, or because of a fault here."""
        for _, worker, claim in self._working.values():
            worker.send(signal.SIGKILL)
            claim.release()
