"""What a corpus costs by its size: CPU seconds of each step, private memory, and what encoding takes beside tokenizing.

    python benchmarks/scale.py [--json] [--rows 10000] [--times 1 10 100] [--repeats 1] [--chart FILE.png]

For each size a whole run of a tiny recipe (a T5 of two layers, codec topk, a hundred steps, greedy texts): rows of 60
tokens as JSON lines, and a hundredth of them again as validation and as test rows, no two rows the same. Then another
process opens what there is: rows and ids from the store, the plan, the cache, the batches of a whole epoch. Each size
has processes of its own.

Seconds are those of the CPU, all threads of a process together: other work on the machine makes a wall clock tell
little. Private memory is the most that a process held for itself (RssAnon of Linux); files that are mapped are not in
it, since processes share them.

A step is linear where a further row takes as long whatever the size, and memory is flat where a further row takes none.
What is judged is a further row between the two largest sizes over one between the two smallest, where all of a step
takes more than a second.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

from assertion_rows import TINY
from machine import apart, facts_line, machine_facts

from kdkit.cli.output import print_json, print_table

RUN = ("data", "check", "capture", "evaluate", "report")
OPENED = ("open", "plan", "cache open", "epoch's batches")
STEPS = (*RUN, *OPENED)
HELD_OUT = 100
BATCH_SIZE = 64
CHUNK = 1000
COMPARED = 20_000
"""Rows of which both sides of encoding are timed, in turns."""
LINEAR, BYTES_A_ROW, RATE = 1.3, 200, 0.8
SEED = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--rows", type=int, default=10_000, help="training rows at the least size (default 10000)")
    parser.add_argument("--times", type=int, nargs="+", default=[1, 10, 100], help="multiples (default 1 10 100)")
    parser.add_argument("--repeats", type=int, default=1, help="runs of each size (default 1)")
    parser.add_argument("--chart", type=Path, help="a PNG of seconds and memory by rows")
    parser.add_argument("--quick", action="store_true", help="few rows, small multiples: tries the benchmark itself")
    options = parser.parse_args()
    rows, times, repeats = options.rows, options.times, options.repeats
    if options.quick:
        rows, times, repeats = 100, [1, 2], 1
    if rows < 100 or sorted(set(times)) != times or len(times) < 2:
        parser.error("--rows must be 100 at least, and --times at least two multiples in rising order")
    facts = machine_facts(size=256 if options.quick else 2048)
    sizes = {rows * each: [] for each in times}
    for _, size in itertools.product(range(repeats), sizes):
        with tempfile.TemporaryDirectory(prefix="kdkit-scale-") as folder:
            first = apart(whole_run, size, folder)
            again = apart(opened, folder)
            sizes[size].append({**first, **again, "rate": apart(rates, folder)})
    found = {
        "machine": facts,
        "setting": {"rows": rows, "times": times, "repeats": repeats, "held_out": f"1 in {HELD_OUT}"},
        "sizes": {str(size): size_facts(size, runs) for size, runs in sizes.items()},
        "ratios": ratios(sizes),
    }
    if options.chart is not None:
        draw(found, options.chart)
    print_json(found) if options.json else show(found)


def whole_run(rows: int, folder: str) -> dict:
    """A run of so many training rows: CPU seconds of its stages, and the private memory of each."""
    from kdkit.pipeline.run import open_here
    from kdkit.pipeline.stages import STAGES
    from kdkit.recipe import load_recipe
    from kdkit.runs.resume import do
    from kdkit.system.progress import Silent

    recipe = load_recipe(recipe_table(rows, Path(folder)))
    seconds, memory = {}, {}
    with open_here(recipe, Path(folder) / "run", fresh=False, progress=Silent()) as run:
        for stage in STAGES:
            with measured(seconds, memory, stage.name):
                do(run, stage, STAGES)
        run.finish()
    return {"seconds": {name: seconds[name] for name in RUN}, "bytes": {name: memory[name] for name in RUN}}


def opened(folder: str) -> dict:
    """What a later process takes: CPU seconds, private memory, and the wall clock of opening rows and ids."""
    from kdkit.api.options import Training
    from kdkit.data.tokens import collate
    from kdkit.logits.cache import LogitCache
    from kdkit.logits.targets import keys_of
    from kdkit.pipeline.plan import make_plan
    from kdkit.recipe import load_stored
    from kdkit.store import rows as stored
    from kdkit.system.progress import Silent
    from kdkit.training.batching import Lengths, epoch_order

    run = Path(folder) / "run"
    recipe, record = load_stored(run / "recipe.toml"), json.loads((run / "run.json").read_text())
    told = {name: stage.get("facts", {}) for name, stage in record["stages"].items()}
    seconds, memory = {}, {}
    tokenizer = recipe.teacher.load_tokenizer(None)
    began = time.perf_counter()
    with measured(seconds, memory, "open"):
        corpus = stored.read(run / "data", told["data"]["digest"], Path(folder) / "cache", Silent())
        encoded = stored.rows_of(corpus.train, tokenizer, recipe.encoding).encoded
    wall = time.perf_counter() - began
    with measured(seconds, memory, "plan"):
        make_plan(recipe, run, Silent())
    with measured(seconds, memory, "cache open"):
        cache = LogitCache.open(Path(told["capture"]["cache"]))
        keys = keys_of(encoded, teacher=told["capture"]["identity"], tokenizer=told["capture"]["tokenizer"])
        assert cache.holds(keys.keys_RK).all()
    with measured(seconds, memory, "epoch's batches"):
        for batch in epoch_order(Lengths.of(encoded), Training(batch_size=BATCH_SIZE), seed=1, epoch=0):
            collate(encoded.take(batch), pad_id=0)
    return {"reopened": seconds, "reopened_bytes": memory, "open_wall_seconds": wall}


def rates(folder: str) -> list[float]:
    """Rows a second of kdkit's encoding over the tokenizer's own, chunk by chunk in turns."""
    from kdkit.recipe import load_stored

    recipe = load_stored(Path(folder) / "run" / "recipe.toml")
    tokenizer = recipe.teacher.load_tokenizer(None)
    corpus = first_rows(Path(folder) / "run" / "data" / "train.jsonl")
    sides = {"own": 0.0, "kdkit": 0.0}
    for start in range(0, len(corpus), CHUNK):
        chunk = corpus[start : start + CHUNK]
        texts = [[row.source for row in chunk], [row.target for row in chunk]]

        def own(texts=texts):
            for side in texts:
                tokenizer(side)["input_ids"]

        def ours(chunk=chunk):
            recipe.encoding.encode(chunk, tokenizer)

        calls = [("own", own), ("kdkit", ours)]
        for name, call in calls[:: -1 if start // CHUNK % 2 else 1]:
            began = time.process_time()
            call()
            sides[name] += time.process_time() - began
    return [len(corpus) / sides["own"], len(corpus) / sides["kdkit"]]


def first_rows(path: Path):
    from kdkit.api.values import Example
    from kdkit.data.text_rows import TextRows

    with path.open(encoding="utf-8") as lines:
        return TextRows.of([Example(**json.loads(line)) for line in itertools.islice(lines, COMPARED)])


@contextmanager
def measured(seconds: dict, memory: dict, name: str):
    """Note the CPU seconds of a block, and the most private memory of its process within it."""
    stop, before = threading.Event(), private_bytes()
    most = [before]

    def watch():
        while not stop.wait(0.02):
            most[0] = max(most[0], private_bytes())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    began = time.process_time()
    yield
    seconds[name] = time.process_time() - began
    stop.set()
    thread.join()
    memory[name] = max(most[0], private_bytes())


def private_bytes() -> int:
    """Memory that this process holds for itself; 0 where the system does not say."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon:")), 0)


