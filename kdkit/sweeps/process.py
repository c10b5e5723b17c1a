"""Runs a trial in its own process, so that a crash, a leak or a full memory does not touch other trials."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol

import attrs

from kdkit.runs.folders import RECIPE
from kdkit.sweeps.folder import ends_with_error, last_error, log_of, trial_folder
from kdkit.system.files import append, make_folder, write_atomically
from kdkit.system.signals import SIGNALS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kdkit.sweeps.trials import Trial

VISIBLE = "CUDA_VISIBLE_DEVICES"
THREADS = "OMP_NUM_THREADS"
STOPPED = {0, *(code for number in SIGNALS for code in (128 + number, -number))}
"""Exit codes of a trial that is done, or was told to stop."""


class Worker(Protocol):
    """A trial that was started."""

    def poll(self) -> int | None:
        """Its exit code; None while it works."""
        ...

    def send(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        ...


class Launch(Protocol):
    """Starts a trial in one of the places for concurrent trials."""

    def __call__(self, trial: Trial, folder: Path, *, slot: int) -> Worker:
        """See above."""
        ...


@attrs.define
class Process:
    """A trial in a process of its own; `logs/ID.log` has what it writes."""

    _running: subprocess.Popen[bytes]
    _log: Path

    def poll(self) -> int | None:
        """Its exit code; None while it works. If it died without a message, the cause goes to its log."""
        code = self._running.poll()
        if code is not None and code not in STOPPED and not ends_with_error(self._log):
            cause = _cause_of_death(-code) if code < 0 else last_error(self._log) or f"exit code {code}"
            with append(self._log) as log:
                log.write(f"error: {cause}\n")
        return code

    def send(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        self._running.send_signal(number)


def start(trial: Trial, folder: Path, *, environment: Mapping[str, str]) -> Process:
    """Start or resume a trial in its run folder.

    It is `kdkit run` of the recipe that lies there, in a session of its own: a terminal's Ctrl-C reaches the sweep
    alone, which passes it on.
    """
    place, log = trial_folder(folder, trial.id), log_of(folder, trial.id)
    make_folder(place)
    make_folder(log.parent)
    write_atomically(place / RECIPE, trial.recipe.to_toml().encode())
    command = [sys.executable, "-m", "kdkit", "run", str(place / RECIPE), "--run-dir", str(place)]
    with append(log) as output:
        output.write(f"--- {datetime.now(UTC).isoformat(timespec='seconds')} {' '.join(command[1:])}\n")
        output.flush()
        running = subprocess.Popen(  # noqa: S603 - it is this program
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=dict(environment),
            start_new_session=True,
        )
    return Process(running, log)


@attrs.frozen(kw_only=True)
class Places:
    """The places of concurrent trials: each has its share of the cores, and its own GPU if there are several.

    Attributes:
        jobs: How many there are.
        devices: The GPUs, as CUDA_VISIBLE_DEVICES names them; empty where there is at most one.
    """

    jobs: int
    devices: tuple[str, ...] = attrs.field(factory=lambda: _devices(os.environ))

    def __call__(self, trial: Trial, folder: Path, *, slot: int) -> Process:
        """Start a trial in one of them."""
        return start(trial, folder, environment=self.environment(slot, device=trial.recipe.device))

    def environment(self, slot: int, *, device: str, of: Mapping[str, str] = os.environ) -> dict[str, str]:
        """The environment of a trial there."""
        environment = dict(of)
        if self.jobs > 1:
            environment.setdefault(THREADS, str(threads_of_each(self.jobs)))
            if self.devices and device in {"auto", "cuda"}:
                environment[VISIBLE] = self.devices[slot % len(self.devices)]
        return environment


def threads_of_each(jobs: int) -> int:
    """The number of threads of each of so many concurrent trials."""
    return max(1, _cores() // jobs)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _devices(environment: Mapping[str, str]) -> tuple[str, ...]:
    """The GPUs where there are several; asked of the driver, since torch would open them in this process."""
    if VISIBLE in environment:
        found = [name.strip() for name in environment[VISIBLE].split(",") if name.strip()]
    elif shutil.which("nvidia-smi") is None:
        found = []
    else:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False).stdout  # noqa: S607
        found = [str(index) for index, line in enumerate(listed.splitlines()) if line.startswith("GPU ")]
    return tuple(found) if len(found) > 1 else ()


def _cause_of_death(number: int) -> str:
    name = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
    often = "; often the memory was full: lower --jobs or training.batch_size" if name == "SIGKILL" else ""
    return f"the process was killed by {name}{often}"
