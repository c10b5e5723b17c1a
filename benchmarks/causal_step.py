"""How many tokens a second a decoder-only training takes in, and what else kdkit does with such models.

    python benchmarks/causal_step.py [--model FOLDER] [--trl FOLDER] [--parts train memory ...] [--json]

The teacher has SmolLM2-135M's true shape and vocabulary (49,152), the student 20 of its 30 layers; rows are functions
of installed packages. `--model` names a folder with SmolLM2's weights; without it weights are random, and tokens are a
small tokenizer's, which changes no speed. The parts, each of which can run alone:

- train: the same rows in the same batches by transformers' Trainer (labels), by kdkit on labels, by kdkit with its
  teacher's logits from caches, and by TRL's GKDTrainer at lambda 0 with its live teacher, where TRL can be imported
  (`--trl` names where it was installed with `pip install --no-deps --target`);
- memory: the peak of a process of its own that does a step of each;
- capture: a cache filled from the states, beside the plain forward pass of the same batches, with and without its head;
- packing: rows as long as turns of chats, in shuffled batches, in batches of like length, and packed;
- generation: greedy texts, beside transformers' own `generate` on the same prompts;
- assisted: speculative sampling by transformers with the student as the draft model, and the expected acceptance on
  what it wrote; with `--model` only, since random weights agree on nothing.

Sides run one after the other in each repeat, each repeat beginning with another, so that both sides of a ratio meet the
same machine; a ratio is the median of the repeats' ratios. Beside wall time stands CPU time, which other work on the
machine disturbs less. "By arithmetic alone" is what a ratio would be if matrix products were all there is, at one rate.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import tempfile
from pathlib import Path

import torch
from causal_sides import (
    LABELS,
    SIDES,
    TEACHER,
    TRAINER,
    TRL,
    Setting,
    Sides,
    Watch,
    capture,
    chats,
    functions,
    make_models,
    open_model,
    record,
)
from machine import RATIO_COLUMNS, apart, facts_line, machine_facts, peak_bytes, ratio_of, ratio_rows, round_robin

from kdkit import models
from kdkit.api.options import Generation, Training
from kdkit.api.values import EncodedExample, TokenCounts
from kdkit.builtin.teachers.asked_hf import OpenHFTeacher
from kdkit.cli.output import print_json, print_table
from kdkit.data.tokens import collate, length_sorted
from kdkit.losses import HardLoss
from kdkit.models.causal import padded_left
from kdkit.models.generation import predict
from kdkit.training import Forward
from kdkit.training.batching import Lengths, epoch_order

SUBSPACE, TOPK = "kdkit, KD from subspace", "kdkit, KD from topk"
TARGETS = (
    (LABELS, TRAINER, 1.0),
    (TOPK, LABELS, 0.95),
    (SUBSPACE, LABELS, 0.88),
    ("kdkit, KD from u8-lz4", LABELS, None),
    (TOPK, TRL, 1.3),
    (SUBSPACE, TRL, 1.25),
)
"""Faster side, slower side, by how much it should be."""
MEMORY = ((TOPK, TRL, 0.6), (SUBSPACE, TRL, 0.6))
CAPTURE, PLAIN, WITH_HEAD = "kdkit, capture by subspace", "plain forward pass, no head", "plain forward pass"
PACKED, GROUPED, SHUFFLED = "packed", "grouped by length", "shuffled"
OURS, THEIRS = "kdkit", "transformers' generate"
DRAFTED = 5
"""Tokens that the student drafts at a time."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--model", type=Path, help="folder of SmolLM2-135M, or of another teacher; random if left out")
    parser.add_argument("--trl", default="", help="folder that TRL is installed in, if it is not importable as it is")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help="only these")
    parser.add_argument("--steps", type=int, default=2, help="steps a measurement (default 2)")
    parser.add_argument("--batch-size", type=int, default=4, help="rows a step (default 4)")
    parser.add_argument("--longest", type=int, default=256, help="tokens of a row at most (default 256)")
    parser.add_argument("--repeats", type=int, default=3, help="measurements of each side (default 3)")
    parser.add_argument("--quick", action="store_true", help="tiny models and rows: tries the benchmark itself")
    options = parser.parse_args()
    if options.quick:
        options.longest = 32
    with tempfile.TemporaryDirectory(prefix="kdkit-causal-step-") as folder:
        setting = apart(make_setting, options, Path(folder))
        found = {"machine": machine_facts(size=256 if options.quick else 2048)}
        found |= {part: PARTS[part](setting, options) for part in options.parts}
    if options.json:
        print_json(found)
    else:
        show(found)


