"""What 10 and 100 times the rows take: seconds of each stage, and memory.

    python benchmarks/scale.py [--json] [--rows 100] [--times 1 10 100] [--repeats 3]

A whole run of a tiny recipe (a T5 of two layers, cache codec u8-lz4, one epoch, greedy texts), each in a process of its
own, whose peak is its memory. All splits grow alike: for each 100 training rows there are 10 validation and 10 test
rows, no two rows the same. The seconds are what the run folder says of each stage.

Time is linear where ten times the rows take ten times as long, but for what a stage takes once (models are opened,
charts drawn). So what is judged is what a further row takes: from 1 to 100 times the rows, over from 1 to 10 times.
Memory grows by the rows themselves, which are held as text and as token ids, Python objects both: that is given in
bytes a row. Nothing that is computed from them is held: no logits, no padded batch but those few that wait.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import tempfile
from pathlib import Path

from assertion_rows import TINY
from machine import apart, facts_line, machine_facts, peak_bytes

from kdkit.cli.output import print_json, print_table

ROW_STAGES = ("data", "capture", "distill", "evaluate")
STAGES = (*ROW_STAGES, "report")
SPLITS = {"train": 10, "validation": 1, "test": 1}
BATCH_SIZE = 8
LINEAR, FLAT = 1.15, 1.15
SEED = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rows", type=int, default=100, help="training rows at the least size (default 100)")
    parser.add_argument("--times", type=int, nargs="+", default=[1, 10, 100], help="multiples (default 1 10 100)")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each size (default 3)")
    parser.add_argument("--quick", action="store_true", help="few rows, small multiples: tries the benchmark itself")
    options = parser.parse_args()
    rows, times, repeats = options.rows, options.times, options.repeats
    if options.quick:
        rows, times, repeats = 10, [1, 4], 1
    if rows < 10 or sorted(set(times)) != times or len(times) < 2:
        parser.error("--rows must be 10 at least, and --times at least two multiples in rising order")
    facts = machine_facts(size=256 if options.quick else 2048)
    runs = {each: [] for each in times}
    for _, each in itertools.product(range(repeats), times):
        with tempfile.TemporaryDirectory(prefix="kdkit-scale-") as folder:
            runs[each].append(apart(measure, rows * each, folder))
    found = {
        "machine": facts,
        "setting": {"rows": rows, "times": times, "batch_size": BATCH_SIZE, "repeats": repeats},
        "sizes": {str(each): size_facts(rows * each, runs[each]) for each in times},
        "ratios": ratios(rows, times, runs),
    }
    if options.json:
        print_json(found)
    else:
        show(found)


def measure(rows: int, folder: str) -> dict:
    """A run of so many training rows: the seconds of its stages, and the peak of this process."""
    from kdkit.pipeline.run import run
    from kdkit.recipe import load_recipe

    table = recipe_table(rows, Path(folder))
    run(load_recipe(table), Path(folder) / "run")
    record = json.loads((Path(folder) / "run" / "run.json").read_text())
    return {**{stage: record["stages"][stage]["seconds"] for stage in STAGES}, "peak_bytes": peak_bytes()}


def recipe_table(rows: int, folder: Path) -> dict:
    draw, numbers = random.Random(SEED), itertools.count()
    files = {}
    for split, share in SPLITS.items():
        files[split] = str(folder / f"{split}.jsonl")
        with Path(files[split]).open("w", encoding="utf-8") as lines:
            for _ in range(rows * share // 10):
                pair = draw.randrange(10), draw.randrange(10)
                source = f"row {next(numbers)}: the greater of {pair[0]} and {pair[1]}{' please' * draw.randrange(4)}"
                lines.write(json.dumps({"text": source, "answer": f"it is {max(pair)}"}) + "\n")
    return {
        "name": "scale",
        "device": "cpu",
        "data": {"name": "jsonl", "source": "text", "target": "answer", **files},
        "tokens": {"max_source": 64, "max_target": 16},
        "teacher": {"name": "hf-seq2seq", "vocab_size": 300, "config": {"model_type": "t5", **TINY}},
        "student": {"name": "hf-seq2seq", "from_teacher": {"encoder_layers": [0], "decoder_layers": [1]}},
        "loss": {"name": "kd", "alpha": 0.5, "temperature": 2.0},
        "training": {"epochs": 1, "batch_size": BATCH_SIZE, "drop_last": False, "best_by": "loss"},
        "generation": {"beams": 1, "max_new_tokens": 7, "batch_size": BATCH_SIZE},
        "store": {"dir": str(folder / "cache")},
    }


def size_facts(rows: int, runs) -> dict:
    """Medians of a size."""
    seconds = {stage: statistics.median(each[stage] for each in runs) for stage in STAGES}
    return {
        "rows": rows,
        "seconds": seconds,
        "step_seconds": seconds["distill"] / steps_of(rows),
        "peak_bytes": statistics.median(each["peak_bytes"] for each in runs),
    }


def steps_of(rows: int) -> int:
    return -(-rows // BATCH_SIZE)


def ratios(rows: int, times, runs) -> dict:
    """By stage what the last step up adds to the time, over what its rows should add; and peaks, and bytes a row."""
    found = {}
    first, last = times[0], times[-1]
    for stage, middle in itertools.product(ROW_STAGES, times[1:-1]):
        longer, shorter = (further(rows, first, each, runs, stage) for each in (last, middle))
        if min(shorter) > 0:  # else too few rows for a difference that is more than noise
            ratio = statistics.median(above / below for above, below in zip(longer, shorter, strict=True))
            found[f"{stage}: time of a further row, {last} times / {middle} times"] = judged(ratio, LINEAR)
    peaks = zip(runs[last], runs[first], strict=True)
    ratio = statistics.median(above["peak_bytes"] / below["peak_bytes"] for above, below in peaks)
    found[f"memory: {last} times / {first} times"] = {
        **judged(ratio, FLAT),
        "bytes_a_row": statistics.median(further(rows, first, last, runs, "peak_bytes")),
    }
    return found


def further(rows: int, low: int, high: int, runs, name: str) -> list[float]:
    """By repeat: by how much a number rises for each further training row between two sizes."""
    pairs = zip(runs[high], runs[low], strict=True)
    return [(above[name] - below[name]) / (rows * (high - low)) for above, below in pairs]


def judged(ratio: float, target: float) -> dict:
    return {"ratio": ratio, "target": target, "met": ratio <= target}


def show(found) -> None:
    """Both tables."""
    print_table(
        ("rows", *(f"{stage}, s" for stage in STAGES), "ms a step", "peak MB"),
        [
            (
                str(size["rows"]),
                *(f"{size['seconds'][stage]:.2f}" for stage in STAGES),
                f"{size['step_seconds'] * 1000:.1f}",
                f"{size['peak_bytes'] / 1e6:.0f}",
            )
            for size in found["sizes"].values()
        ],
    )
    print()
    print_table(
        ("", "ratio", "at most", "", "bytes a row"),
        [
            (
                name,
                f"{each['ratio']:.2f}",
                f"{each['target']:.2f}",
                "met" if each["met"] else "MISSED",
                f"{each['bytes_a_row']:.0f}" if "bytes_a_row" in each else "",
            )
            for name, each in found["ratios"].items()
        ],
    )
    print(facts_line(found["machine"]))


if __name__ == "__main__":
    main()
