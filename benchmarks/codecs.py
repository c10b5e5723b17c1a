"""Codecs on real logits, and what was aimed at: both sides of each target, measured in one run.

    python benchmarks/real_logits.py real.safetensors
    python benchmarks/codecs.py real.safetensors [--json] [--plot rate.png]

The table is that of `kdkit codec bench`. A target names what it compares; whether it is met follows from the figures.
"""

from __future__ import annotations

import argparse
import itertools
import math
from pathlib import Path

from kdkit import plugins
from kdkit.cli.codec import table_of
from kdkit.cli.output import print_json, print_table
from kdkit.logits.bench import check_plot, draw_plot, fit_candidate, measure, parse_candidate, read_tensors
from kdkit.system import progress

TEMPERATURES = (0.5, 1.0, 2.0, 4.0)
SUBSPACE_STEPS = (0.0025, 0.005, 0.0075, 0.01, 0.0125, 0.015, 0.02, 0.04, 0.08)
SHAPED_STEPS = (0.0075, 0.01, 0.0125, 0.015, 0.02, 0.04, 0.08)
KEPT, DRAWS = 128, 50
TOPK = f"topk:k={KEPT},temperatures=[0.5,1,2,4]"
TOPK_ONE = f"topk:k={KEPT}"
TOPK_SMALL = "topk:k=48"
SAMPLED = f"sampled:draws={DRAWS}"
CODECS = (
    "u8-lz4",
    "u8-lz4:clip=16",
    "u8-lz4:clip=12",
    "float:compression=zstd",
    "float:compression=zstd,planes=true",
    "float:dtype=fp16",
    "float:dtype=bf16,compression=zstd,planes=true",
    *(f"subspace:step={step}" for step in SUBSPACE_STEPS),
    *(f"subspace:step={step},shaping=[1.0]" for step in SHAPED_STEPS),
    TOPK_ONE,
    TOPK_SMALL,
    TOPK,
    SAMPLED,
)
# Of rounding for the divergence: the most of nearest rounding's bytes at u8-lz4's KL, of its KL by temperature within
# the budget, and of its gradient's error within the small budget.
SHAPED_BYTES, SHAPED_KL = 0.88, {0.5: 0.1, 1.0: 0.5, 2.0: 7 / 6, 4.0: 7 / 6}
SMALL_BUDGET, SHAPED_GRADIENT = 120, 0.2
# The second target's budget in bytes a token, and the largest KL by temperature.
BUDGET, LIMITS = 312, {0.5: 0.01, 1.0: 0.005, 2.0: 0.003, 4.0: 0.001}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="what real_logits.py wrote")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--plot", type=Path, help="where the plot of KL against bytes goes")
    options = parser.parse_args()
    if options.plot is not None:
        check_plot(options.plot)
    material, installed = read_tensors(options.file), plugins.load()
    coders = [fit_candidate(parse_candidate(spec, installed), material) for spec in CODECS]
    measurement = measure(material, coders, temperatures=TEMPERATURES, progress=progress.for_stderr())
    found = targets(measurement.results, material.vocab_size)
    show(measurement, material, found, as_json=options.json)
    if options.plot is not None:
        draw_plot(measurement.results, options.plot)


def show(measurement, material, found, *, as_json):
    """The table and the targets, or both as JSON."""
    if as_json:
        facts = {"file": material.name, "tokens": measurement.tokens, "records": measurement.records}
        results = [result.to_json() for result in measurement.results]
        print_json({**facts, "student": measurement.student, "results": results, "targets": found})
        return
    print_table(*table_of(measurement.results, TEMPERATURES))
    print(f"{measurement.tokens:,} tokens in {measurement.records:,} records; {material.learnt_from}")
    print()
    columns = ("target", "ours", "compared with", "figure", "due", "")
    print_table(columns, [shown(target) for target in found])


def targets(results, vocab_size):
    """Each target with its two sides, its figure, what the figure must be, and whether it is."""
    by_label = {result.label: result for result in results}
    both = [result for result in results if result.codec == "subspace"]
    subspace = [result for result in both if not result.options.get("shaping")]
    shaped = [result for result in both if result.options.get("shaping")]
    return [
        smallest_at_equal_kl(subspace, by_label["u8-lz4"]),
        *(least_kl_within_budget(subspace, temperature) for temperature in LIMITS),
        shaped_bytes(shaped, subspace, by_label["u8-lz4"]),
        *(shaped_kl(shaped, subspace, temperature) for temperature in SHAPED_KL),
        shaped_gradient(shaped, subspace),
        smaller_than_flat(by_label[TOPK_ONE], vocab_size),
        sampled_bytes(by_label[SAMPLED]),
        sampled_cosine(by_label[SAMPLED]),
    ]


def smallest_at_equal_kl(subspace, u8):
    """How many times smaller the smallest subspace is that has no more KL than eight bits a logit."""
    good = [result for result in subspace if result.kl[1.0] <= u8.kl[1.0]]
    best = min(good, key=lambda result: result.bytes_per_token, default=None)
    return row(
        "subspace no worse than u8-lz4 at T = 1 is at least 110 times smaller",
        ours=side(best),
        other=side(u8),
        figure=u8.bytes_per_token / best.bytes_per_token if best is not None else 0.0,
        due=">= 110",
        met=best is not None and u8.bytes_per_token >= 110 * best.bytes_per_token,
    )


