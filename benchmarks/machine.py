"""What the benchmarks share: the machine they run on, processes of their own, and pairs of measurements."""

from __future__ import annotations

import multiprocessing
import resource
import statistics
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import torch

from kdkit.runs.record import versions

PRELOADED = ["accelerate", "transformers.models.t5.modeling_t5", "transformers.trainer_seq2seq", "kdkit.pipeline.run"]


def machine_facts(*, size: int = 2048) -> dict:
    """Versions, threads, and the rate of fp32 matrix products: the best of ten, which is what a model could reach."""
    left, right = torch.randn(size, size), torch.randn(size, size)
    seconds = [timed(torch.mm, left, right)[0] for _ in range(10)]
    return {
        "versions": versions(),
        "threads": torch.get_num_threads(),
        "matrix_gflops": 2 * size**3 / min(seconds) / 1e9,
    }


def timed(call, *arguments, **options):
    """The seconds that a call takes, and what it gives."""
    began = time.perf_counter()
    result = call(*arguments, **options)
    return time.perf_counter() - began, result


def peak_bytes() -> int:
    """The most that this process has had in memory."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def apart(call, *arguments):
    """What a call gives in a process of its own.

    Each is forked from one that has imported the libraries and done nothing else, so that it starts at once and holds
    nothing of the others.
    """
    with ProcessPoolExecutor(1, mp_context=forked_from_libraries()) as processes:
        return processes.submit(call, *arguments).result()


def forked_from_libraries():
    """Where processes are forked from one that has imported the libraries and done nothing else."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    return context


def round_robin(names, repeats: int):
    """Number of the repeat and name, each repeat beginning with another name, so that none is always first."""
    names = list(names)
    for repeat in range(repeats):
        at = repeat % len(names)
        for name in names[at:] + names[:at]:
            yield repeat, name


def ratio_of(numerators, denominators, *, target: float | None = None, limit: float | None = None) -> dict:
    """The median of the pairs' ratios, the least and the greatest of them, and the target beside it.

    Args:
        numerators: One side's figures, a repeat each.
        denominators: The other's, in the same order.
        target: What the median should be at least.
        limit: What it could be if arithmetic were all there is.
    """
    ratios = [above / below for above, below in zip(numerators, denominators, strict=True)]
    found = {"ratio": statistics.median(ratios), "least": min(ratios), "greatest": max(ratios)}
    if limit is not None:
        found["limit"] = limit
    if target is not None:
        found |= {"target": target, "met": found["ratio"] >= target}
    return found


def ratio_rows(ratios: dict) -> list[tuple[str, ...]]:
    """Rows of a table of ratios."""
    return [
        (
            name,
            f"{each['ratio']:.2f}",
            f"{each['least']:.2f} to {each['greatest']:.2f}",
            f"{each['target']:.2f}" if "target" in each else "",
            ("met" if each["met"] else "MISSED") if "met" in each else "",
            f"{each['limit']:.2f}" if "limit" in each else "",
        )
        for name, each in ratios.items()
    ]


RATIO_COLUMNS = ("ratio of speeds", "median", "of the repeats", "target", "", "by arithmetic alone")


def facts_line(facts: dict) -> str:
    """The machine in a line."""
    shown = ", ".join(f"{name} {facts['versions'][name]}" for name in ("python", "torch", "transformers"))
    threads = "1 thread" if facts["threads"] == 1 else f"{facts['threads']} threads"
    return f"{threads}, fp32 matrix products at {facts['matrix_gflops']:.0f} GFLOP/s; {shown}"
