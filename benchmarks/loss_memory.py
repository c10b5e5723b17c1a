"""Peak memory and time of head, loss and backward pass: in chunks of tokens against all logits at once.

    python benchmarks/loss_memory.py [--json] [--tokens 1024] [--chunks 64 256]

Each side runs in processes of its own, because what a process has once taken it seldom gives back. What is reported is
what the teacher's targets of the batch take and by how much the peak of resident memory rises above these, hidden
states, head and the head's gradient; there the C library is told to give back at once what is freed, or its habits
would be measured. The time is taken without that, in another process.
The plain way is what a training loop writes without kdkit: logits of the batch, torch's own cross-entropy and KL
divergence, one backward pass. The teacher's logits are a product of coordinates and a basis, as codec `subspace` has
them; the plain way makes them of it whole. In chunks the same teacher is taken twice: as that product, and as codes of
eight bits, as codec `u8-lz4` has them.

Letters: N tokens, D hidden, R coordinates, V vocabulary.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time

import attrs
import torch

from kdkit.api.values import FactoredTargets, LabelPlaces, QuantizedTargets, TokenCounts
from kdkit.builtin.losses.kd import KD
from kdkit.losses.alignment import teacher_rows
from kdkit.models.linear_head import LinearHead
from kdkit.training import StudentTokens

HIDDEN = 512
RANK = 128
ALPHA, TEMPERATURE = 0.5, 2.0
PLAIN, FACTORED, CODES = "plain", "factored", "codes"
# Of the codes: the teacher's logits have a standard deviation of 1.4, and those beyond 8 do not matter here.
SCALE, ZERO_POINT = 16 / 255, 127.5
COLUMNS = 500


def made(teacher: str, tokens: int, vocab_size: int):
    """States, labels, head, and the teacher's targets; made piece by piece, for copies would set the peak."""
    draw = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw)

    head = torch.nn.Linear(HIDDEN, vocab_size, bias=False)
    with torch.no_grad():
        head.weight.normal_(std=HIDDEN**-0.5, generator=draw)
    head.weight.grad = torch.zeros_like(head.weight).fill_(0.0)  # touched, so that it is in memory
    states_ND = normal(tokens, HIDDEN).requires_grad_()
    states_ND.grad = torch.zeros_like(states_ND)
    labels_N = torch.randint(0, vocab_size, (tokens,), generator=draw)
    coordinates_NR = normal(tokens, RANK)
    shape = (tokens, vocab_size) if teacher == CODES else (RANK, vocab_size)
    wide, offset_V = torch.empty(shape, dtype=torch.uint8 if teacher == CODES else torch.float32), normal(vocab_size)
    for start in range(0, vocab_size, COLUMNS):
        part = slice(start, min(start + COLUMNS, vocab_size))
        basis_RV = normal(RANK, part.stop - start).div_(RANK**0.5)
        if teacher == CODES:
            logits_NV = torch.addmm(offset_V[part], coordinates_NR, basis_RV)
            basis_RV = logits_NV.div_(SCALE).add_(ZERO_POINT).round_().clamp_(0, 255)
        wide[:, part] = basis_RV
    lengths_B = torch.tensor([tokens])
    if teacher != CODES:
        targets = FactoredTargets(
            coordinates_BTR=coordinates_NR[None], basis_RV=wide, offset_V=offset_V, lengths_B=lengths_B
        )
    else:
        grids = torch.tensor([[SCALE], [ZERO_POINT]]).repeat(1, tokens)[:, None]
        targets = QuantizedTargets(codes_BTV=wide[None], scale_BT=grids[0], zero_point_BT=grids[1], lengths_B=lengths_B)
    return states_ND, labels_N, head, targets


def plain(states_ND, labels_N, head, teacher) -> float:
    """All logits at once, by torch's own functions."""
    logits_NV = head(states_ND)
    hard = torch.nn.functional.cross_entropy(logits_NV, labels_N)
    soft = torch.nn.functional.kl_div(
        torch.log_softmax(logits_NV / TEMPERATURE, -1),
        torch.softmax((teacher.coordinates_BTR[0] @ teacher.basis_RV + teacher.offset_V) / TEMPERATURE, -1),
        reduction="batchmean",
    )
    total = ALPHA * TEMPERATURE**2 * soft + (1 - ALPHA) * hard
    total.backward()
    return float(total.detach())


