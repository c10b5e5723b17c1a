"""The workers that run rows, as the process sees them that wants to know: started, asked, and replaced when they end.

A worker is a new interpreter with an environment and a folder of its own, for the tests of one package; see
`kdkit_assertions.row_worker` for what it does. It has one row at a time, so when it ends, or is not heard of in time,
it is known which row was at fault.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self, TypeAlias

import attrs

from kdkit.errors import KdkitError
from kdkit_assertions.calling import DOES_NOT_RUN, NOT_RUNNABLE
from kdkit_assertions.confinement import Confinement, unseen
from kdkit_assertions.readable import hidden_places
from kdkit_assertions.row_process import HOME
from kdkit_assertions.row_worker import ROOM
from kdkit_assertions.rows_folder import rows_folder

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit_assertions.placing import Row

Ask: TypeAlias = "tuple[Row, str | None]"
"""A row, and the text to put in its test; None for the true assertion."""

WALL = 3  # other processes may be at work as well
_IMPORT_SECONDS = 120.0
_GRACE_SECONDS = 10.0
_END_SECONDS = 5.0
_ROWS_AT_ONCE = 25
_ANSWER_BYTES = 65536
# All that is passed on of the environment: where things are, and in which language.
_PASSED_ON = ("PATH", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "OPENBLAS_CORETYPE")
_START = (
    "import json, sys; sys.path[:] = json.loads(sys.argv[1]); "
    "from kdkit_assertions.row_worker import main; main(sys.argv[2])"
)


@attrs.frozen(kw_only=True)
class Limits:
    """What a row may take.

    Attributes:
        seconds: Time that it may compute; it may live for `WALL` times as long.
        memory_bytes: Memory beyond that of the imported packages.
    """

    seconds: float
    memory_bytes: int


def verdicts_of(asks: Sequence[Ask], limits: Limits, *, workers: int) -> list[str]:
    """What becomes of each test: one of `kdkit_assertions.row_process.VERDICTS`.

    Args:
        asks: Rows and texts.
        limits: Of each.
        workers: Processes at a time at most.

    Raises:
        KdkitError: A worker cannot be started.
    """
    batches = _batches(asks)
    found: dict[Ask, str] = {}
    stop = threading.Event()
    with unseen(), rows_folder() as folder:
        waiting = iter(batches)
        lock = threading.Lock()

        def work() -> None:
            with _Worker(folder, limits, stop) as worker:
                while not stop.is_set():
                    with lock:
                        batch = next(waiting, None)
                    if batch is None:
                        return
                    found.update(zip(batch, worker.verdicts(batch), strict=True))

        with ThreadPoolExecutor(max_workers=workers) as pool:
            running = [pool.submit(work) for _ in range(min(workers, len(batches)))]
            try:
                for one in running:
                    one.result()
            finally:  # Ctrl-C and a worker that cannot be started end the others
                stop.set()
    return [found[ask] for ask in asks]


def _batches(asks: Sequence[Ask]) -> list[list[Ask]]:
    """Each ask once; those of a module together, some at a time, so that a module is imported by few workers.

    Packages follow one another, since a worker has one.
    """
    by_module: dict[str, list[Ask]] = {}
    for ask in dict.fromkeys(asks):
        by_module.setdefault(ask[0].module, []).append(ask)
    return [
        rows[start : start + _ROWS_AT_ONCE]
        for _, rows in sorted(by_module.items(), key=lambda item: _package_of(item[0]))
        for start in range(0, len(rows), _ROWS_AT_ONCE)
    ]


def confinement_here() -> Confinement:
    """What the system lets a worker be kept apart by.

    Raises:
        KdkitError: A worker cannot be started.
    """
    limits = Limits(seconds=1.0, memory_bytes=2**28)
    with unseen(), rows_folder() as folder, _Worker(folder, limits, threading.Event()) as worker:
        return worker.start("")


def _package_of(module: str) -> str:
    return module.partition(".")[0]


class _Worker:
    """A worker process, replaced by a new one whenever it has ended, and for another package."""

    def __init__(self, folder: Path, limits: Limits, stop: threading.Event) -> None:
        self._all, self._limits, self._stop = folder, limits, stop
        self._process: subprocess.Popen[bytes] | None = None
        self._package, self._module = "", ""
        self._broken: set[str] = set()
        self._errors: IO[bytes] | None = None
        self._confinement: Confinement | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def start(self, package: str) -> Confinement:
        """Start a process for a package; what its rows are confined by."""
        self._package = package
        self._start()
        assert self._confinement is not None
        return self._confinement

    def verdicts(self, batch: Sequence[Ask]) -> list[str]:
        """What becomes of some tests of one module."""
        package = _package_of(batch[0][0].module)
        if package != self._package:
            self._end()
            self._package = package
        return [self._verdict(row, text) for row, text in batch]

    def _verdict(self, row: Row, text: str | None) -> str:
        if row.module in self._broken:
            return NOT_RUNNABLE
        if row.module != self._module:
            answer = self._ask({"module": row.module}, _IMPORT_SECONDS)
            if not (answer and answer["imported"]):
                self._broken.add(row.module)
                return NOT_RUNNABLE
            self._module = row.module
        limits = {**attrs.asdict(self._limits), "wall_seconds": WALL * self._limits.seconds}
        request = {"row": attrs.asdict(row), "text": text, "limits": limits}
        answer = self._ask(request, WALL * self._limits.seconds + _GRACE_SECONDS)
        return DOES_NOT_RUN if answer is None else str(answer["verdict"])

    def _ask(self, request: dict[str, Any], seconds: float) -> dict[str, Any] | None:
        """A worker's answer; None where it ended over this or said nothing in time, and is gone."""
        if self._stop.is_set():
            return None
        process = self._process or self._start()
        try:
            assert process.stdin is not None
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()
        except BrokenPipeError:
            answer = None
        else:
            answer = self._read(process, seconds)
        if answer is None:
            self._end()
        elif "broken" in answer:
            raise KdkitError(f"a process to run tests in has failed: {answer['broken']}")
        return answer

    def _start(self) -> subprocess.Popen[bytes]:
        folder = tempfile.mkdtemp(dir=self._all)
        told = {"folder": folder, "package": self._package, "hidden": hidden_places()}
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed when the worker ends
        self._process = process = subprocess.Popen(  # noqa: S603 - this interpreter and our own code
            [sys.executable, "-P", "-s", "-c", _START, json.dumps(sys.path), json.dumps(told)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=folder,
            env=_environment(Path(folder) / ROOM / HOME),
            start_new_session=True,
        )
        answer = self._read(process, _IMPORT_SECONDS)
        if answer is None:
            self._errors.seek(0)
            said = self._errors.read().decode(errors="replace").strip().rpartition("\n")[2]
            raise KdkitError(f"a process to run tests in could not be started: {said or 'it did not answer'}")
        self._confinement = Confinement(**answer)
        return process

    def _read(self, process: subprocess.Popen[bytes], seconds: float) -> dict[str, Any] | None:
        assert process.stdout is not None
        line = b""
        deadline = time.monotonic() + seconds
        while not line.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or self._stop.is_set():
                return None
            if not select.select([process.stdout], [], [], min(left, 0.5))[0]:
                continue
            piece = os.read(process.stdout.fileno(), _ANSWER_BYTES)
            if not piece:
                return None
            line += piece
        answer = json.loads(line)
        return answer if isinstance(answer, dict) else None

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()  # then it ends by itself, and before that all that its rows have started
        with suppress(subprocess.TimeoutExpired):
            process.wait(_END_SECONDS)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        for pipe in (process.stdout, self._errors):
            if pipe is not None:
                pipe.close()
        process.wait()
        self._module = ""


def _environment(home: Path) -> dict[str, str]:
    """What a worker finds in its environment: nothing that was meant for others."""
    return {
        **{name: os.environ[name] for name in _PASSED_ON if name in os.environ},
        "HOME": str(home),
        "TMPDIR": str(home),
        "PYTHONHASHSEED": "0",  # sets have the same order in every run
        "PYTHONDONTWRITEBYTECODE": "1",
        "MPLBACKEND": "Agg",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