def make_setting(options, folder: Path) -> Setting:
    teacher, student = make_models(options.model, folder, quick=options.quick)
    tokenizer = models.DecoderOnly().load_tokenizer(str(teacher))
    setting = Setting(
        teacher=teacher,
        student=student,
        rows=functions(tokenizer, options.steps * options.batch_size, longest=options.longest),
        batch_size=options.batch_size,
        folder=folder,
        trl=options.trl,
    )
    if {"train", "memory"} & {*options.parts}:
        record(setting)
    return setting


def sides_of(setting: Setting) -> list[str]:
    """All sides; without TRL where it cannot be imported."""
    has_trl = bool(setting.trl) or importlib.util.find_spec("trl") is not None
    return [side for side in SIDES if side != TRL or has_trl]


def train(setting: Setting, options) -> dict:
    """Each side's speed."""
    passes = apart(_train, setting, sides_of(setting), options.repeats)
    work = {side: flops(setting, side) for side in passes}
    return {
        "sides": {
            side: speed(of_side) | {"loss": of_side[0].loss, "gflop_a_token": work[side] / of_side[0].tokens / 1e9}
            for side, of_side in passes.items()
        },
        "ratios": ratios(passes, TARGETS, work),
        "without": [] if TRL in passes else [f"{TRL}: TRL is not importable (see --trl)"],
    }


def _train(setting: Setting, sides, repeats: int) -> dict:
    own, found = Sides(setting), {side: [] for side in sides}
    for side in sides:  # what is loaded when it is first used is loaded here
        own.train(side, setting.rows[:1])
    for _, side in round_robin(sides, repeats):
        found[side].append(own.train(side, setting.rows))
    return found


def memory(setting: Setting, _options) -> dict:
    """Each side's peak, in a process of its own."""
    peaks = {side: apart(_peak, setting, side) for side in sides_of(setting)}
    return {
        "peak_bytes": peaks,
        "ratios": {
            f"{ours} / {theirs}": {
                "ratio": (ratio := peaks[ours] / peaks[theirs]),
                "at_most": most,
                "met": ratio <= most,
            }
            for ours, theirs, most in MEMORY
            if theirs in peaks
        },
    }


def _peak(setting: Setting, side: str) -> int:
    Sides(setting).train(side, setting.rows[: setting.batch_size], once=True)
    return peak_bytes()


def measure_capture(setting: Setting, options) -> dict:
    """A capture beside the forward pass that it takes."""
    passes = apart(_capture, setting, options.repeats)
    targets = ((CAPTURE, PLAIN, 0.95), (CAPTURE, WITH_HEAD, None))
    return {"sides": {side: speed(each) for side, each in passes.items()}, "ratios": ratios(passes, targets)}


def _capture(setting: Setting, repeats: int) -> dict:
    model = open_model(setting.teacher)
    teacher = OpenHFTeacher(model=model, identity=TEACHER, device="cpu", batch_size=setting.batch_size)
    state = capture("subspace", teacher, setting.rows, setting.folder / "learned")  # learning is not timed
    found = {side: [] for side in (CAPTURE, PLAIN, WITH_HEAD)}
    for repeat, side in round_robin(found, repeats):
        watch = Watch()
        if side == CAPTURE:
            place = setting.folder / f"capture-{repeat}"
            capture("subspace", teacher, setting.rows, place, state=state, watch=watch)
        else:
            plain = model.module if side == WITH_HEAD else model.module.base_model
            watch.begin()
            for batch_rows in length_sorted(setting.rows, setting.batch_size):
                inputs = padded_rows(batch_rows, model.tokenizer.pad_token_id)
                with torch.inference_mode():
                    plain(**inputs, use_cache=False)
        watch.end()
        found[side].append(watch.done(setting.rows))
    return found


def padded_rows(rows, pad_id: int) -> dict:
    """What a plain forward pass over rows reads."""
    ids = [[*row.source_ids, *row.target_ids[:-1]] for row in rows]
    width = max(map(len, ids))
    mask = [[1] * len(each) + [0] * (width - len(each)) for each in ids]
    return {
        "input_ids": torch.tensor([each + [pad_id] * (width - len(each)) for each in ids]),
        "attention_mask": torch.tensor(mask),
    }


def packing(setting: Setting, options) -> dict:
    """Forward and backward passes over rows of very different lengths, in batches made in three ways."""
    passes, padding = apart(_packing, setting, options.longest * 4, options.repeats)
    targets = ((PACKED, SHUFFLED, 1.5), (PACKED, GROUPED, None))
    sides = {side: speed(each) | {"padding": padding[side]} for side, each in passes.items()}
    return {"sides": sides, "ratios": ratios(passes, targets)}


