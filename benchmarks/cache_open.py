"""How a logit cache opens and reads as it grows: caches of small records, each measured in a new process.

    python benchmarks/cache_open.py [--records 1000,100000,1000000] [--per-shard 250] [--reads 20000] [--json]

For each size: seconds that opening takes (after a first time, so that the files are in memory), the peak of resident
memory of the process with all that it imported, and microseconds that a random read takes, as a folder is read and as
a mirror of a URL is. The caches are made in a temporary folder.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

MEASURE = """
import json, random, sys, time
from pathlib import Path
from kdkit.logits.cache import LogitCache

folder, reads = Path(sys.argv[1]), int(sys.argv[2])
started = time.perf_counter()
cache = LogitCache.open(folder)
opened = time.perf_counter() - started
chosen = random.Random(0).choices(range(len(cache)), k=2 * reads)
keys = [cache.keys[number].tobytes() for number in chosen]
for key in keys[:reads]:
    cache.get(key)
started = time.perf_counter()
for key in keys[reads:]:
    cache.get(key)
read = time.perf_counter() - started
status = Path("/proc/self/status")  # not ru_maxrss: that begins with the peak of the process that started this one
lines = status.read_text().splitlines() if status.exists() else []
peak = next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), None)
print(json.dumps({"open_s": opened, "resident_mb": peak, "read_us": read / reads * 1e6}))
"""


def make(folder: Path, records: int, per_shard: int) -> int:
    """Fill a folder with a cache of records of 24 bytes each; gives the number of its shards."""
    from kdkit.logits.cache import CacheIdentity, Manifest
    from kdkit.logits.cache.shard_writer import GrowingShard

    identity = CacheIdentity(
        teacher="a" * 64,
        teacher_name="benchmark",
        tokenizer="b" * 64,
        codec="u8-lz4",
        codec_options={"scope": "row", "level": 0},
        vocab_size=32_000,
    )
    keys = np.random.default_rng(0).bytes(16 * records)
    entries = []
    for start in range(0, records, per_shard):
        growing = GrowingShard(folder, len(entries), identity, "")
        for number in range(start, min(start + per_shard, records)):
            growing.add(keys[16 * number : 16 * number + 16], number.to_bytes(24, "little"), 1)
        entries.append(growing.seal())
    Manifest(identity=identity, shards=tuple(entries)).write(folder)
    return len(entries)


def measure(folder: Path, reads: int) -> dict[str, float]:
    """What a new process measures."""
    command = [sys.executable, "-c", MEASURE, str(folder), str(reads)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def compare(records: int, per_shard: int, reads: int) -> dict[str, float]:
    """The numbers of one size."""
    from kdkit.logits.cache.remote.mirror import MARK

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        shards = make(folder, records, per_shard)
        measure(folder, 1)
        as_folder = measure(folder, reads)
        (folder / MARK).write_text("memory://benchmark")
        as_mirror = measure(folder, reads)
    return {"records": records, "shards": shards, **as_folder, "mirror_read_us": as_mirror["read_us"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--records", default="1000,100000,1000000", help="numbers of records, separated by commas")
    parser.add_argument("--per-shard", type=int, default=250, help="records in a shard")
    parser.add_argument("--reads", type=int, default=20_000, help="random reads that are timed")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    results = []
    if not arguments.json:
        print(f"{'records':>10} {'shards':>7} {'open s':>8} {'resident MB':>12} {'read us':>9} {'mirror read us':>15}")
    for records in (int(number) for number in arguments.records.split(",")):
        row = compare(records, arguments.per_shard, arguments.reads)
        results.append(row)
        if not arguments.json:
            peak = f"{row['resident_mb']:.0f}" if row["resident_mb"] is not None else "unknown"
            print(
                f"{records:>10,} {row['shards']:>7,} {row['open_s']:>8.3f} {peak:>12} {row['read_us']:>9.1f} "
                f"{row['mirror_read_us']:>15.1f}",
                flush=True,
            )
    if arguments.json:
        print(json.dumps({"results": results}, indent=2))


if __name__ == "__main__":
    main()
