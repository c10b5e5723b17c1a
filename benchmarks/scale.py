"""What a corpus costs by its size: CPU time and private memory of each step, and encoding beside tokenizing.

    python benchmarks/scale.py [--json] [--sizes 10000 100000 1000000] [--capture-to 100000] [--folder FOLDER]

For each size a whole run of a tiny recipe (a T5 of two layers, codec topk, a hundred steps, greedy texts): rows of 60
tokens as JSON lines, and a hundredth of them again as validation and as test rows, no two rows the same. Then another
process opens what there is: rows and ids from the store, the plan, the cache, the batches of a whole epoch. Each size
has processes of its own. Above `--capture-to` rows the teacher is not asked: there are no steps capture, evaluate and
report, and the cache that is opened has records which no teacher computed, of the same size.

Seconds are those of the CPU, all threads of a process together: other work on the machine makes a wall clock tell
little. Private memory is the most that a process held for itself (RssAnon of Linux); files that are mapped are not in
it, since processes share them.

A step is linear where a further row takes as long whatever the size. What is judged is a further row between the two
largest sizes over one between the two smallest, where the second largest takes more than a second.

`--folder` keeps what was measured: `measured.json`, written after each size; and made of it `report.md` and `cost.png`.
Sizes that the folder has are not measured again.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import tempfile
import threading
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from assertion_rows import TINY
from machine import apart, facts_line, machine_facts

from kdkit.cli.output import print_json, print_table
from kdkit.system.progress import Silent

STEPS = {
    "read": "JSON lines become rows",
    "describe": "rows and columns are written and hashed, rows and lengths counted",
    "encode": "rows become token ids",
    "check": "the estimate, and what fits together",
    "capture": "logits of all rows, encoded by topk and written",
    "evaluate": "texts and losses of the held-out rows",
    "report": "the page",
    "open": "rows and ids in a later process",
    "plan": "the estimate of the run, made in a later process",
    "cache open": "the cache is opened, and each row looked up in it",
    "epoch's batches": "an epoch's rows, shuffled, grouped by length, made batches",
}
ASKED = ("capture", "evaluate", "report")
"""Steps that need the teacher."""
HELD_OUT = 100
RECORD_BYTES = 310
BATCH_SIZE = 64
CHUNK = 1000
COMPARED = 20_000
"""Rows of which both sides of encoding are timed, in turns."""
LINEAR, RATE, PRIVATE_MB, OPEN_SECONDS = 1.3, 0.8, 1000, 2.0
SEED = 4
COMMAND = "python benchmarks/scale.py --folder docs/results/scale"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000], help="training rows")
    parser.add_argument(
        "--capture-to", type=int, default=100_000, help="the largest size at which the teacher is asked"
    )
    parser.add_argument("--folder", type=Path, help="where numbers, page and picture are kept")
    parser.add_argument("--quick", action="store_true", help="few rows: tries the benchmark itself")
    options = parser.parse_args()
    sizes = [100, 200] if options.quick else options.sizes
    if min(sizes) < 100 or sorted(set(sizes)) != sizes:
        parser.error("--sizes must be in rising order, the first 100 at least")
    capture_to = sizes[0] if options.quick else options.capture_to
    kept = options.folder / "measured.json" if options.folder is not None else None
    if kept is not None and kept.exists():
        found = json.loads(kept.read_text())
    else:
        setting = {"capture_to": capture_to, "held_out": f"1 in {HELD_OUT}", "batch_size": BATCH_SIZE}
        found = {"machine": machine_facts(size=256 if options.quick else 2048), "setting": setting, "sizes": {}}
    for size in sizes:
        if str(size) not in found["sizes"]:
            found["sizes"][str(size)] = measure(size, asked=size <= capture_to)
            if kept is not None:
                kept.parent.mkdir(parents=True, exist_ok=True)
                kept.write_text(json.dumps(found, indent=2) + "\n")
    found["sizes"] = dict(sorted(found["sizes"].items(), key=lambda each: each[1]["rows"]))
    found["ratios"] = ratios(found["sizes"])
    if kept is not None:
        kept.write_text(json.dumps(found, indent=2) + "\n")
        write_page(found, options.folder)
    print_json(found) if options.json else show(found)


def measure(size: int, *, asked: bool) -> dict:
    """All of one size, in a folder that goes afterwards."""
    with tempfile.TemporaryDirectory(prefix="kdkit-scale-") as folder:
        steps = apart(partial(whole_run, asked=asked), size, folder)
        if not asked:
            apart(records_of_no_teacher, folder)
        again = apart(opened, folder)
        own, ours = apart(rates, folder)
    return {
        "rows": size,
        "seconds": {**steps["seconds"], **again["seconds"]},
        "private_bytes": {**steps["private_bytes"], **again["private_bytes"]},
        "open_wall_seconds": again["open_wall_seconds"],
        "tokens_a_row": again["tokens_a_row"],
        "rows_a_second": {"tokenizer": own, "kdkit": ours},
    }


class Measured(Silent):
    """Measures the tasks of a stage, by their names, and shows nothing."""

    def __init__(self, seconds: dict, memory: dict) -> None:
        self._seconds, self._memory = seconds, memory

    @contextmanager
    def task(self, name, **facts):
        with measured(self._seconds, self._memory, name), super().task(name, **facts) as task:
            yield task


def whole_run(rows: int, folder: str, *, asked: bool) -> dict:
    """A run of so many training rows, up to the check if the teacher is not asked: seconds and memory of its steps."""
    from kdkit.pipeline.run import open_here
    from kdkit.pipeline.stages import STAGES
    from kdkit.recipe import load_recipe
    from kdkit.runs.resume import do

    recipe = load_recipe(recipe_table(rows, Path(folder)))
    seconds, memory = {}, {}
    with open_here(recipe, Path(folder) / "run", fresh=False, progress=Measured(seconds, memory)) as run:
        for stage in STAGES:
            if asked or stage.name in {"data", "check"}:
                with measured(seconds, memory, f"stage {stage.name}"):
                    do(run, stage, STAGES)
        if asked:
            run.finish()
    tasks = {"read": "data", "encode": "encode"}
    found = {name: seconds[task] for name, task in tasks.items() if task in seconds}
    found["describe"] = seconds["stage data"] - sum(found.values())
    held = {name: memory[task] for name, task in tasks.items() if task in memory}
    held["describe"] = memory["stage data"]
    for name in ("check", *(ASKED if asked else ())):
        found[name], held[name] = seconds[f"stage {name}"], memory[f"stage {name}"]
    return {"seconds": found, "private_bytes": held}


def told_by(folder: str, *stages: str) -> list[dict]:
    """What stages of the run told."""
    record = json.loads((Path(folder) / "run" / "run.json").read_text())
    return [record["stages"].get(stage, {}).get("facts", {}) for stage in stages]


def rows_and_tokenizer(folder: str):
    """The run's recipe, its rows, the training rows as ids, and the tokenizer."""
    from kdkit.recipe import load_stored
    from kdkit.store import rows as stored

    run = Path(folder) / "run"
    recipe = load_stored(run / "recipe.toml")
    tokenizer = recipe.teacher.load_tokenizer(None)
    corpus = stored.read(run / "data", told_by(folder, "data")[0]["digest"], Path(folder) / "cache", Silent())
    return recipe, corpus, stored.rows_of(corpus.train, tokenizer, recipe.encoding).encoded, tokenizer