def _packing(setting: Setting, longest: int, repeats: int) -> tuple[dict, dict]:
    model = open_model(setting.student)
    pool = chats(model.tokenizer, 800, longest=longest)
    batches, padding = {}, {}
    for side, changes in (
        (SHUFFLED, {"batch_size": 8}),
        (GROUPED, {"batch_tokens": 2 * longest, "group_by_length": True}),
        (PACKED, {"batch_tokens": 2 * longest, "packing": True}),
    ):
        training = Training(**changes)
        lengths = Lengths.of(pool, models.DecoderOnly(), training)
        order = sorted(epoch_order(lengths, training, seed=1, epoch=0), key=lambda each: lengths.positions([each]))
        # As many batches as have some tokens, evenly spread from the least places to the most.
        count = max(2, round(3 * longest * len(order) / lengths.tokens(order)))
        batches[side] = [[pool[i] for i in order[int((n + 0.5) * len(order) / count)]] for n in range(count)]
        padding[side] = 1 - lengths.tokens(order) / lengths.positions(order)
    found = {side: [] for side in batches}
    model.module.train()
    for _, side in round_robin(batches, repeats):
        with model.lean(Training(packing=side == PACKED)):
            forward, watch = Forward.of(model), Watch()
            watch.begin()
            for rows in batches[side]:
                tokens = forward(collate(rows, pad_id=model.tokenizer.pad_token_id), None)
                tokens.backward(HardLoss(), TokenCounts(hard=len(tokens.labels_N)))
            watch.end()
        found[side].append(watch.done([row for rows in batches[side] for row in rows]))
    return found, padding


def generation(setting: Setting, options) -> dict:
    """Greedy texts of so many tokens by both."""
    passes = apart(_generation, setting, 8 if options.quick else 32, options.repeats)
    return {
        "sides": {side: speed(each) for side, each in passes.items()},
        "ratios": ratios(passes, ((OURS, THEIRS, 1.0),)),
    }


def _generation(setting: Setting, size: int, repeats: int) -> dict:
    model = open_model(setting.student)
    prompts = chats(model.tokenizer, 16, longest=64)
    asked = Generation(beams=1, max_new_tokens=size, min_new_tokens=size - 1, batch_size=8)
    model.adopt(asked)
    written = [EncodedExample(id=row.id, source_ids=(0,), target_ids=(0,) * size) for row in prompts]
    found = {OURS: [], THEIRS: []}
    for _, side in round_robin(found, repeats):
        watch = Watch()
        watch.begin()
        if side == OURS:
            for _ in predict(model, prompts, asked, device="cpu"):
                pass
        else:
            for start in range(0, len(prompts), asked.batch_size):
                batch = collate(prompts[start : start + asked.batch_size], pad_id=model.tokenizer.pad_token_id)
                ids, mask = padded_left(batch.source_ids_BS, batch.source_mask_BS)
                ids = model.module.generate(input_ids=ids, attention_mask=mask)
                model.tokenizer.batch_decode(ids, skip_special_tokens=True)
        watch.end()
        found[side].append(watch.done(written))
    return found


def assisted(setting: Setting, options) -> dict:
    """Accepted tokens a step of speculative sampling, and what the expected acceptance says that they should be."""
    if options.model is None:
        return {"without": ["random weights: give --model"]}
    return apart(_assisted, setting, 16 if options.quick else 96)


def _assisted(setting: Setting, size: int) -> dict:
    """The student drafts some tokens, the teacher accepts or replaces them: one forward pass of it each."""
    teacher, student = open_model(setting.teacher), open_model(setting.student)
    draft = student.module.generation_config
    draft.num_assistant_tokens, draft.num_assistant_tokens_schedule = DRAFTED, "constant"
    draft.assistant_confidence_threshold = 0.0
    passes = written = 0
    shared: list[float] = []

    def count(*_):
        nonlocal passes
        passes += 1

    for number, row in enumerate(setting.rows[:4]):
        prompt = torch.tensor([[*row.source_ids, *row.target_ids[:16]]])
        torch.manual_seed(number)
        with torch.inference_mode():
            hook = teacher.module.register_forward_pre_hook(count)
            ids = teacher.module.generate(
                input_ids=prompt, attention_mask=torch.ones_like(prompt), assistant_model=student.module,
                do_sample=True, temperature=1.0, top_k=0, top_p=1.0, max_new_tokens=size, min_new_tokens=size,
            )  # fmt: skip
            hook.remove()
            new = slice(prompt.shape[1] - 1, -1)
            own, its = (
                model.module(input_ids=ids).logits[0, new].log_softmax(-1).exp() for model in (student, teacher)
            )
        written += ids.shape[1] - prompt.shape[1]
        shared += torch.minimum(own, its).sum(-1).tolist()
    acceptance = statistics.fmean(shared)
    expected = (1 - acceptance ** (DRAFTED + 1)) / (1 - acceptance)
    return {
        "drafted_a_step": DRAFTED,
        "tokens_written": written,
        "teacher_passes": passes,
        "tokens_a_step": written / passes,
        "expected_acceptance": acceptance,
        "tokens_a_step_by_it": expected,
    }


