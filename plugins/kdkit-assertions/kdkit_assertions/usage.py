"""What the processes that a process has started take together, which the kernel counts of each alone.

Nothing is seen on other systems than Linux.

Source: proc(5), from which the names are.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


def count_tasks(enough: int) -> int:
    """Processes and threads that this process has started, theirs included; counted no further than `enough`."""
    count = 0
    for process, tasks in _started():
        count += tasks if process != "self" else 0
        if count >= enough:
            break
    return count


def takes_more(memory_bytes: int) -> bool:
    """Whether what this process has started takes more memory than this process itself and so many bytes."""
    own = _resident("self")
    processes = [process for process, _ in _started() if process != "self"]
    most = own + memory_bytes
    # What several have in common counts for each at first, which is quickly read, and then once.
    return sum(map(_resident, processes)) > most and sum(_shared_out(each, own) for each in processes) > most


def _started() -> Iterator[tuple[str, int]]:
    """This process, and those that it has started, theirs included, with the number of their threads."""
    waiting = ["self"]
    while waiting:
        process = waiting.pop()
        try:
            tasks = list(Path(f"/proc/{process}/task").iterdir())
            for task in tasks:
                waiting += (task / "children").read_text(encoding="ascii").split()
        except OSError:  # it has ended
            continue
        yield process, len(tasks)


def _resident(process: str) -> int:
    """Bytes of memory that a process has in use."""
    with suppress(OSError):  # it has ended
        return int(Path(f"/proc/{process}/statm").read_text(encoding="ascii").split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _shared_out(process: str, common: int) -> int:
    """The same, with its part of what it shares with others; of a process that hides that, what is beyond `common`."""
    with suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return max(0, _resident(process) - common)
