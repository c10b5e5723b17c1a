"""The process of a row: made by the process that has imported the row's module, confined, run, and ended.

What it says comes through a pipe, as the last line, behind a word that is drawn anew for each row. So a text that
prints, writes to whatever it finds open, ends the interpreter or goes on for ever says nothing. (One that is made to
deceive could read that word in its own process's memory, and thus say of itself that it holds, as `assert True` does;
of other rows it can say nothing.)
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import secrets
import select
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any, NoReturn

import attrs

from kdkit_assertions.calling import DOES_NOT_RUN, HOLDS, NOT_RUNNABLE, NotRunnable, calls_of, verdict_of
from kdkit_assertions.confinement import (
    PROCESSES,
    children,
    confine_row,
    end_child,
    end_orphans,
    limit_row,
)
from kdkit_assertions.expectations import Misfit
from kdkit_assertions.landlock import Place
from kdkit_assertions.namespaces import copy_files, fork_first, fresh_room, own_processes
from kdkit_assertions.placing import REACHED, NotThere, Row, place
from kdkit_assertions.usage import count_tasks, takes_more

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from kdkit_assertions.confinement import Confinement
    from kdkit_assertions.mining import Parsed
    from kdkit_assertions.namespaces import Namespaces

NOT_THERE = "not_there"
VERDICTS = frozenset({HOLDS, "fails", DOES_NOT_RUN, NOT_RUNNABLE, NOT_THERE})
HOME, WORK = "home", "work"
_LAST_BYTES = 4096
_LOOK_SECONDS = 0.05
# Before Linux 5.14 a user's processes are counted whatever namespace they are in.
_COUNTS_APART = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) >= (5, 14) if os.name == "posix" else False


@attrs.frozen(kw_only=True)
class Surroundings:
    """Where rows run.

    Attributes:
        room: The folder below which a row may write. It holds `HOME`, which is its temporary folder too, and `WORK`.
        held: The namespaces that there are.
        readable: What a row may read; see `kdkit_assertions.readable`.
    """

    room: Path
    held: Namespaces
    readable: Sequence[Place]


@attrs.frozen(kw_only=True)
class Limits:
    """What a row may take.

    Attributes:
        seconds: Time that it may compute.
        memory_bytes: Memory beyond that of the imported packages.
        wall_seconds: Time that it may live.
    """

    seconds: float
    memory_bytes: int
    wall_seconds: float


def confinement_of(around: Surroundings) -> dict[str, Any] | None:
    """What a row is confined by here, as a process says that does nothing else; None if it says nothing."""
    limits = Limits(seconds=10.0, memory_bytes=2**30, wall_seconds=30.0)
    said = _said_by(lambda held: json.dumps(attrs.asdict(held), separators=(",", ":")), around, limits)
    return json.loads(said) if said else None


def verdict(row: Row, text: str | None, parsed: Parsed, around: Surroundings, limits: Limits) -> str:
    """What a row's process says, or does not get to say within the limits."""
    said = _said_by(lambda _: _judged(lambda: _run(parsed, row, text)), around, limits)
    return said if said in VERDICTS else DOES_NOT_RUN


def _judged(run: Callable[[], str], judge: Callable[[BaseException], str] = verdict_of) -> str:
    try:
        return run()
    except BaseException as error:  # noqa: BLE001 - the code may raise anything, SystemExit as well
        return judge(error)


@contextlib.contextmanager
def own_room(around: Surroundings) -> Iterator[None]:
    """Where nothing can be mounted, make the room's place free for another process, with what the room holds.

    Deleting what that process leaves may fail here, where modes cannot be changed; the folder of all workers goes
    whole.
    """
    if around.held.mounts:
        yield
        return
    room = around.room
    kept, used = (room.with_name(f"{name}-{secrets.token_hex(8)}") for name in ("kept", "used"))
    room.rename(kept)
    room.mkdir(mode=0o700)
    copy_files(kept, room)
    try:
        yield
    finally:
        with contextlib.suppress(FileNotFoundError):
            room.rename(used)
        kept.rename(room)
        with contextlib.suppress(RecursionError):
            shutil.rmtree(used, ignore_errors=True)