def recipe_table(rows: int, folder: Path) -> dict:
    from kdkit import models

    draw = random.Random(SEED)
    words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 7))) for _ in range(1500)]

    def text(least: int, most: int) -> str:
        return " ".join(draw.choices(words, k=draw.randint(least, most)))

    tokenizer = models.train_bpe([text(30, 60) for _ in range(3000)], vocab_size=3000)
    tokenizer.save_pretrained(folder / "tokenizer")
    files, numbers = {}, itertools.count()
    for split, count in (("train", rows), ("validation", rows // HELD_OUT), ("test", rows // HELD_OUT)):
        files[split] = str(folder / f"{split}.jsonl")
        with Path(files[split]).open("w", encoding="utf-8") as lines:
            for _ in range(count):
                row = {"text": f"{next(numbers)} {text(25, 55)}", "answer": text(4, 12)}
                lines.write(json.dumps(row) + "\n")
    return {
        "name": "scale",
        "device": "cpu",
        "data": {"name": "jsonl", "source": "text", "target": "answer", **files},
        "tokens": {"max_source": 96, "max_target": 24},
        "teacher": {
            "name": "hf-seq2seq",
            "tokenizer": str(folder / "tokenizer"),
            "config": {"model_type": "t5", **TINY},
            "capture_batch_size": BATCH_SIZE,
        },
        "student": {"name": "hf-seq2seq", "from_teacher": {"encoder_layers": [0], "decoder_layers": [1]}},
        "codec": {"name": "topk", "k": 8},
        "loss": {"name": "kd", "alpha": 0.5, "temperature": 1.0},
        "training": {"max_steps": 100, "epochs": 1, "batch_size": BATCH_SIZE, "best_by": "loss"},
        "evaluation": {"baselines": False},
        "generation": {"beams": 1, "max_new_tokens": 12, "batch_size": BATCH_SIZE},
        "store": {"dir": str(folder / "cache")},
    }


def size_facts(rows: int, runs) -> dict:
    """Medians of a size."""

    def median(of) -> float:
        return statistics.median(of(run) for run in runs)

    own, ours = (median(lambda run, side=side: run["rate"][side]) for side in (0, 1))
    return {
        "rows": rows,
        "seconds": {name: median(lambda run, name=name: run["seconds"][name]) for name in RUN}
        | {name: median(lambda run, name=name: run["reopened"][name]) for name in OPENED},
        "private_bytes": {name: median(lambda run, name=name: run["bytes"][name]) for name in RUN}
        | {name: median(lambda run, name=name: run["reopened_bytes"][name]) for name in OPENED},
        "open_wall_seconds": median(lambda run: run["open_wall_seconds"]),
        "rows_a_second": {"tokenizer": own, "kdkit": ours},
    }


def ratios(sizes) -> dict:
    """What is judged: a further row's seconds and bytes, and kdkit's rate of encoding over the tokenizer's."""
    facts = [size_facts(size, runs) for size, runs in sizes.items()]
    found = {}

    def further(name: str, low: int, high: int, of: str) -> float:
        above, below = facts[high], facts[low]
        return (above[of][name] - below[of][name]) / (above["rows"] - below["rows"])

    for name in STEPS if len(facts) > 2 else ():
        if facts[-1]["seconds"][name] > 1 and further(name, 0, 1, "seconds") > 0:
            ratio = further(name, -2, -1, "seconds") / further(name, 0, 1, "seconds")
            found[f"{name}: time of a further row, large / small"] = {
                "ratio": ratio, "target": LINEAR, "met": ratio <= LINEAR
            }  # fmt: skip
    most = max(further(name, 0, -1, "private_bytes") for name in STEPS)
    found["private memory of a further row, bytes"] = {
        "ratio": most, "target": BYTES_A_ROW, "met": most <= BYTES_A_ROW
    }  # fmt: skip
    rate = facts[-1]["rows_a_second"]
    share = rate["kdkit"] / rate["tokenizer"]
    found["encoding: kdkit's rate over the tokenizer's"] = {"ratio": share, "target": RATE, "met": share >= RATE}
    return found


def show(found) -> None:
    """Both tables."""
    sizes = list(found["sizes"].values())
    print("CPU seconds")
    print_table(
        ("rows", *STEPS),
        [(f"{size['rows']:,}", *(f"{size['seconds'][step]:.2f}" for step in STEPS)) for size in sizes],
    )
    print("\nprivate memory, MB")
    print_table(
        ("rows", *STEPS),
        [(f"{size['rows']:,}", *(f"{size['private_bytes'][step] / 1e6:.0f}" for step in STEPS)) for size in sizes],
    )
    print()
    print_table(
        ("rows", "tokenizer, rows a CPU second", "kdkit, rows a CPU second", "open, s of a clock"),
        [
            (
                f"{size['rows']:,}",
                f"{size['rows_a_second']['tokenizer']:.0f}",
                f"{size['rows_a_second']['kdkit']:.0f}",
                f"{size['open_wall_seconds']:.2f}",
            )
            for size in sizes
        ],
    )
    print()
    print_table(
        ("", "found", "wanted", ""),
        [
            (name, f"{each['ratio']:.2f}", f"{each['target']:.2f}", "met" if each["met"] else "MISSED")
            for name, each in found["ratios"].items()
        ],
    )
    print(facts_line(found["machine"]))


def draw(found, path: Path) -> None:
    """Seconds and private memory by rows."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    sizes = list(found["sizes"].values())
    rows = [size["rows"] for size in sizes]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4))
    for step in STEPS:
        left.plot(rows, [size["seconds"][step] for size in sizes], marker="o", label=step)
        right.plot(rows, [size["private_bytes"][step] / 1e6 for size in sizes], marker="o", label=step)
    left.set(xscale="log", yscale="log", xlabel="training rows", ylabel="CPU seconds")
    right.set(xscale="log", ylim=(0, None), xlabel="training rows", ylabel="private memory, MB")
    right.legend(fontsize="small")
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