def records_of_no_teacher(folder: str) -> None:
    """A cache with a record of each row, as large as topk's records of these rows are, of random bytes."""
    import numpy as np

    from kdkit.logits.cache import CacheIdentity, Manifest
    from kdkit.logits.cache.shard_writer import GrowingShard
    from kdkit.logits.targets import keys_of
    from kdkit.models import tokenizer_digest

    recipe, _, rows, tokenizer = rows_and_tokenizer(folder)
    identity = CacheIdentity(
        teacher="a" * 64,
        teacher_name="none",
        tokenizer=tokenizer_digest(tokenizer),
        codec="u8-lz4",
        codec_options={"scope": "row", "level": 0},
        vocab_size=len(tokenizer),
    )
    cache = Path(folder) / "no-teacher"
    cache.mkdir()
    entries, growing = [], None
    payload = np.random.default_rng(SEED).bytes(RECORD_BYTES)
    keys = keys_of(rows, teacher=identity.teacher, tokenizer=identity.tokenizer).keys_RK
    for key, tokens in zip(keys, rows.target_lengths.tolist(), strict=True):
        if growing is None:
            growing = GrowingShard(cache, len(entries), identity, "")
        growing.add(key.tobytes(), payload, tokens)
        if growing.size >= recipe.store.shard_mb * 1_000_000:
            entries.append(growing.seal())
            growing = None
    if growing is not None:
        entries.append(growing.seal())
    Manifest(identity=identity, shards=tuple(entries)).write(cache)


