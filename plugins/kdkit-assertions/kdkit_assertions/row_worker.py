"""The processes that import packages and test modules, so that each row begins with its module imported.

Five processes, each the next one's parent: the one that was started, which enters new namespaces and waits; the
worker, the first process there, which imports pytest and the package under test; one for the test module at hand, which
imports that; and for each row the first process of its own namespace, and the row itself, which is confined further and
ended with all that it started (see `kdkit_assertions.row_process`). Where there are no namespaces, three: worker,
module, row.

So a row comes after the same imports whatever ran before it, and finds in its folders what these imports left there.

The worker reads a JSON line for each thing to do and answers with one.
"""

from __future__ import annotations

import importlib
import json
import os
import random
import select
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

import attrs

from kdkit_assertions.confinement import (
    adopt_orphans,
    die_with_parent,
    end_child,
    end_orphans,
    end_others,
    guard_worker,
)
from kdkit_assertions.mining import Source, parse
from kdkit_assertions.namespaces import enter, fresh_room, settle
from kdkit_assertions.placing import Row
from kdkit_assertions.readable import readable_places
from kdkit_assertions.row_process import HOME, WORK, Limits, Surroundings, confinement_of, own_room, verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit_assertions.mining import Parsed

ROOM = "room"


def main(told: str) -> None:
    """Answer requests from standard input on standard output, until it ends.

    Args:
        told: JSON: `folder`, the worker's own; `package`, to be imported before its test modules; and `hidden`, the
            places that rows may not read.
    """
    settings = json.loads(told)
    folder = Path(settings["folder"])
    held = enter(folder)
    if held.apart and (worker := os.fork()):
        os.close(0)
        os._exit(os.waitstatus_to_exitcode(os.waitpid(worker, 0)[1]) != 0)
    requests, answers = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nowhere, standard)
    os.close(nowhere)
    held = settle(held, folder)
    room = folder / ROOM
    for each in (room, room / HOME, room / WORK):
        each.mkdir(mode=0o700)
    os.chdir(room / WORK)
    guard_worker(folder, held)
    random.seed(0)
    worker_of = _Worker(
        around=Surroundings(room=room, held=held, readable=()),
        package=settings["package"],
        hidden=settings["hidden"],
        folder=folder,
    )
    with os.fdopen(requests, "rb") as lines, os.fdopen(answers, "wb", buffering=0) as out:
        try:
            worker_of.serve(lines, out)
        finally:
            end_orphans(frozenset())  # whatever is still at work, when nobody asks any more


@attrs.define(kw_only=True)
class _Worker:
    """What the worker has."""

    around: Surroundings
    package: str
    hidden: Sequence[str]
    folder: Path
    module: _Module | None = None

    def serve(self, lines: IO[bytes], out: IO[bytes]) -> None:
        """Say what confines rows here; then answer, until nobody asks any more or the module's process has ended."""
        readable = readable_places(self.hidden, own_processes=self.around.held.shows_own, own=self.folder)
        confined = confinement_of(attrs.evolve(self.around, readable=readable))
        for place in readable:
            os.close(place.descriptor)
        out.write(json.dumps(confined).encode() + b"\n")
        for name in ("pytest", self.package):
            with suppress(BaseException):  # a package may raise anything; then its modules do not import either
                importlib.import_module(name)
        for line in lines:
            request = json.loads(line)
            if "module" in request:
                answer = self._begin(request["module"], lines, out)
            else:
                assert self.module is not None
                answer = self.module.ask(line, lines)
            if not answer:
                return
            out.write(answer)

    def _begin(self, name: str, lines: IO[bytes], out: IO[bytes]) -> bytes:
        """End the process of one module, and start that of another."""
        if self.module is not None:
            self.module.end(self.around)
        self.module = _Module.start(name, self, unneeded=(lines.fileno(), out.fileno()))
        return self.module.answer(lines)


@attrs.frozen(kw_only=True)
class _Module:
    """The process that has imported a test module.

    Attributes:
        pid: Its number.
        asks: The pipe to it.
        answers: The pipe from it.
        room: Held until it has ended.
    """

    pid: int
    asks: int
    answers: int
    room: ExitStack

    @classmethod
    def start(cls, name: str, worker: _Worker, *, unneeded: Sequence[int]) -> _Module:
        """Start one, which answers whether the module can be imported.

        Args:
            name: The module's.
            worker: Who starts it.
            unneeded: What is open here and is to be closed there.
        """
        room = ExitStack()
        room.enter_context(own_room(worker.around))
        asked, asks = os.pipe()
        answers, answered = os.pipe()
        pid = os.fork()
        if pid == 0:
            for descriptor in (asks, answers, *unneeded):
                os.close(descriptor)
            _be_module(name, worker, asked, answered)
        os.close(asked)
        os.close(answered)
        return cls(pid=pid, asks=asks, answers=answers, room=room)

    def ask(self, line: bytes, lines: IO[bytes]) -> bytes:
        """What it answers to a request, as `answer`."""
        try:
            os.write(self.asks, line)
        except BrokenPipeError:
            return b""
        return self.answer(lines)

    def answer(self, lines: IO[bytes]) -> bytes:
        """The next line from it; nothing where it has ended, or nobody is there any more to ask this worker."""
        poll = select.poll()
        poll.register(self.answers, select.POLLIN)
        poll.register(lines.fileno(), 0)  # of which only the end is told
        said = b""
        while not said.endswith(b"\n"):
            if any(descriptor != self.answers for descriptor, _ in poll.poll()):
                return b""
            piece = os.read(self.answers, 65536)
            if not piece:
                return b""
            said += piece
        return said

    def end(self, around: Surroundings) -> None:
        """End it and all that it started."""
        os.close(self.asks)
        os.close(self.answers)
        if around.held.apart:
            end_others()
        else:
            end_child(self.pid)
            end_orphans(frozenset())
        self.room.close()


def _be_module(name: str, worker: _Worker, asked: int, answered: int) -> NoReturn:
    """The rest of a module's process."""
    try:
        die_with_parent()
        adopt_orphans()  # so what a row leaves ends with that row
        around = worker.around
        if around.held.mounts:
            fresh_room(around.room)
        os.chdir(around.room / WORK)
        parsed = _import(name)
        _say(answered, {"imported": parsed is not None})
        if parsed is not None:
            readable = readable_places(worker.hidden, own_processes=around.held.shows_own, own=worker.folder)
            _answer(parsed, attrs.evolve(around, readable=readable), asked, answered)
    except Exception as error:  # noqa: BLE001 - it is told to whoever asks
        _say(answered, {"broken": f"{type(error).__name__}: {error}"})
    finally:
        os._exit(0)


def _answer(parsed: Parsed, around: Surroundings, asked: int, answered: int) -> None:
    """Run rows as they are asked for."""
    with os.fdopen(asked, "rb") as lines:
        for line in lines:
            request = json.loads(line)
            row, limits = Row(**request["row"]), Limits(**request["limits"])
            _say(answered, {"verdict": verdict(row, request["text"], parsed, around, limits)})


def _say(descriptor: int, answer: dict[str, Any]) -> None:
    os.write(descriptor, json.dumps(answer).encode() + b"\n")


def _import(module: str) -> Parsed | None:
    """Import a test module and parse it; None where either fails."""
    try:
        file = importlib.import_module(module).__file__
    except BaseException:  # noqa: BLE001 - a module may raise anything: pytest's Skipped is no Exception
        return None
    return parse(Source(module=module, path=Path(str(file)), is_test=True))
