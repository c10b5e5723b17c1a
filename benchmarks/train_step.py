"""How many examples a second a training takes in, however it is done.

    python benchmarks/train_step.py [--json] [--data FOLDER --tokenizer FOLDER] [--repeats 3]

The student has codet5-small's shape, the teacher codet5-base's, both with random weights and a vocabulary of 32,100;
rows are as long as real Java test methods (see `assertion_rows.py`). The sides:

- Seq2SeqTrainer: Hugging Face's own, cross-entropy alone, its collator and its optimizer as they are by default;
- kdkit CE: kdkit's trainer, cross-entropy alone, the same batches in the same order at the same rates;
- kdkit CE, own batches: the same rows in batches of like length and at most so many tokens (`group_by_length`,
  `batch_tokens`), about as many rows a batch on average;
- kdkit KD: alpha 0.5, temperature 2, the teacher's logits from a cache that the library filled;
- on-line KD: the same trainer and loss, the teacher's forward pass with full logits in every step;
- the thesis's way: rows padded to 1,024 and 512, batches of 2, the teacher's padded logits as 8-bit LZ4 in hex, decoded
  in the loop, softmaxes over all of [2, 512, 32100]; written from its description.

All sides train on the same rows, but the thesis's way, which has two of them and takes the same time for any. They are
those of `--batches` of kdkit's own batches, evenly spread over the batches that it makes of 1,600 rows: so few rows
alone would not find others of their length. Distilling and on-line sides have these batches; Seq2SeqTrainer and "kdkit
CE" have the rows in random order, so many a batch.

Times: all sides in one process, one after the other in each repeat, each repeat beginning with another side, so that
both sides of a ratio meet the same state of the machine; a ratio is the median of the repeats' ratios. The clock runs
from the trainer's start of training to the end of the last step: making models, optimizers and loaders is left out on
all sides, and so is saving.
Memory: the peak of a process of its own in which a side has done some short rows, and then the heaviest batch of the
rows in random order; sides with batches of a budget split that, and the thesis's way has two rows, padded.
"By arithmetic alone" is what a ratio would be if the matrix products were all there is, at one rate on both sides.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
from pathlib import Path

import attrs
from assertion_rows import (
    BASE,
    SMALL,
    TINY,
    VOCAB,
    add_arguments,
    check_arguments,
    forward_flops,
    make_rows,
    make_tokenizer,
)
from machine import (
    RATIO_COLUMNS,
    apart,
    facts_line,
    machine_facts,
    peak_bytes,
    ratio_of,
    ratio_rows,
    round_robin,
)
from recorded_teacher import record
from training_sides import AT_RANDOM, CE, HF, KD_SIDES, ONLINE, OWN, PADDED, SEED, SIDES, Setting, Sides

from kdkit.api.options import Training
from kdkit.cli.output import print_json, print_table
from kdkit.training.batching import Lengths, epoch_order, padding_share

POOL = 200
"""How many batches of rows kdkit's own batches are made of: two of its pools."""
KD = {name: side for side, name in KD_SIDES.items()}
# Faster side, slower side, by how much it should be.
TARGETS = (
    (CE, HF, 1.0),
    (OWN, HF, 1.5),
    (KD["subspace"], OWN, 0.90),
    (KD["topk"], OWN, 0.90),
    (KD["u8-lz4"], OWN, 0.80),
    (KD["float"], OWN, None),
    (KD["subspace"], ONLINE, 2.0),
    (KD["topk"], ONLINE, 2.0),
    (KD["u8-lz4"], ONLINE, 2.0),
    (KD["subspace"], PADDED, 8.0),
    (KD["topk"], PADDED, 8.0),
    (KD["u8-lz4"], PADDED, 8.0),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--batches", type=int, default=4, help="kdkit's own batches, whose rows all share (default 4)")
    parser.add_argument("--batch-size", type=int, default=8, help="rows a batch (default 8)")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each side (default 3)")
    parser.add_argument("--dropout", type=float, default=0.1, help="the student's (default 0.1)")
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=SIDES, metavar="SIDE", help="measure only these")
    parser.add_argument("--quick", action="store_true", help="tiny models and rows: tries the benchmark itself")
    add_arguments(parser)
    options = parser.parse_args()
    check_arguments(parser, options)
    with tempfile.TemporaryDirectory(prefix="kdkit-train-step-") as folder:
        setting = make_setting(options, Path(folder))
        facts = machine_facts(size=256 if options.quick else 2048)
        sizes = apart(record, setting) if {*options.sides} & {*KD_SIDES, PADDED} else {}
        passes = apart(measure_times, setting, options.sides, options.repeats)
        peaks = {side: apart(measure_memory, setting, side) for side in options.sides}
    found = {
        "machine": facts,
        "setting": {
            "student": setting.student,
            "teacher": setting.teacher,
            "vocabulary": setting.vocab_size,
            "rows": len(setting.rows),
            "batch_size": setting.batch_size,
            "batch_tokens": setting.batch_tokens,
            "dropout": setting.dropout,
            "repeats": options.repeats,
            "lengths": "data" if options.data is not None else "drawn",
            "cache_bytes_a_token": sizes,
        },
        "sides": {side: side_facts(setting, side, passes[side], peaks[side], facts) for side in options.sides},
        "ratios": ratios(setting, passes),
    }
    if options.json:
        print_json(found)
    else:
        show(found)


