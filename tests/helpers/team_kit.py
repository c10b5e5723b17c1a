"""Several processes that do one thing together: forked ones as a launcher would start them, and threads."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import attrs
import tiny
from torch.distributed import TCPStore

from kdkit.system.team import Team


def together(
    target,
    arguments,
    folder: Path,
    *,
    size: int = 2,
    at=None,
    fails=None,
    seconds: float = 60,
    hangs: int | None = None,
    more: dict[str, str] | None = None,
):
    """`target(arguments)` in forked processes that are told what a launcher tells; gives exit code and output of each.

    Args:
        target: A function of a module that the processes can import.
        arguments: What it is called with.
        folder: Its output goes to files there.
        size: How many processes.
        at: Rank to (function, call, signal): that call of the function is cut short by the signal.
        fails: Rank to (function, call, error): that call of the function raises the error.
        seconds: How long all of them may take.
        hangs: The rank of a process that stops for good, and is killed once the others have ended.
        more: What else a launcher puts into their environment.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # As by torchrun, the store where they meet is the launcher's.
    store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    logs, processes = [folder / f"{rank}.log" for rank in range(size)], []
    for rank, log in enumerate(logs):
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1"}
        place |= {"MASTER_PORT": store.port, "TORCHELASTIC_USE_AGENT_STORE": True}
        environment = {**(more or {}), **{name: str(value) for name, value in place.items()}}
        *where, number = (at or {}).get(rank, (None, 9))
        processes.append(
            tiny.start(
                _member,
                (environment, target, arguments, (fails or {}).get(rank)),
                log,
                tuple(where) if where[0] else None,
                number,
            )
        )
    ends = time.monotonic() + seconds
    stopped = [] if hangs is None else [processes[hangs]]
    for process in [each for each in processes if each not in stopped]:
        process.join(max(0.0, ends - time.monotonic()))
    for process in stopped:
        process.kill()
        process.join()
    left = [process for process in processes if process.exitcode is None]
    for process in left:
        process.kill()
    output = [log.read_text() for log in logs]
    assert not left, f"{len(left)} of {size} processes hang: {output}"
    return [(process.exitcode, text) for process, text in zip(processes, output, strict=True)]


def kdkit(*arguments: object, log: Path, **options):
    """`kdkit ARGUMENTS` by several processes."""
    return together(tiny._kdkit, [str(argument) for argument in arguments], log, **options)


def _member(arguments) -> None:
    environment, target, inner, fails = arguments
    os.environ.update(environment)
    if fails is not None:
        setattr(*raising(*fails))
    target(inner)


def raising(name: str, call: int, error: Exception):
    """`tiny.at_call` with an error that is raised."""

    def fail() -> None:
        raise error

    return tiny.at_call(name, call, fail)


@attrs.frozen(kw_only=True, eq=False)
class _Thread(Team):
    """One of several threads that work as a team."""

    shared: dict
    barrier: threading.Barrier

    def gather(self, value):
        self.shared[self.rank] = value
        self.barrier.wait(30)
        values = [self.shared[rank] for rank in range(self.size)]
        self.barrier.wait(30)
        return values

    def lead_does(self, work):
        return self.gather(work() if self.leads else None)[0]


def in_threads(work, size: int) -> list:
    """What `work(team)` gives in each of several threads; the first error is raised."""
    barrier, shared = threading.Barrier(size), {}
    results, errors = [None] * size, []

    def run(rank: int) -> None:
        try:
            results[rank] = work(_Thread(rank=rank, size=size, shared=shared, barrier=barrier))
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)
            barrier.abort()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results
