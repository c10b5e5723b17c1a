"""Measures what a model takes to write (time in batches, time of a row alone, memory), to compare two models.

The model is opened for this alone and closed afterwards. What it does first is untimed: the first batch of a process
pays for allocations and compiled kernels.
"""

from __future__ import annotations

import ctypes
import time
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import torch

from kdkit.system.progress import Silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from contextlib import AbstractContextManager

    from kdkit.api.values import EncodedExample, Prediction
    from kdkit.system.progress import Progress

    Generate = Callable[[Sequence[EncodedExample]], Iterator[Prediction]]

BATCHES = 8
ALONE = 30
"""Rows that are timed alone."""
SECONDS_ALONE = 10.0
"""Seconds after which no further row is timed alone."""

STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


@attrs.frozen(kw_only=True)
class Timing:
    """The time and memory of a model.

    Attributes:
        per_sample: Seconds a row of each timed batch; empty for a teacher that does not write itself.
        alone: Seconds of each row that was generated alone; empty likewise.
        peak_bytes: Memory at the peak of generating a batch, above what was held before the model was opened; None
            where the platform does not tell.
    """

    per_sample: list[float]
    alone: list[float]
    peak_bytes: int | None


def measure(
    opened: Callable[[], AbstractContextManager[Generate]],
    rows: Sequence[EncodedExample],
    *,
    batch_size: int,
    device: str,
    progress: Progress | None = None,
) -> Timing:
    """Time a model on some of the rows, and find its peak memory.

    Args:
        opened: Opens the model, gives what predicts rows in batches of like length, and closes it at the end.
        rows: All rows that were predicted; of none the model is opened, and nothing measured.
        batch_size: Rows a batch.
        device: Where it is.
        progress: Where it is shown that texts are timed, if anywhere.
    """
    meter = _Meter.on(device)
    with opened() as generate:
        if not rows:
            return Timing(per_sample=[], alone=[], peak_bytes=None)
        batches = spread(rows, BATCHES * batch_size)
        for _ in generate(batches[:batch_size]):
            pass
        with (progress or Silent()).task("time texts", total=len(batches), unit="rows") as task:
            per_sample = seconds_per_sample(batches, generate)
            task.advance(len(batches))
        alone = seconds_alone(spread(rows, ALONE), generate) if per_sample else []
        meter.clear()
        for _ in generate(batches[:batch_size]):
            pass
        peak = meter.peak()
    return Timing(per_sample=per_sample, alone=alone, peak_bytes=peak)


def spread(rows: Sequence[EncodedExample], at_most: int) -> Sequence[EncodedExample]:
    """So many of the rows, spread evenly over all."""
    return rows[:: max(1, len(rows) // at_most)][:at_most]


def seconds_per_sample(rows: Sequence[EncodedExample], generate: Generate) -> list[float]:
    """Seconds per row of each batch: its wall time over its rows."""
    return list(dict.fromkeys(said.seconds for said in generate(rows) if said.seconds is not None))


def seconds_alone(
    rows: Sequence[EncodedExample], generate: Generate, *, clock: Callable[[], float] = time.perf_counter
) -> list[float]:
    """Seconds of each row as a batch of its own, until `SECONDS_ALONE` are over; one more goes before, untimed."""
    for _ in generate(rows[:1]):
        pass
    began, seconds = clock(), list[float]()
    for row in rows:
        if clock() - began > SECONDS_ALONE and seconds:
            break
        seconds += [said.seconds for said in generate([row]) if said.seconds is not None]
    return seconds


@attrs.define
class _Meter:
    """Memory of a device, or of this process, since before a model was opened.

    Of the process it is what Linux notes in `/proc`: the resident set, and its highest value since that was last
    cleared. What the C library keeps for later is given back first, where it can do that.
    """

    device: str
    before: int | None

    @classmethod
    def on(cls, device: str) -> _Meter:
        """Start measuring."""
        if device.startswith("cuda"):
            return cls(device, torch.cuda.memory_allocated(device))
        if device == "cpu":
            trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if STATUS.exists() else None
            if trim is not None:
                trim(0)
            return cls(device, _status("VmRSS"))
        return cls(device, None)

    def clear(self) -> None:
        """Forget earlier peaks."""
        if self.before is None:
            return
        if self.device.startswith("cuda"):
            torch.cuda.reset_peak_memory_stats(self.device)
        else:
            try:
                CLEAR.write_text("5")
            except OSError:  # a container may keep /proc from being written
                self.before = None

    def peak(self) -> int | None:
        """The peak since the start, above the memory held before."""
        if self.before is None:
            return None
        if self.device.startswith("cuda"):
            return max(int(torch.cuda.max_memory_allocated(self.device)) - self.before, 0)
        high = _status("VmHWM")
        return max(high - self.before, 0) if high is not None else None


def _status(field: str) -> int | None:
    """A field of /proc/self/status in bytes; None where it is not told, or earlier peaks cannot be forgotten."""
    if not (STATUS.exists() and CLEAR.exists()):
        return None
    lines = STATUS.read_text(encoding="utf-8").splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{field}:")), None)