def _said_by(work: Callable[[Confinement], str], around: Surroundings, limits: Limits) -> str:
    """What some work in a process of its own says; "" if it does not get to say anything.

    Raises:
        OSError: The process could not be confined, so the work was not begun.
    """
    word = secrets.token_hex(16)
    reading, writing = os.pipe()
    kept = children()
    with own_room(around):
        pid = fork_first() if around.held.apart else os.fork()
        if pid == 0:
            _be_row(work, around, limits, word, writing)
        os.close(writing)
        try:
            said = _last_said(reading, pid, limits)
        finally:
            os.close(reading)
            end_child(pid)
            if not around.held.apart:
                end_orphans(kept)
    beginning, _, last = said.rstrip(b"\n").rpartition(b" ")
    return last.decode("ascii", "replace") if beginning.endswith(word.encode()) else ""


def _last_said(pipe: int, pid: int, limits: Limits) -> bytes:
    """The last bytes that came through a pipe until its other end was closed, the child ended, or time was up.

    Nothing, if there are too many processes, or they take too much memory together: the kernel does not count root's,
    and memory of each alone.

    Raises:
        OSError: The child ended before it said that it had begun.
    """
    said, has_begun, deadline = b"", False, time.monotonic() + limits.wall_seconds
    poll = select.poll()
    poll.register(pipe, select.POLLIN | select.POLLHUP)
    has_ended = False
    look = time.monotonic() + _LOOK_SECONDS
    while (now := time.monotonic()) < deadline:
        if now >= look:
            if count_tasks(PROCESSES + 2) > PROCESSES + 1:  # the first process of a namespace is not the row's
                return b""
            if takes_more(limits.memory_bytes):
                return b""
            look = time.monotonic() + _LOOK_SECONDS
        if poll.poll(0 if has_ended else min(deadline - now, _LOOK_SECONDS) * 1000):
            piece = os.read(pipe, 65536)
            if not piece:
                break
            said, has_begun = (said + piece)[-_LAST_BYTES:], True
        elif has_ended:
            break
        else:  # processes that it left behind may keep the pipe open
            has_ended = os.waitpid(pid, os.WNOHANG)[0] == pid
    if not has_begun and now < deadline:
        raise OSError("a process to run a test in could not be set up")
    return said


def _be_row(work: Callable[[Confinement], str], around: Surroundings, limits: Limits, word: str, pipe: int) -> NoReturn:
    """The rest of a row's process."""
    # What it takes to end is held here, out of reach of code that replaces things in modules.
    write, leave, pid_of = os.write, os._exit, os.getpid
    try:
        if around.held.mounts:
            fresh_room(around.room)
        shows_own = around.held.shows_own and own_processes()
        if around.held.apart and (child := os.fork()):  # a first process ignores signals, and tests send some
            os.closerange(3, os.sysconf("SC_OPEN_MAX"))
            while os.waitpid(-1, 0)[0] != child:
                pass
            leave(0)
        own = pid_of()
        os.setsid()
        os.chdir(around.room / WORK)
        seen = [*around.readable, *_places("/proc" if shows_own else "/proc/self")]
        confined = confine_row(around.room, seen, around.held)
        os.dup2(pipe, 3)
        os.closerange(4, os.sysconf("SC_OPEN_MAX"))
        limit_row(
            seconds=limits.seconds, memory_bytes=limits.memory_bytes, counts_own=around.held.user and _COUNTS_APART
        )
        write(3, b"+")  # whatever it says later, it has begun
        said = work(confined)
        if pid_of() == own:  # a child that the code forked comes here as well
            write(3, f"\n{word} {said}\n".encode())
    finally:
        leave(0)


def _places(name: str) -> list[Place]:
    return [Place.open(name)] if sys.platform == "linux" else []


def _run(parsed: Parsed, row: Row, text: str | None) -> str:
    """Put a text in its test, and run that."""
    module = sys.modules[row.module]
    try:
        placed = place(parsed, row, text)
    except NotThere:
        return NOT_THERE
    except (Misfit, SyntaxError, ValueError):
        return DOES_NOT_RUN
    namespace = vars(module)
    reached: list[bool] = []
    namespace[REACHED] = lambda: reached.append(True)
    if text is not None and "approx(" in text and "approx" not in namespace:
        import pytest

        namespace["approx"] = pytest.approx
    try:
        exec(compile(placed.code, str(module.__file__), "exec", dont_inherit=True), namespace)  # noqa: S102 - what it is for
        _call_all(list(calls_of(namespace, placed.path)))
    except BaseException:
        if not reached:
            raise NotRunnable("its assertion was not reached") from None
        raise
    return HOLDS if reached else NOT_RUNNABLE


def _call_all(calls: list[Callable[[], object]]) -> None:
    for call in calls:
        random.seed(0)
        call()
