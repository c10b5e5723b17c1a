"""Handles Ctrl-C, SIGTERM and a closed terminal (SIGHUP): finish the step, save, say how to resume.

A thread that runs something for another one may be asked to stop by an event (`stopped_by`). It ends in the same places
as by a signal; where a signal would cut work off in the middle, `poll` looks at the event now and then.
"""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from kdkit.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


SIGNALS = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))


_EVENT: ContextVar[threading.Event | None] = ContextVar("event", default=None)
"""What asks the work of this thread to stop."""
_AT_ONCE: ContextVar[bool] = ContextVar("at once", default=False)
"""Whether that work may be cut off where it is."""
_SLICE = 0.5
"""Seconds between two looks at the event while another run is waited for."""
SIGNAL = 128
"""An exit code is that and the signal's number, where a signal ended the process."""


class Kept:
    """What handles a signal that comes where nothing can be saved: it waits for the work that can act on it."""

    def __init__(self) -> None:
        self.number: int | None = None

    def __call__(self, number: int, frame: Any) -> None:  # noqa: ARG002 - the signature is Python's
        """Note the signal."""
        self.number = number


class Stop:
    """Whether a signal, or the event of `stopped_by`, has asked the running work to end."""

    def __init__(self) -> None:
        self._signal: int | None = None
        self._event = _EVENT.get()
        self._at_once = False

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def signal(self) -> int | None:
        """The signal; an event counts as Ctrl-C."""
        if self._signal is None and self._event is not None and self._event.is_set():
            return signal.SIGINT
        return self._signal

    @signal.setter
    def signal(self, number: int) -> None:
        self._signal = number

    def leave(self, saved: str) -> Interrupted:
        """The error to raise once everything is saved.

        Args:
            saved: What was saved, as the start of a sentence: "saved a checkpoint at step 120".
        """
        number = self.signal if self.signal is not None else signal.SIGINT
        if self._event is not None and self._event.is_set():
            return Interrupted(f"cancelled; {saved}; run it again to resume", signal_exit_code=SIGNAL + number)
        word = "interrupted" if number == signal.SIGINT else "terminated"
        return Interrupted(f"{word}; {saved}; run the same command to resume", signal_exit_code=SIGNAL + number)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Within the block a signal raises `KeyboardInterrupt`: for long work that leaves nothing half done.

        Raises:
            KeyboardInterrupt: One has come before.
        """
        self._at_once, before = True, _AT_ONCE.set(True)
        try:
            if self.signal is not None:
                raise KeyboardInterrupt
            yield
        finally:
            self._at_once = False
            _AT_ONCE.reset(before)

    def ask(self, number: int) -> None:
        """The reaction to a signal.

        Raises:
            KeyboardInterrupt: Within `at_once`, or at the second Ctrl-C.
        """
        second = self._signal is not None and number == signal.SIGINT
        self._signal = number
        if self._at_once or second:
            raise KeyboardInterrupt


@contextmanager
def graceful() -> Iterator[Stop]:
    """Within the block the first Ctrl-C or SIGTERM only sets the `Stop`; a second Ctrl-C ends at once.

    The loop inside looks at the `Stop` wherever it can save and leave. Outside the main thread signals are left alone.
    """
    stop, before = Stop(), _AT_ONCE.set(False)
    try:
        with _on_signals(stop.ask):
            yield stop
    finally:
        _AT_ONCE.reset(before)


@contextmanager
def stopped_by(event: threading.Event | None) -> Iterator[None]:
    """Within the block an event that another thread sets asks the work of this thread to stop, as Ctrl-C would.

    Args:
        event: The event; None for none.
    """
    before = _EVENT.set(event)
    try:
        yield
    finally:
        _EVENT.reset(before)


def poll() -> None:
    """End work that may be cut off where it is if the event of `stopped_by` asks for that.

    Raises:
        KeyboardInterrupt: It does.
    """
    event = _EVENT.get()
    if event is not None and _AT_ONCE.get() and event.is_set():
        raise KeyboardInterrupt


def acquired(acquire: Callable[[float], bool]) -> None:
    """Wait for a lock, however long, and look at the event meanwhile.

    Args:
        acquire: Waits for it so many seconds, and tells whether it has it.

    Raises:
        KeyboardInterrupt: A signal came, or the event asks for a stop, within `leaving`.
    """
    while not acquire(_SLICE):
        poll()


@contextmanager
def leaving(saved: str) -> Iterator[None]:
    """Within the block Ctrl-C or SIGTERM ends at once, with the sentence: for work that can be cut off anywhere.

    Args:
        saved: See `Stop.leave`.

    Raises:
        Interrupted: A signal came.
    """
    stop = Stop()
    try:
        with stop.at_once(), _on_signals(stop.ask):
            yield
    except KeyboardInterrupt:
        raise stop.leave(saved) from None


def keep_signals() -> None:
    """From now on signals outside of `graceful` and `leaving` end nothing; the next such block acts on them.

    For one of several processes: a launcher ends all of them once one has failed, and they have to say first what they
    know of it.
    """
    kept = Kept()
    for number in SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, kept)


def ignore_signals() -> None:
    """From now on ignore signals: the process is about to end with its own code."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def _on_signals(handle: Callable[[int], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def on_signal(number: int, frame: Any) -> None:  # noqa: ARG001
        handle(number)

    heard = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]  # nohup ignores SIGHUP
    previous = {number: signal.signal(number, on_signal) for number in heard}
    try:
        for kept in {handler for handler in previous.values() if isinstance(handler, Kept)}:
            if kept.number is not None:
                handle(kept.number)
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