def speed(passes) -> dict:
    """Of a side: what its measurements say."""
    return {
        "tokens_per_second": statistics.median(each.tokens / each.seconds for each in passes),
        "tokens_per_cpu_second": statistics.median(each.tokens / each.cpu for each in passes),
        "seconds": [each.seconds for each in passes],
        "cpu_seconds": [each.cpu for each in passes],
        "tokens": passes[0].tokens,
    }


def ratios(passes, targets, work=None) -> dict:
    """Those of the targets whose sides were measured, by wall and by CPU time."""
    found = {}
    for faster, slower, target in targets:
        if faster not in passes or slower not in passes:
            continue
        limit = work[slower] / work[faster] if work is not None else None
        for clock, least in (("seconds", target), ("cpu", None)):
            rates = [[each.tokens / getattr(each, clock) for each in passes[side]] for side in (faster, slower)]
            name = f"{faster} / {slower}" + (" (CPU time)" if clock == "cpu" else "")
            found[name] = ratio_of(*rates, target=least, limit=limit)
    return found


def flops(setting: Setting, side: str) -> float:
    """Operations of the matrix products of a side's steps: the backward pass has twice those of the forward."""
    student, teacher = (models.read_config(str(each)) for each in (setting.student, setting.teacher))
    total = 0.0
    for start in range(0, len(setting.rows), setting.batch_size):
        rows = setting.rows[start : start + setting.batch_size]
        longest, labels = (
            max(len(row.source_ids) + len(row.target_ids) for row in rows),
            sum(len(row.target_ids) for row in rows),
        )
        # Trainer and TRL read the last label too, and put every place through the head.
        width = longest if side in (TRAINER, TRL) else longest - 1
        places = len(rows) * width
        head = places if side in (TRAINER, TRL) else labels
        total += 3 * (_body(student, places, width) + _head(student, head))
        if side == TRL:
            total += _body(teacher, places, width) + _head(teacher, places)
        if side == SUBSPACE:
            total += _head(teacher, labels)
    return total


def _body(config, places: int, width: int) -> float:
    """A forward pass up to the head."""
    hidden, inner = config.hidden_size, config.intermediate_size
    size = hidden // config.num_attention_heads
    heads = 2 * hidden * hidden + 2 * hidden * size * config.num_key_value_heads
    return 2 * config.num_hidden_layers * places * (heads + 3 * hidden * inner + 2 * width * hidden)


def _head(config, places: int) -> float:
    return 2 * places * config.hidden_size * config.vocab_size


def show(found) -> None:
    """The tables of each part."""
    for part in PARTS:
        if part not in found:
            continue
        print(f"\n{part}")
        told = found[part]
        if "sides" in told:
            columns = ("side", "tokens/s", "tokens/CPU s", "tokens", "padding", "loss", "GFLOP a token")
            print_table(columns, [_row(name, side) for name, side in told["sides"].items()])
        if "peak_bytes" in told:
            print_table(("side", "peak MB"), [(name, f"{peak / 1e6:.0f}") for name, peak in told["peak_bytes"].items()])
            for name, each in told["ratios"].items():
                print(f"{name}: {each['ratio']:.2f}, at most {each['at_most']}: {'met' if each['met'] else 'MISSED'}")
        elif "ratios" in told:
            print_table(RATIO_COLUMNS, ratio_rows(told["ratios"]))
        if "tokens_a_step" in told:
            print(
                f"{told['drafted_a_step']} tokens drafted a step: {told['tokens_a_step']:.2f} written a step of the "
                f"teacher ({told['tokens_written']} in {told['teacher_passes']}); expected acceptance "
                f"{told['expected_acceptance']:.3f}, by which they would be {told['tokens_a_step_by_it']:.2f}"
            )
        for sentence in told.get("without", ()):
            print(f"left out: {sentence}")
    print(facts_line(found["machine"]))


def _row(name: str, side: dict) -> tuple[str, ...]:
    optional = (("padding", "{:.0%}"), ("loss", "{:.4f}"), ("gflop_a_token", "{:.2f}"))
    return (
        name,
        f"{side['tokens_per_second']:.1f}",
        f"{side['tokens_per_cpu_second']:.1f}",
        str(side["tokens"]),
        *(shape.format(side[key]) if key in side else "" for key, shape in optional),
    )


PARTS = {
    "train": train,
    "memory": memory,
    "capture": measure_capture,
    "packing": packing,
    "generation": generation,
    "assisted": assisted,
}

if __name__ == "__main__":
    main()