def make_setting(options, folder: Path) -> Setting:
    quick = options.quick
    tokenizer = make_tokenizer(options.tokenizer, 300 if quick else VOCAB)
    like = {"data": options.data, "tokenizer": tokenizer, "scale": 0.1 if quick else 1.0}
    pool = make_rows(POOL * options.batch_size, seed=SEED, **like)
    tokens = options.batch_size * sum(map(length, pool)) // len(pool)
    grouped = sample_of_batches(pool, tokens, options.batches)
    rows = random.Random(SEED).sample(grouped, len(grouped))
    short = sorted(pool, key=lambda row: len(row.source_ids))[: options.batch_size]
    return Setting(
        tokenizer=options.tokenizer,
        vocab_size=len(tokenizer),
        student=TINY if quick else SMALL,
        teacher=TINY | {"d_model": 24} if quick else BASE,
        dropout=options.dropout,
        batch_size=options.batch_size,
        batch_tokens=tokens,
        grouped=grouped,
        rows=rows,
        small=[attrs.evolve(row, id=f"short-{row.id}") for row in short],
        padded=(128, 32) if quick else (1024, 512),
        folder=folder,
    )


def length(row) -> int:
    return len(row.source_ids) + len(row.target_ids)


def sample_of_batches(pool, batch_tokens: int, count: int) -> list:
    """The rows of some of the batches that kdkit makes of a pool: evenly spread over all of them, shortest first."""
    training = Training(batch_tokens=batch_tokens, group_by_length=True)
    batches = epoch_order(Lengths.of(pool), training, seed=SEED, epoch=0)
    ordered = sorted(batches, key=lambda batch: max(length(pool[index]) for index in batch))
    chosen = [ordered[int((number + 0.5) * len(ordered) / count)] for number in range(count)]
    return [pool[index] for batch in chosen for index in batch]


def measure_times(setting: Setting, names, repeats: int) -> dict:
    """Each side's passes, by repeat. Before the first each trains on the short rows: what is loaded when it is first
    used is loaded then.
    """
    sides, found = Sides(setting), {name: [] for name in names}
    assert sides.initial, "kept before anything is trained"
    for name in names:
        if name != PADDED:  # its own first step is not timed
            sides.train(name, setting.small)
    for _, name in round_robin(names, repeats):
        found[name].append(sides.timed(name))
    return found


def measure_memory(setting: Setting, name: str) -> int:
    """The peak of this process, which is a side's own."""
    Sides(setting).train(name, [*setting.small, *setting.heaviest])
    return peak_bytes()


