"""Time and memory of a training step with bf16, gradient checkpointing and torch.compile, each against none of them.

    python benchmarks/options_speed.py [--json] [--batch-tokens 2048] [--batches 3] [--repeats 5] [--quick]

A model of T5-small's shape with random weights is trained on the cross-entropy of labels. Sources and targets are as
long as those of Java tests and their assertions: log-normal, medians 209 and 29 tokens, a twentieth above 596 and 96.
Batches hold rows of like length within a budget of tokens.

Each way has a process of its own. They take turns: in each repeat every process passes over the same batches once, and
its time is divided by that of the default in the same repeat; the median of these ratios is what is printed. A pass
before the first repeat, in which torch compiles, is not counted; how long it takes is printed too. Memory is by how
much a pass raises the peak of the resident memory above what model, gradients and optimizer take, the C library being
told to give back at once what is freed. It is read from /proc, so this runs on Linux alone.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import json
import math
import statistics
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

from machine import forked_from_libraries

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

DEFAULT = "default"
WAYS = {
    DEFAULT: {},
    "bf16": {"precision": "bf16"},
    "gradient_checkpointing": {"gradient_checkpointing": True},
    "compile": {"compile": True},
}
SMALL = {"d_model": 512, "d_ff": 2048, "num_layers": 6, "num_heads": 8, "d_kv": 64, "vocab_size": 32_128}
QUICK = {"d_model": 32, "d_ff": 64, "num_layers": 2, "num_heads": 2, "d_kv": 16, "vocab_size": 512}
SOURCES, TARGETS = (209, 596, 1024), (29, 96, 256)  # median, what a twentieth is above, longest
M_MMAP_THRESHOLD = -3


def made_rows(count: int, vocab_size: int):
    """Rows of random tokens, of lengths as they are met."""
    import numpy as np

    from kdkit.api.values import EncodedExample

    draw = np.random.default_rng(0)

    def sequences(median: int, high: int, longest: int):
        spread = math.log(high / median) / 1.645
        lengths = np.clip(draw.lognormal(math.log(median), spread, count).astype(int), 2, longest)
        return [tuple(draw.integers(3, vocab_size, length).tolist()) for length in lengths]

    pairs = zip(sequences(*SOURCES), sequences(*TARGETS), strict=True)
    return [EncodedExample(id=str(i), source_ids=source, target_ids=target) for i, (source, target) in enumerate(pairs)]


class Student:
    """A training of one way, in this process."""

    def __init__(self, way: str, batch_tokens: int, batches: int, *, quick: bool) -> None:
        """Model, batches and optimizer."""
        import torch
        from transformers import T5Config

        from kdkit.api.options import Training
        from kdkit.data.tokens import collate
        from kdkit.models import Seq2SeqModel, new_model
        from kdkit.training import Forward
        from kdkit.training.batching import Lengths, epoch_order, padding_share

        shape = QUICK if quick else SMALL
        config = T5Config(**shape, decoder_start_token_id=0, pad_token_id=0, eos_token_id=1)
        self.model = Seq2SeqModel(module=new_model(config, seed=0), tokenizer=SimpleNamespace(pad_token_id=0))
        self.options = Training(batch_tokens=batch_tokens, group_by_length=True, **WAYS[way])
        rows = made_rows(2000, shape["vocab_size"])
        lengths = Lengths.of(rows)
        order = [batch for batch in epoch_order(lengths, self.options, seed=0, epoch=0) if len(batch) > 1]
        self.rows = [[rows[index] for index in batch] for batch in order[:batches]]
        self.tokens = lengths.tokens(order[:batches])
        self.padding = padding_share(lengths, order[:batches])
        self.batches = [collate(each, pad_id=0) for each in self.rows]
        self.optimizer = torch.optim.AdamW(self.model.module.parameters(), lr=1e-4, fused=True)
        self.forward = Forward.of(self.model)

    def steps(self, count: int | None = None) -> float:
        """A pass over the batches; gives the loss of the last."""
        import torch

        from kdkit.logits.targets import NoTargets, counts_of
        from kdkit.losses import HardLoss

        def autocast():
            return torch.autocast("cpu", torch.bfloat16, enabled=self.options.precision == "bf16")

        torch.manual_seed(0)  # the same dropout in all ways, but for compiled ones
        loss = math.nan
        for rows, batch in list(zip(self.rows, self.batches, strict=True))[:count]:
            with autocast():
                tokens = self.forward(batch, None)
            loss = float(tokens.backward(HardLoss(), counts_of(rows, NoTargets()), autocast=autocast).total)
            torch.nn.utils.clip_grad_norm_(self.model.module.parameters(), 1.0)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=False)
        return loss


def child(asked: Connection, way: str, options: argparse.Namespace) -> None:
    """Warm up, then do what each question asks for, and answer it."""
    from kdkit.models.checkpoint_compile import lean

    student = Student(way, options.batch_tokens, options.batches, quick=options.quick)
    student.model.module.train()
    with lean(student.model, student.options):
        began = time.perf_counter()
        student.steps()
        asked.send({"warm_up_seconds": time.perf_counter() - began, "padding": student.padding})
        while (question := asked.recv()) is not None:
            if question == "memory":
                ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 100_000)
                student.steps(1)
                ctypes.CDLL(None).malloc_trim(0)
                Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
                before = peak_bytes()
                student.steps()
                asked.send({"bytes": peak_bytes() - before})
            else:
                began = time.perf_counter()
                loss = student.steps()
                seconds = time.perf_counter() - began
                asked.send({"seconds": seconds, "tokens_per_second": student.tokens / seconds, "loss": loss})


def peak_bytes() -> int:
    """The most that this process has had in memory since the peak began anew."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")) * 1024


