"""The process that runs rows: it imports packages and test modules once, and forks a process for each row.

It reads a JSON line for each thing to do and answers with one. What it answers of a row comes from that row's process
through a pipe, as the last line, behind a word that is drawn anew for each row. So a text that prints, writes to
whatever it finds open, ends the interpreter or goes on for ever says nothing. (One that is made to deceive could read
that word in its own process's memory, and thus say of itself that it holds, as `assert True` does; of other rows it can
say nothing.)

Three processes: the one that was started, which enters new namespaces; its child, the worker, the first process there;
and the worker's children, one a row, each confined further and ended with all that it started.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import secrets
import select
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from kdkit_assertions.calling import DOES_NOT_RUN, HOLDS, NOT_RUNNABLE, NotRunnable, calls_of, verdict_of
from kdkit_assertions.confinement import Confinement, enter_namespaces, guard_row, guard_worker, kill_all
from kdkit_assertions.expectations import Misfit
from kdkit_assertions.mining import Source, parse
from kdkit_assertions.placing import REACHED, NotThere, Row, place

if TYPE_CHECKING:
    from collections.abc import Callable

    from kdkit_assertions.mining import Parsed

NOT_THERE = "not_there"
VERDICTS = frozenset({HOLDS, "fails", DOES_NOT_RUN, NOT_RUNNABLE, NOT_THERE})
_LAST_BYTES = 4096


def main(folder: str) -> None:
    """Answer requests from standard input on standard output, until it ends.

    Args:
        folder: Where rows may write.
    """
    has_network, is_first = enter_namespaces()
    if is_first and (worker := os.fork()):
        os.close(0)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) != 0)
    requests, answers = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    os.close(nowhere)
    has_files, has_room, refuses = guard_worker(Path(folder), owns_namespace=is_first)
    random.seed(0)
    with os.fdopen(requests, "rb") as lines, os.fdopen(answers, "wb", buffering=0) as out:
        confinement = Confinement(
            network=has_network, processes=is_first, files=has_files, room=has_room, system_calls=refuses
        )
        _answer(out, attrs.asdict(confinement))
        modules: dict[str, Parsed | None] = {}
        for line in lines:
            request = json.loads(line)
            if "module" in request:
                modules[request["module"]] = _import(request["module"])
                _answer(out, {"imported": modules[request["module"]] is not None})
            else:
                parsed = modules[request["row"]["module"]]
                assert parsed is not None
                _answer(out, {"verdict": _verdict(request, parsed, Path(folder), owns_namespace=is_first)})


def _answer(out: Any, answer: dict[str, Any]) -> None:
    out.write(json.dumps(answer).encode() + b"\n")


def _import(module: str) -> Parsed | None:
    """Import a test module and parse it; None where either fails."""
    try:
        file = importlib.import_module(module).__file__
    except BaseException:  # noqa: BLE001 - a module may raise anything: pytest's Skipped is no Exception
        return None
    return parse(Source(module=module, path=Path(str(file)), is_test=True))


def _verdict(request: dict[str, Any], parsed: Parsed, folder: Path, *, owns_namespace: bool) -> str:
    """What a row's process says, or does not get to say within the limits."""
    word = secrets.token_hex(16)
    reading, writing = os.pipe()
    place_of_row = Path(tempfile.mkdtemp(dir=folder))
    pid = os.fork()
    if pid == 0:
        _be_row(request, parsed, place_of_row, word, writing, owns_namespace=owns_namespace)
    os.close(writing)
    try:
        said = _last_said(reading, pid, time.monotonic() + request["wall_seconds"])
    finally:
        os.close(reading)
        kill_all(pid, owns_namespace=owns_namespace)
        shutil.rmtree(place_of_row, ignore_errors=True)
    beginning, _, verdict = said.rstrip(b"\n").rpartition(b" ")
    is_own = beginning.endswith(word.encode())
    return verdict.decode() if is_own and verdict.decode("ascii", "replace") in VERDICTS else DOES_NOT_RUN


def _last_said(pipe: int, pid: int, deadline: float) -> bytes:
    """The last bytes that came through a pipe until its other end was closed, the child ended, or time was up."""
    said = b""
    poll = select.poll()
    poll.register(pipe, select.POLLIN | select.POLLHUP)
    has_ended = False
    while (left := deadline - time.monotonic()) > 0:
        if poll.poll(0 if has_ended else min(left, 0.05) * 1000):
            piece = os.read(pipe, 65536)
            if not piece:
                break
            said = (said + piece)[-_LAST_BYTES:]
        elif has_ended:
            break
        else:  # processes that it left behind may keep the pipe open
            has_ended = os.waitpid(pid, os.WNOHANG)[0] == pid
    return said


def _be_row(
    request: dict[str, Any], parsed: Parsed, folder: Path, word: str, pipe: int, *, owns_namespace: bool
) -> None:
    """The rest of a row's process; it does not return."""
    # What it takes to end is held here, out of reach of code that replaces things in modules.
    write, leave, own, pid_of, judge = os.write, os._exit, os.getpid(), os.getpid, verdict_of
    try:
        os.setsid()
        os.chdir(folder)
        os.dup2(pipe, 3)
        os.closerange(4, os.sysconf("SC_OPEN_MAX"))
        try:
            guard_row(seconds=request["seconds"], memory_bytes=request["memory_bytes"], owns_namespace=owns_namespace)
            verdict = _run(parsed, Row(**request["row"]), request["text"])
        except BaseException as error:  # noqa: BLE001 - the code may raise anything, SystemExit as well
            verdict = judge(error)
        if pid_of() == own:  # a child that the code forked comes here as well
            write(3, f"\n{word} {verdict}\n".encode())
    finally:
        leave(0)


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
