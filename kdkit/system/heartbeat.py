"""Signs of life of the processes of a run, so that one that hangs is noticed, named and not waited for.

A process that dies closes its connections, which the others notice at once. One that hangs (stopped, or on a machine
that is frozen or cut off) closes nothing, and the others would wait for it. So each process counts up in the store
where they met, from a thread that works however long the process computes, and looks at the counts of the others. It
counts silence only while it runs itself: a job that was suspended as a whole misses nobody when it continues.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import sys
import threading
import time
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from kdkit.errors import Lost, UsageError
from kdkit.system.signals import SIGNAL, SIGNALS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

VARIABLE = "KDKIT_PATIENCE"
PATIENCE = 300.0
"""Seconds of silence after which a process is taken to hang: no work keeps its thread from counting for so long."""
ONCE_ASKED = 10.0
"""The same once a signal has asked this process to stop."""
SLICE = timedelta(seconds=0.2)
"""How long a wait for other processes goes without a look at signals, and at who is silent."""


def patience(environment: Mapping[str, str] = os.environ) -> float:
    """How long a silent process is waited for, in seconds.

    Raises:
        UsageError: The environment names no such time.
    """
    text = environment.get(VARIABLE, str(PATIENCE))
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise UsageError(
            f"{VARIABLE} is {text!r}; give a number of seconds after which to stop waiting for a silent process"
        )
    return seconds


class Heartbeat:
    """What this process shows the others, and knows of them. Its threads end with the process.

    Attributes:
        store_is_silent: Whether the store where all met answers no more.

    Args:
        store: A connection to that store which nobody else uses.
        rank: Which process this one is.
        size: How many there are.
        seconds: How long a silent one is waited for.
    """

    def __init__(self, store: Any, rank: int, size: int, seconds: float) -> None:
        self._store, self._rank, self._size, self._patience = store, rank, size, seconds
        self._every = min(2.0, seconds / 20)
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        self._keys = [f"kdkit/heartbeat/{attempt}/{each}" for each in range(size)]
        self._counts: list[bytes] = []
        self._rounds = 0
        self._is_over = False
        self._silences = [0.0] * size
        self._store_silence = 0.0
        self._signal: int | None = None
        self._asked = 0.0  # seconds since then
        self._lost: Lost | None = None
        self._lost_rank = -1
        self._thread: int | None = None
        self.store_is_silent = False

    def start(self) -> None:
        """Show signs of life from now on, and look for those of the others."""
        heard = _signals_heard()
        threading.Thread(target=self._beat, name="kdkit heartbeat", daemon=True).start()
        threading.Thread(target=self._watch, args=(heard,), name="kdkit watch", daemon=True).start()

    def check(self) -> None:
        """Refuse to wait any longer.

        Raises:
            Lost: A process has been silent for too long; or a signal has asked to stop for as long.
        """
        if self._lost is not None:
            raise self._lost
        if self._signal is not None and self._asked > self._patience:
            raise Lost(
                f"the other processes have not stopped {self._asked:.0f} s after a signal asked them to "
                f"({VARIABLE} is {self._patience:g} s), so this one stops waiting; run the same command to "
                "resume from the last saved state",
                signal_exit_code=SIGNAL + self._signal,
            )

    @contextmanager
    def ending_waits(self) -> Iterator[None]:
        """Within the block, end this process if it waits inside torch for a process that hangs.

        Those that wait end one after another, so a wait may also fail since one of them has ended before.
        """
        self._thread = threading.get_ident()
        try:
            yield
        except RuntimeError:  # torch's: errors of kdkit are no RuntimeErrors
            self._end()
            raise
        finally:
            self._thread = None

    def _beat(self) -> None:
        for count in itertools.count():
            try:
                self._store.set(self._keys[self._rank], str(count))
                if self._store.check(self._keys):
                    self._counts = self._store.multi_get(self._keys)
                else:  # a process has not begun
                    self._counts = [self._store.get(key) if self._store.check([key]) else b"" for key in self._keys]
            except RuntimeError:  # the store has gone with its process, whose connections tell the others
                self._is_over = True
                return
            self._rounds += 1
            time.sleep(self._every)

    def _watch(self, heard: int | None) -> None:
        before, rounds, last, stuck, place = list(self._counts), 0, time.monotonic(), 0.0, (0, 0)
        while not self._is_over:
            time.sleep(self._every)
            now = time.monotonic()
            elapsed, last = min(now - last, 2 * self._every), now
            self._signal = _signal_in(heard) or self._signal
            self._asked += elapsed if self._signal is not None else 0.0
            counts, rounds_now = list(self._counts), self._rounds
            if rounds_now == rounds:
                self._store_silence += elapsed
            else:
                self._store_silence = 0.0
                for rank in range(self._size) if before else ():
                    self._silences[rank] = 0.0 if counts[rank] != before[rank] else self._silences[rank] + elapsed
                before, rounds = counts, rounds_now
            self._judge()
            stuck, place = self._stuck(stuck, place, elapsed)
            if stuck > self._limit:
                self._end()

    @property
    def _limit(self) -> float:
        return self._patience if self._signal is None else min(self._patience, ONCE_ASKED)

    def _judge(self) -> None:
        """Whether a process is lost; a process that shows signs of life again in time is not."""
        rank = max((each for each in range(self._size) if each != self._rank), key=lambda each: self._silences[each])
        silence = self._silences[rank]
        self.store_is_silent = self._store_silence > self._limit
        if self.store_is_silent:
            silence = self._store_silence
            rank = -1 if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" else 0
        if silence <= self._limit:
            self._lost = None
            return
        who = f"process {rank} of {self._size}" if rank >= 0 else f"the launcher at {os.environ.get('MASTER_ADDR')}"
        self._lost_rank = rank
        self._lost = Lost(
            f"{who} has shown no sign of life for {silence:.0f} s, so the others stop waiting for it "
            f"({VARIABLE} is {self._patience:g} "
            f"s{'' if self._signal is None else ', and a signal asked to stop'}); check it, and run the same "
            "command to resume from the last saved state",
            signal_exit_code=SIGNAL + self._signal if self._signal is not None else Lost.exit_code,
        )

    def _stuck(self, before: float, place: tuple[int, int], elapsed: float) -> tuple[float, tuple[int, int]]:
        """For how long the process has been in one place while another is lost; and that place."""
        frame = sys._current_frames().get(self._thread) if self._thread is not None else None  # noqa: SLF001 - the only way
        if frame is None or self._lost is None:
            return 0.0, place
        here = (id(frame), frame.f_lasti)
        return (before + elapsed if here == place else 0.0), here

    def _end(self) -> None:
        """End the process: a wait within torch, for gradients of FSDP or on a GPU, cannot be left otherwise."""
        lost = self._lost
        if lost is None:
            return
        if self._rank == min(each for each in range(self._size) if each != self._lost_rank):
            with contextlib.suppress(OSError):
                os.write(2, f"error: {lost}\n".encode())
        os._exit(lost.signal_exit_code)


def _signals_heard() -> int | None:
    """Where the numbers of signals can be read that come while the process waits within torch; None if nowhere."""
    if threading.current_thread() is not threading.main_thread():
        return None
    reading, writing = os.pipe()
    for end in (reading, writing):
        os.set_blocking(end, False)
    other = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    if other != -1:  # of an event loop, which needs it
        signal.set_wakeup_fd(other)
        return None
    return reading


def _signal_in(heard: int | None) -> int | None:
    """The last number that was written there."""
    if heard is None:
        return None
    with contextlib.suppress(BlockingIOError):
        numbers = [number for number in os.read(heard, 1000) if number in set(SIGNALS)]
        return numbers[-1] if numbers else None
    return None
