"""Trackers (`[track]`), kept at a distance: whatever one does, the run continues as if there were none.

A tracker is called from a thread of its own, through a queue that has an end. The first call that fails is noted, and
is the last; nobody waits for one that hangs but for a little while at the start and at the end.
"""

from __future__ import annotations

import math
import queue
import threading
from typing import TYPE_CHECKING, Any, Protocol

from kdkit.errors import MissingInput

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kdkit.api.interfaces import OpenTracker
    from kdkit.api.values import Score

OPEN_SECONDS = 30.0
FINISH_SECONDS = 60.0
STOP_SECONDS = 5.0
_CALLS = 1000


class Tracking(Protocol):
    """A receiver of the lines of `metrics.jsonl` as they are written."""

    def tell(self, stage: str, facts: Mapping[str, Any]) -> None:
        """A line: what is trained, and the facts of the line."""
        ...


class Untracked:
    """A receiver that ignores all lines."""

    def tell(self, stage: str, facts: Mapping[str, Any]) -> None:
        """Nothing."""


UNTRACKED = Untracked()


class Guard:
    """An open tracker, or an abandoned one.

    Args:
        name: What it is called, for notes.
        begin: Opens it; called in the thread.
        note: Where it is said that it was given up.
        calls: How many may wait for it.
    """

    def __init__(
        self, name: str, begin: Callable[[], OpenTracker], note: Callable[[str], None], *, calls: int = _CALLS
    ) -> None:
        self._name, self._begin, self._note = name, begin, note
        self._waiting: queue.Queue[Callable[[OpenTracker], None]] = queue.Queue(calls)
        self._begun, self._ended = threading.Event(), threading.Event()
        self._refusal: MissingInput | None = None
        self._given_up, self._giving_up = False, threading.Lock()
        self._thread = threading.Thread(target=self._work, name=f"tracker {name}", daemon=True)

    def start(self, *, seconds: float = OPEN_SECONDS) -> None:
        """Open the tracker, without waiting for a slow one.

        Raises:
            MissingInput: Its library is not installed.
        """
        self._thread.start()
        self._begun.wait(seconds)
        if self._refusal is not None:
            raise self._refusal

    def tell(self, stage: str, facts: Mapping[str, Any]) -> None:
        """Pass on a line of `metrics.jsonl`, without waiting."""
        numbers, step = numbers_of(stage, facts), facts["step"]
        self._send(lambda tracker: tracker.log(numbers, step=step))

    def finish(self, scores: Mapping[str, float], *, seconds: float = FINISH_SECONDS) -> None:
        """End the tracker; a slow one is abandoned."""
        self._send(lambda tracker: self._finish(tracker, scores))
        # Who has not begun by now will not.
        limit = seconds if self._begun.is_set() else min(seconds, STOP_SECONDS)
        if not self._ended.wait(limit):
            self._give_up(f"had not finished {limit:.0f} s after the end of the run")

    def _finish(self, tracker: OpenTracker, scores: Mapping[str, float]) -> None:
        tracker.finish(scores)
        self._ended.set()

    def _send(self, call: Callable[[OpenTracker], None]) -> None:
        if self._ended.is_set():
            return
        try:
            self._waiting.put_nowait(call)
        except queue.Full:
            self._give_up(f"does not keep up: {self._waiting.maxsize} lines are waiting for it")

    def _work(self) -> None:
        try:
            tracker = self._begin()
            self._begun.set()
            while not self._ended.is_set():
                self._waiting.get()(tracker)
        except MissingInput as error:
            self._refusal = error
        except BaseException as error:  # noqa: BLE001 - a stranger's library, which is not to stop a run
            self._give_up(f"failed ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})")
        finally:
            self._begun.set()
            self._ended.set()

    def _give_up(self, why: str) -> None:
        self._ended.set()
        with self._giving_up:
            before, self._given_up = self._given_up, True
        if not before:
            self._note(f"warning: the tracker {self._name} {why}; the run continues without it")


def numbers_of(stage: str, facts: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of a line of `metrics.jsonl`, named as `student/train/loss` and `student/validation/text/f1`."""
    prefix = f"{stage}/{facts['kind']}"
    return {
        f"{prefix}/{key.replace('.', '/')}": float(value)
        for key, value in facts.items()
        if key != "step" and _is_number(value)
    }


def scores_of(scores: Sequence[Score]) -> dict[str, float]:
    """Scores, named as `student/truth/text/f1`."""
    return {
        f"{each.model}/{each.against.replace(' ', '-')}/{each.suite}/{each.metric}": each.value
        for each in scores
        if _is_number(each.value)
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