def opened(folder: str) -> dict:
    """What a later process takes: CPU seconds, private memory, and the wall clock of opening rows and ids."""
    from kdkit.api.options import Training
    from kdkit.data.tokens import collate
    from kdkit.logits.cache import LogitCache
    from kdkit.logits.targets import keys_of
    from kdkit.models import tokenizer_digest
    from kdkit.pipeline.estimate import estimate
    from kdkit.recipe import load_stored
    from kdkit.training.batching import Lengths, epoch_order

    run = Path(folder) / "run"
    captured = told_by(folder, "capture")[0]
    seconds, memory = {}, {}
    load_stored(run / "recipe.toml").teacher.load_tokenizer(None)
    began = time.perf_counter()
    with measured(seconds, memory, "open"):
        recipe, corpus, encoded, tokenizer = rows_and_tokenizer(folder)
    wall = time.perf_counter() - began
    with measured(seconds, memory, "plan"):
        estimate(recipe, corpus, Path(folder) / "cache")
    with measured(seconds, memory, "cache open"):
        cache = LogitCache.open(Path(captured["cache"]) if captured else Path(folder) / "no-teacher")
        teacher = captured["identity"] if captured else "a" * 64
        keys = keys_of(encoded, teacher=teacher, tokenizer=tokenizer_digest(tokenizer))
        assert cache.holds(keys.keys_RK).all()
    with measured(seconds, memory, "epoch's batches"):
        for batch in epoch_order(Lengths.of(encoded), Training(batch_size=BATCH_SIZE), seed=1, epoch=0):
            collate(encoded.take(batch), pad_id=0)
    tokens = (encoded.source_lengths.sum() + encoded.target_lengths.sum()) / len(encoded)
    return {"seconds": seconds, "private_bytes": memory, "open_wall_seconds": wall, "tokens_a_row": float(tokens)}


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
                row = {"text": f"{next(numbers)} {text(18, 40)}", "answer": text(4, 12)}
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


def ratios(sizes: dict) -> dict:
    """What is judged, each beside what is wanted."""
    facts = list(sizes.values())
    found = {}

    def further(name: str, low: dict, high: dict, of: str) -> float:
        return (high[of][name] - low[of][name]) / (high["rows"] - low["rows"])

    for name in STEPS:
        has = [size for size in facts if name in size["seconds"]]
        if len(has) > 2 and has[-2]["seconds"][name] > 1 and further(name, has[0], has[1], "seconds") > 0:
            ratio = further(name, has[-2], has[-1], "seconds") / further(name, has[0], has[1], "seconds")
            found[f"{name}: CPU time of a further row, large / small"] = at_most(ratio, LINEAR)
    found["most private memory, MB"] = at_most(max(facts[-1]["private_bytes"].values()) / 1e6, PRIVATE_MB)
    found["open, seconds of a clock"] = at_most(facts[-1]["open_wall_seconds"], OPEN_SECONDS)
    rate = facts[-1]["rows_a_second"]
    share = rate["kdkit"] / rate["tokenizer"]
    found["encoding: kdkit's rate over the tokenizer's"] = {"ratio": share, "target": RATE, "met": share >= RATE}
    return found


def at_most(value: float, limit: float) -> dict:
    return {"ratio": value, "target": limit, "met": value <= limit}