def chunked(states_ND, labels_N, head, teacher, chunk: int) -> float:
    """The engine's way."""
    student = StudentTokens(
        labels_N=labels_N,
        example_N=torch.zeros_like(labels_N),
        rows_NX=states_ND * 1.0,
        head=LinearHead(module=head, layer=head),
        teacher=teacher_rows(teacher, LabelPlaces.of(labels_N[None])),
    )
    loss = KD(alpha=ALPHA, temperature=TEMPERATURE)
    counts = TokenCounts(hard=len(labels_N), soft=len(labels_N))
    return float(student.backward(loss, counts, chunk=chunk).total)


def measure(way: str, tokens: int, vocab_size: int, repeats: int) -> dict[str, float]:
    """One way, in this process."""
    teacher, _, chunk = way.partition(":")
    inputs = made(teacher, tokens, vocab_size)
    small = made(teacher, 8, 64)  # threads and work spaces are there before the measurement
    run = plain if way == PLAIN else lambda *given: chunked(*given, chunk=int(chunk))
    run(*small)
    before = peak_bytes()
    seconds, losses = [], []
    for _ in range(repeats):
        began = time.perf_counter()
        losses.append(run(*inputs))
        seconds.append(time.perf_counter() - began)
    held = sum(each.nbytes for each in attrs.astuple(inputs[-1], recurse=False) if each is not None)
    return {
        "bytes": held + peak_bytes() - before,
        "targets": held,
        "seconds": statistics.median(seconds),
        "loss": losses[0],
    }


def peak_bytes() -> int:
    """The most that this process has had in memory."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def apart(way: str, tokens: int, vocab_size: int, repeats: int) -> dict[str, float]:
    """The same in two processes of its own: one for the memory, one for the time."""
    found = []
    for times, environment in ((1, {"MALLOC_MMAP_THRESHOLD_": "100000"}), (repeats, {})):
        arguments = ["--way", way, "--tokens", str(tokens), "--vocabularies", str(vocab_size), "--repeats", str(times)]
        process = subprocess.run(
            [sys.executable, __file__, *arguments],
            check=True,
            capture_output=True,
            text=True,
            env=os.environ | environment,
        )
        found.append(json.loads(process.stdout))
    return found[1] | {"bytes": found[0]["bytes"]}


def main() -> None:
    """Print both sides for each vocabulary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--tokens", type=int, default=1024, help="label tokens of a batch")
    parser.add_argument("--vocabularies", type=int, nargs="+", default=[32_100, 128_000], help="sizes of vocabularies")
    parser.add_argument("--chunks", type=int, nargs="+", default=[64, 128, 256, 512], help="tokens a chunk")
    parser.add_argument("--repeats", type=int, default=3, help="repeats; the median time counts")
    parser.add_argument("--way", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way is not None:
        print(json.dumps(measure(options.way, options.tokens, options.vocabularies[0], options.repeats)))
        return
    results = []
    for vocab_size in options.vocabularies:
        ways = [PLAIN, *(f"{teacher}:{chunk}" for teacher in (FACTORED, CODES) for chunk in options.chunks)]
        sides = {way: apart(way, options.tokens, vocab_size, options.repeats) for way in ways}
        ratios = {
            way: {key: side[key] / sides[PLAIN][key] for key in ("bytes", "seconds")}
            for way, side in sides.items()
            if way != PLAIN
        }
        results.append({"tokens": options.tokens, "vocabulary": vocab_size, "sides": sides, "ratios": ratios})
    if options.json:
        print(json.dumps({"hidden": HIDDEN, "threads": torch.get_num_threads(), "results": results}, indent=2))
        return
    for result in results:
        print(f"{result['tokens']} tokens, vocabulary {result['vocabulary']}")
        for way, side in result["sides"].items():
            teacher, _, chunk = way.partition(":")
            name = f"{teacher}, chunks of {chunk}" if chunk else teacher
            of_plain = result["ratios"].get(way, {"bytes": 1.0, "seconds": 1.0})
            print(
                f"  {name:24} {side['bytes'] / 1e6:6.0f} MB ({of_plain['bytes']:.2f}), "
                f"targets {side['targets'] / 1e6:4.0f} MB  "
                f"{side['seconds']:6.2f} s ({of_plain['seconds']:.2f})  loss {side['loss']:.6f}"
            )


if __name__ == "__main__":
    main()