def measured(options: argparse.Namespace) -> dict[str, object]:
    """All ways, in turns."""
    context = forked_from_libraries()
    asked: dict[str, Connection] = {}

    def answer(way: str, question: str | None = None) -> dict[str, float]:
        if question is not None:
            asked[way].send(question)
        try:
            return asked[way].recv()
        except EOFError:
            sys.exit(f"the process of {way} has failed")

    try:
        ready = {}
        for way in options.ways:
            asked[way], given = context.Pipe()
            context.Process(target=child, args=(given, way, options), daemon=True).start()
            given.close()
            ready[way] = answer(way)
        passes = [{way: answer(way, "pass") for way in options.ways} for _ in range(options.repeats)]
        memory = {way: answer(way, "memory")["bytes"] for way in options.ways}
    finally:
        for each in asked.values():
            with contextlib.suppress(BrokenPipeError):
                each.send(None)
    sides = {
        way: {
            "seconds": statistics.median(each[way]["seconds"] for each in passes),
            "tokens_per_second": statistics.median(each[way]["tokens_per_second"] for each in passes),
            "bytes": memory[way],
            "warm_up_seconds": ready[way]["warm_up_seconds"],
            "loss": passes[0][way]["loss"],
        }
        for way in options.ways
    }
    ratios = {
        way: {
            "seconds": statistics.median(each[way]["seconds"] / each[DEFAULT]["seconds"] for each in passes),
            "bytes": memory[way] / memory[DEFAULT],
        }
        for way in options.ways
        if way != DEFAULT
    }
    return {"padding": ready[DEFAULT]["padding"], "sides": sides, "ratios": ratios}


def main() -> None:
    """Print each way and its ratio to the default."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--batch-tokens", type=int, default=2048, help="positions a batch")
    parser.add_argument("--batches", type=int, default=2, help="batches a pass")
    parser.add_argument("--repeats", type=int, default=5, help="passes of each way")
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS), help="what is measured")
    parser.add_argument("--quick", action="store_true", help="a tiny model")
    options = parser.parse_args()
    options.ways = [DEFAULT, *(way for way in options.ways if way != DEFAULT)]
    found = measured(options)
    if options.json:
        import torch

        about = {"batch_tokens": options.batch_tokens, "threads": torch.get_num_threads(), "repeats": options.repeats}
        print(json.dumps(about | found, indent=2))
        return
    print(f"batches of {options.batch_tokens} positions, {found['padding']:.1%} of them padding")
    for way, side in found["sides"].items():
        ratio = found["ratios"].get(way, {"seconds": 1.0, "bytes": 1.0})
        print(
            f"  {way:24} {side['seconds']:7.2f} s ({ratio['seconds']:.2f})  {side['bytes'] / 1e6:7.0f} MB "
            f"({ratio['bytes']:.2f})  {side['tokens_per_second']:7.0f} tokens/s  "
            f"warm-up {side['warm_up_seconds']:.0f} s  loss {side['loss']:.3f}"
        )


if __name__ == "__main__":
    main()