def side_facts(setting: Setting, name: str, passes, peak: int, facts) -> dict:
    """What is known of a side."""
    rows = Sides(setting).rows_of(name)
    seconds = [each.seconds for each in passes]
    gflop = flops(setting, name) / 1e9
    return {
        "rows": len(rows),
        "seconds": seconds,
        "examples_per_second": len(rows) / statistics.median(seconds),
        "loss": passes[0].loss,
        "peak_bytes": peak,
        "padding": padding_share(Lengths.of(rows_in_order(setting, name)), batches_of(setting, name))
        if name != PADDED
        else 1 - sum(map(length, rows)) / (len(rows) * sum(setting.padded)),
        "gflop_an_example": gflop / len(rows),
        "share_of_matrix_rate": gflop / statistics.median(seconds) / facts["matrix_gflops"],
    }


def rows_in_order(setting: Setting, name: str) -> list:
    return Sides(setting).rows_of(name)


def batches_of(setting: Setting, name: str) -> list[list[int]]:
    """The batches that a side is timed on, as places among its rows."""
    training = Training(
        shuffle=False,
        drop_last=False,
        batch_size=setting.batch_size,
        batch_tokens=0 if name in AT_RANDOM else setting.batch_tokens,
    )
    return epoch_order(Lengths.of(rows_in_order(setting, name)), training, seed=SEED, epoch=0)


def flops(setting: Setting, name: str) -> float:
    """Operations of the matrix products of a side's timed steps: the backward pass has twice those of the forward."""
    if name == PADDED:
        rows = [setting.padded[0]] * 2, [setting.padded[1]] * 2
        return 3 * forward_flops(setting.student, setting.vocab_size, *rows, 2 * setting.padded[1])
    rows, total = rows_in_order(setting, name), 0.0
    for batch in batches_of(setting, name):
        sources, targets = (
            [len(ids) for ids in side]
            for side in zip(*((rows[i].source_ids, rows[i].target_ids) for i in batch), strict=True)
        )
        labels, size = sum(targets), len(batch)
        sources, targets = [max(sources)] * size, [max(targets)] * size
        head_tokens = sum(targets) if name == HF else labels
        total += 3 * forward_flops(setting.student, setting.vocab_size, sources, targets, head_tokens)
        if name == ONLINE:
            total += forward_flops(setting.teacher, setting.vocab_size, sources, targets, sum(targets))
        if name == KD["subspace"]:
            total += 2 * labels * setting.teacher["d_model"] * setting.vocab_size
    return total


def ratios(setting: Setting, passes) -> dict:
    """Those of the targets whose sides were measured."""
    found = {}
    for faster, slower, target in TARGETS:
        if faster in passes and slower in passes:
            speeds = {
                side: [len(Sides(setting).rows_of(side)) / each.seconds for each in passes[side]]
                for side in (faster, slower)
            }
            work = {side: flops(setting, side) / len(Sides(setting).rows_of(side)) for side in (faster, slower)}
            limit = work[slower] / work[faster]
            found[f"{faster} / {slower}"] = ratio_of(speeds[faster], speeds[slower], target=target, limit=limit)
    return found


def show(found) -> None:
    """Both tables."""
    print_table(
        (
            "side",
            "examples/s",
            "s (median)",
            "rows",
            "padding",
            "GFLOP an example",
            "of the matrix rate",
            "peak MB",
            "loss",
        ),
        [
            (
                name,
                f"{side['examples_per_second']:.2f}",
                f"{statistics.median(side['seconds']):.2f}",
                str(side["rows"]),
                f"{side['padding']:.0%}",
                f"{side['gflop_an_example']:.1f}",
                f"{side['share_of_matrix_rate']:.0%}",
                f"{side['peak_bytes'] / 1e6:.0f}",
                f"{side['loss']:.4f}",
            )
            for name, side in found["sides"].items()
        ],
    )
    print()
    print_table(RATIO_COLUMNS, ratio_rows(found["ratios"]))
    print(facts_line(found["machine"]))


if __name__ == "__main__":
    main()
