"""Captures that are killed at random moments, and resumed until they are finished; prints how it went as JSON.

Run as a program by `test_cache_kill.py`: it forks, which wants a process with one thread and little memory.
"""

from __future__ import annotations

import json
import os
import random
import signal
import struct
import sys
import time
from pathlib import Path

from cache_forgery import KINDS
from cache_kit import block, key, shards, temporaries

from kdkit.errors import DamagedData
from kdkit.logits.cache import verify
from kdkit.logits.cache.format import read_shard

NUMBERS = range(60)
NUMBER = struct.Struct("<I")


def capture(kind, folder, tell):
    """Add what is missing; a number is told of only once its record is sealed, as the writer promises."""
    with kind.writer(folder, 700) as writer:
        kind.learn(writer)
        pending = []
        for number in NUMBERS:
            if writer.add_block(key(number), block(number)):
                pending.append(number)
            if number % 7 == 6:
                writer.seal()
            if writer._growing is None:  # sealed just now, here or because the shard was full
                tell(pending)
                pending = []
        writer.finish()
        tell(pending)


def killed_capture(kind, folder, delay):
    """Whether the capture was killed after so many seconds, and the numbers it acknowledged before."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            capture(kind, folder, lambda numbers: os.write(writing, b"".join(map(NUMBER.pack, numbers))))
            os._exit(0)
        except BaseException as error:  # noqa: BLE001 - a child must never return into its parent's loop
            os.write(2, f"{error!r}\n".encode())
            os._exit(1)
    os.close(writing)
    time.sleep(delay)
    os.kill(child, signal.SIGKILL)
    told = bytearray()
    while piece := os.read(reading, 65536):
        told += piece
    os.close(reading)
    status = os.waitpid(child, 0)[1]
    if not os.WIFSIGNALED(status):
        assert os.WEXITSTATUS(status) == 0, "a capture failed by itself"
    return os.WIFSIGNALED(status), [number for (number,) in NUMBER.iter_unpack(told)]


def sealed_keys(folder):
    keys = [k.tobytes() for path in shards(folder) for k in read_shard(path).keys_N16]
    assert len(keys) == len(set(keys)), "a record stands twice"
    return set(keys)


def main(folder: Path, kills: int, seed: int) -> None:
    chosen = random.Random(seed)
    result = {"kills": 0, "finished": 0, "acknowledged": 0, "left temporaries": 0, "lost": [], "differing": 0}
    kinds = list(KINDS.values())
    straight = {}
    for kind in kinds:
        begun = time.perf_counter()
        capture(kind, folder / f"straight-{kind.name}", lambda _: None)
        longest = time.perf_counter() - begun
        straight[kind.name] = kind.payloads(folder / f"straight-{kind.name}")
    while result["kills"] < kills or result["finished"] < 5:  # a busy machine takes more kills to finish some
        kind = kinds[result["finished"] % len(kinds)]
        place = folder / f"{kind.name}-{result['finished']}"
        acknowledged = set()
        while True:
            killed, told = killed_capture(kind, place, chosen.uniform(0, longest / 2))
            acknowledged |= set(told)
            found = sealed_keys(place)
            result["lost"] += [number for number in acknowledged if key(number) not in found]
            result["left temporaries"] += bool(temporaries(place))
            if not killed:
                break
            result["kills"] += 1
        result["finished"] += 1
        result["acknowledged"] += len(acknowledged)
        faults = verify(place)
        if faults:
            raise DamagedData(f"{place}: {faults[0]}")
        result["differing"] += kind.payloads(place) != straight[kind.name]
    json.dump(result, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