def tables(found: dict) -> list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    """What was measured: titles, heads and rows."""
    sizes = list(found["sizes"].values())
    head = ("step", *(f"{size['rows']:,} rows" for size in sizes))

    def by_step(of: str, number) -> list[tuple[str, ...]]:
        return [
            (step, *(number(size[of][step], size) if step in size[of] else "not run" for size in sizes))
            for step in STEPS
        ]

    micros = by_step("seconds", lambda value, size: f"{value / size['rows'] * 1e6:,.1f}")
    seconds = by_step("seconds", lambda value, _: f"{value:,.2f}")
    memory = by_step("private_bytes", lambda value, _: f"{value / 1e6:,.0f}")
    for number, (step, *_) in enumerate(memory):
        has = [size for size in sizes if step in size["private_bytes"]]
        more = [size["private_bytes"][step] for size in has]
        further = (more[-1] - more[0]) / (has[-1]["rows"] - has[0]["rows"]) / 1e3 if len(has) > 1 else None
        memory[number] += ("" if further is None else f"{max(further, 0):.3f}",)
    sides = [
        (f"{size['rows']:,}", *(f"{size['rows_a_second'][side]:,.0f}" for side in ("tokenizer", "kdkit")),
         f"{size['rows_a_second']['kdkit'] / size['rows_a_second']['tokenizer']:.3f}",
         f"{size['open_wall_seconds']:.3f}", f"{size['tokens_a_row']:.1f}")
        for size in sizes
    ]  # fmt: skip
    judged = [
        (name, f"{each['ratio']:,.3f}", f"{each['target']:,.3f}", "yes" if each["met"] else "no")
        for name, each in found["ratios"].items()
    ]
    columns = ("training rows", "tokenizer, rows a CPU second", "kdkit, rows a CPU second", "kdkit / tokenizer",
               "rows and ids opened, s of a clock", "tokens a row")  # fmt: skip
    return [
        ("CPU time of a training row, µs", head, micros),
        ("CPU time in all, s", head, seconds),
        ("Private memory at its peak, MB", (*head, "further row, kB"), memory),
        ("Encoding and opening", columns, sides),
        ("What is wanted", ("", "found", "wanted", "met"), judged),
    ]


def show(found: dict) -> None:
    """Every table."""
    for title, head, rows in tables(found):
        print(title)
        print_table(head, rows)
        print()
    print(facts_line(found["machine"]))


def write_page(found: dict, folder: Path) -> None:
    """The page and its picture."""
    draw(found, folder / "cost.png")
    (folder / "report.md").write_text(page(found))


def page(found: dict) -> str:
    """The tables as a page, with the picture."""
    parts = [
        "# What a corpus costs by its size",
        (
            f"Measured by `{COMMAND}`, which made this page; {facts_line(found['machine'])}. Seconds are those of the "
            "CPU, all threads together, since other work shared the machine. Above "
            f"{found['setting']['capture_to']:,} rows the teacher was not asked: capture, evaluate and report were not "
            "run there, and the cache that was opened has records which no teacher computed."
        ),
        "![CPU seconds and private memory by rows](cost.png)",
        "\n".join(f"- {step}: {what}" for step, what in STEPS.items()),
    ]
    for title, head, rows in tables(found):
        lines = [head, ("---",) * len(head), *rows]
        parts += [f"## {title}", "\n".join(f"| {' | '.join(line)} |" for line in lines)]
    return "\n\n".join(parts) + "\n"


def draw(found: dict, path: Path) -> None:
    """Seconds and private memory by rows."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    sizes = list(found["sizes"].values())
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5))
    for number, step in enumerate(STEPS):
        has = [size for size in sizes if step in size["seconds"]]
        rows = [size["rows"] for size in has]
        style = {"color": f"C{number % 10}", "marker": "os^"[number // 5], "label": step}
        left.plot(rows, [size["seconds"][step] for size in has], **style)
        right.plot(rows, [size["private_bytes"][step] / 1e6 for size in has], **style)
    left.set(xscale="log", yscale="log", xlabel="training rows", ylabel="CPU time, s")
    right.set(xscale="log", ylim=(0, 1000), xlabel="training rows", ylabel="private memory at its peak, MB")
    right.legend(fontsize="small", loc="upper left", ncols=2)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