def least_kl_within_budget(subspace, temperature):
    """The KL of the finest subspace within the budget."""
    within = [result for result in subspace if result.bytes_per_token <= BUDGET]
    best = min(within, key=lambda result: result.kl[1.0], default=None)
    kl = best.kl[temperature] if best is not None else math.inf
    return row(
        f"subspace within {BUDGET} B/token, KL at T = {temperature:g}",
        ours=side(best, temperature),
        other=f"the limit {LIMITS[temperature]:g}",
        figure=kl if math.isfinite(kl) else None,
        due=f"<= {LIMITS[temperature]:g}",
        met=kl <= LIMITS[temperature],
    )


def bytes_at(results, kl):
    """Bytes a token at which the mean KL at T = 1 is that, between the two settings next to it; None outside."""
    points = sorted((result.kl[1.0], result.bytes_per_token) for result in results)
    for (low, large), (high, small) in itertools.pairwise(points):
        if low <= kl <= high and 0 < low < high:
            return large + (small - large) * math.log(kl / low) / math.log(high / low)
    return None


def at_bytes(results, size, value):
    """The geometric mean of a value between the two settings next to a size, by their distance from it."""
    points = sorted((result.bytes_per_token, value(result)) for result in results)
    for (small, less), (large, more) in itertools.pairwise(points):
        if small <= size <= large and small < large and min(less, more) > 0:
            return math.exp(math.log(less) + math.log(more / less) * (size - small) / (large - small))
    return None


def shaped_bytes(shaped, nearest, u8):
    ours, other = bytes_at(shaped, u8.kl[1.0]), bytes_at(nearest, u8.kl[1.0])
    figure = ours / other if ours and other else None
    return row(
        f"shaped subspace at u8-lz4's KL takes at most {SHAPED_BYTES} of nearest rounding's bytes",
        ours=said(ours, "B/token"), other=f"nearest: {said(other, 'B/token')}",
        figure=figure, due=f"<= {SHAPED_BYTES}", met=figure is not None and figure <= SHAPED_BYTES,
    )  # fmt: skip


def shaped_kl(shaped, nearest, temperature):
    def kl(result):
        return result.kl[temperature]

    ours, other = at_bytes(shaped, BUDGET, kl), at_bytes(nearest, BUDGET, kl)
    figure, due = ours / other if ours and other else None, SHAPED_KL[temperature]
    return row(
        f"shaped subspace at {BUDGET} B/token, KL at T = {temperature:g}, of nearest rounding's",
        ours=said(ours), other=f"nearest: {said(other)}",
        figure=figure, due=f"<= {due:.3g}", met=figure is not None and figure <= due,
    )  # fmt: skip


def shaped_gradient(shaped, nearest):
    def error(result):
        return 1 - result.gradient_cosine

    ours, other = at_bytes(shaped, SMALL_BUDGET, error), at_bytes(nearest, SMALL_BUDGET, error)
    figure = ours / other if ours and other else None
    return row(
        f"shaped subspace at {SMALL_BUDGET} B/token, 1 - cosine of the head's gradient, of nearest rounding's",
        ours=said(ours), other=f"nearest: {said(other)}",
        figure=figure, due=f"<= {SHAPED_GRADIENT}", met=figure is not None and figure <= SHAPED_GRADIENT,
    )  # fmt: skip


def said(value, unit=""):
    if value is None:
        return "no two settings around it"
    return f"{value:.1f} {unit}" if unit else f"{value:.3g}"


def smaller_than_flat(topk, vocab_size):
    """Against ids of as many bits as they need, and fp16 values."""
    flat = KEPT * (math.ceil(math.log2(vocab_size)) + 16) / 8
    return row(
        f"topk with {KEPT} ids is at most 2/3 of flat ids and fp16 values",
        ours=side(topk),
        other=f"flat: {flat:.0f} B/token",
        figure=topk.bytes_per_token / flat,
        due="<= 0.667",
        met=topk.bytes_per_token <= flat * 2 / 3,
    )


def sampled_bytes(sampled):
    size = sampled.bytes_per_token
    return row(
        f"sampled at {DRAWS} draws is under 50 B/token", ours=side(sampled), other="the limit 50",
        figure=size, due="< 50", met=size < 50,
    )  # fmt: skip


def sampled_cosine(sampled):
    cosine = sampled.gradient_cosine
    return row(
        f"sampled at {DRAWS} draws, cosine of the head's gradient", ours=side(sampled), other="the exact gradient",
        figure=cosine, due=">= 0.97", met=cosine is not None and cosine >= 0.97,
    )  # fmt: skip


def row(name, *, ours, other, figure, due, met):
    return {"target": name, "ours": ours, "compared_with": other, "figure": figure, "due": due, "met": met}


def side(result, temperature=1.0):
    """A codec's bytes, and its KL where it has one."""
    if result is None:
        return "no setting that was measured"
    kl = result.kl[temperature]
    text = f"{result.label}: {result.bytes_per_token:,.1f} B/token"
    return text if kl is None else f"{text}, KL {kl:.2e}"


def shown(target):
    figure = "-" if target["figure"] is None else f"{target['figure']:.4g}"
    met = "met" if target["met"] else "MISSED"
    return (target["target"], target["ours"], target["compared_with"], figure, target["due"], met)


if __name__ == "__main__":
    main()
