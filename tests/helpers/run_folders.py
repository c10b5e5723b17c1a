"""Writes a run folder as a finished run leaves it, small and the same at every call: input for tests of what reads one.

A test in test_report.py compares its files with those of a real run, key by key.
"""

from __future__ import annotations

import json
import math
import random
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.options import TokenLimits
from kdkit.api.values import Cost, Difference, Direction, Drop, EncodedExample, Score
from kdkit.data import corpus
from kdkit.runs.record import VERSIONS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

RECIPE = """\
name = "oracle-small"
description = "Fills in what a Python test asserts; teacher from scratch, student from every second layer of it."
seed = 42

[data]
name = "python-tests"
task = "oracle"
packages = ["networkx", "sympy"]

[tokens]
max_source = 64
max_target = 16

[teacher]
name = "hf-seq2seq"
vocab_size = 4096

[teacher.config]
d_model = 192
num_layers = 4

[teacher.fine_tune]
epochs = 4
learning_rate = 0.001

[codec]
name = "u8-lz4"
scope = "row"

[store]
shard_mb = 256

[student]
name = "hf-seq2seq"

[student.from_teacher]
encoder_layers = [0, 2]
decoder_layers = [0, 3]

[loss]
name = "kd"
alpha = 0.5
temperature = 2.0
divergence = "forward-kl"

[training]
epochs = 6
batch_size = 32
accumulation = 1
learning_rate = 0.0005
warmup_ratio = 0.1
schedule = "linear"
precision = "fp32"
best_by = "text.f1"
shuffle = true

[generation]
beams = 4
max_new_tokens = 15
batch_size = 32

[evaluation]
suites = ["text", "assertions"]
bootstrap = 1000
examples = 20
"""
WORDS = ["== 3", "is None", "== [1, 2, 3]", "== x**2", "is True", "== {0: 1}", '== "a`b"', "!= S.Half", "== (1, 0)"]
HOSTILE = '== "</pre><script>alert(1)</script>" ```\n```` & \x1b[31m \u202e'


def write_run_folder(path: Path, *, rows: int = 400, seed: int = 7) -> Path:
    """Write the run folder and return its path."""
    draw = random.Random(seed)
    (path / "recipe.toml").parent.mkdir(parents=True, exist_ok=True)
    (path / "recipe.toml").write_text(RECIPE, encoding="utf-8")
    write_json(path / "run.json", _run())
    write_json(path / "data" / "report.json", _data(rows))
    held_out = [_row(index, draw) for index in range(rows)]
    for split in ("train", "validation"):
        write_lines(path / "data" / f"{split}.jsonl", held_out[:3])
    write_lines(path / "data" / "test.jsonl", held_out)
    for model, skill in (("teacher", 0.45), ("student", 0.36), ("labels-only", 0.33)):
        texts = [row["target"] if draw.random() < skill else draw.choice(WORDS) for row in held_out]
        if model == "student":
            texts[5] = HOSTILE
            texts[8] = ""
        predictions = [
            {"id": row["id"], "text": text, "seconds": 0.01} for row, text in zip(held_out, texts, strict=True)
        ]
        write_lines(path / "predictions" / f"{model}.jsonl", predictions)
    write_lines(path / "metrics.jsonl", _metrics(draw))
    write_json(path / "evaluation.json", _evaluation(rows))
    return path


def without_baselines(folder: Path) -> Path:
    """Take from a run folder what runs of older versions do not have; the folder itself."""
    (folder / "predictions" / "labels-only.jsonl").unlink()
    found = json.loads((folder / "evaluation.json").read_text())
    for key in ("format", "baselines", "calibration", "validation_scores", "fine_tuning"):
        del found[key]
    kept = [entry for entry in found["scores"] if entry["model"] in {"teacher", "student"}]
    found["scores"] = [entry for entry in kept if entry["suite"] not in {"tokens", "texts"}]
    found["differences"] = [
        {key: value for key, value in entry.items() if key not in {"model", "than"}}
        for entry in found["differences"]
        if entry["than"] == "teacher"
    ]
    later = ("latency", "latency_low", "latency_high", "tokens_per_sample", "peak_bytes")
    for cost in found["costs"].values():
        for key in later:
            del cost[key]
    write_json(folder / "evaluation.json", found)
    metrics = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    write_lines(folder / "metrics.jsonl", [line for line in metrics if line["stage"] != "labels-only"])
    run = json.loads((folder / "run.json").read_text())
    del run["stages"]["baseline"]
    write_json(folder / "run.json", run)
    return folder


def write_json(path: Path, value: Any) -> None:
    """Write one JSON document."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")


def write_lines(path: Path, values: Iterable[Any]) -> None:
    """Write JSON lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")


DIRECTIONS = {
    ("tokens", "ece"): "lower",
    ("texts", "length"): "neither",
    ("loss", "hard"): "lower",
    ("loss", "soft"): "lower",
}


def score(model: str, suite: str, metric: str, value: float, count: int, *, against: str = "truth") -> dict:
    """An entry of `scores`, its interval that of a share."""
    half = 1.96 * math.sqrt(max(value * (1 - value), 0.0) / count)
    low, high = max(0.0, value - half), value + half
    return attrs.asdict(
        Score(
            model=model,
            against=against,
            suite=suite,
            metric=metric,
            value=value,
            low=low,
            high=high,
            count=count,
            direction=_direction(suite, metric),
        )
    )


def _direction(suite: str, metric: str) -> Direction:
    return Direction(DIRECTIONS.get((suite, metric), "higher"))


def _run() -> dict:
    def stage(seconds: float, **facts: Any) -> dict:
        return {"status": "done", "digest": "5f2c" * 16, "seconds": seconds, "facts": facts}

    rows = {"train": 18204, "validation": 1200, "test": 400}
    teacher_size, student_size = ({"parameters": count, "vocab_size": 4096} for count in (4_412_928, 1_191_424))
    estimate = {
        "rows": rows, "source_tokens": rows, "target_tokens": rows, "teacher": teacher_size, "student": student_size,
        "capture_rows": 19804, "capture_tokens": 80112, "capture_bytes": 328_000_000, "teacher_bytes": 194_000_000,
        "student_bytes": 52_000_000, "teacher_steps": 2276, "student_steps": 3414, "generated_rows": 400,
    }  # fmt: skip
    capture = {
        "identity": "9b1d" * 16, "tokenizer": "77aa" * 16, "cache": "cache/logits/9b1d", "reused": False,
        "codec": "u8-lz4", "records": 18204, "tokens": 74112, "bytes": 303_821_004, "bytes_per_token": 4099.5,
    }  # fmt: skip
    return {
        "name": "oracle-small",
        "status": "done",
        "recipe_digest": "1c9f04be7a52c6d1" * 4,
        "seeds": {"seed": 42},
        "started": "2025-11-24T09:12:44+00:00",
        "finished": "2025-11-24T09:17:02+00:00",
        "stages": {
            "data": stage(11.4, digest="4ce1" * 16, rows=rows, outputs=["data/test.jsonl"]),
            "check": stage(3.2, **estimate),
            "teacher": stage(122.9, made=True, folder="teacher", reused=False, store="cache/teachers/26df",
                             outputs=["teacher/config.json", "teacher/model.safetensors"]),
            "capture": stage(24.1, **capture),
            "distill": stage(71.3, steps=3414, best_step=2276, best_value=0.3492, best_by="text.f1",
                             parameters=1_191_424, outputs=["student/best/model.safetensors"]),
            "baseline": stage(64.2, folder="cache/baselines/a1d2", reused=False, weights="fa06" * 16),
            "evaluate": stage(16.2, split="test", rows=400),
            "report": stage(1.9),
        },
        "run_dir": "runs/oracle-small",
        "versions": dict.fromkeys(VERSIONS, "1.0.2") | {"python": "3.11.7", "platform": "Linux-6.1-x86_64"},
        "plugins": {"kdkit": "0.1.0", "kdkit-assertions": "0.1.0"},
        "device": "cpu",
        "threads": 2,
    }  # fmt: skip


def _data(rows: int) -> dict:
    counts = {"train": 18204, "validation": 1200, "test": rows}
    drops = [
        Drop(reason="its target is longer than 12 characters", count=31250,
             first=("sympy/core/tests/test_arit.py:41", "sympy/core/tests/test_arit.py:57")),
        Drop(reason="it has no target", count=1, first=("networkx/algorithms/tests/test_dag.py:12",)),
    ]  # fmt: skip
    limits = TokenLimits(max_source=64, max_target=16)
    lengths = {
        split: corpus.lengths([_encoded(index, limits) for index in range(min(count, 500))], limits)
        for split, count in counts.items()
    }
    return {
        "rows": counts,
        "drops": [attrs.asdict(drop) for drop in drops],
        "lengths": lengths,
        "read": {
            split: {
                "rows": count,
                "labels": 5 * count,
                "stops": count,
                "sources_shortened": count // 10,
                "targets_cut": 0,
                "straddling": 0,
                "opened_otherwise": 0,
                "lacking_tools": 0,
                "marked_otherwise": 0,
                "left_out": 0,
            }
            for split, count in counts.items()
        },
        "leakage": {"validation": 0.713, "test": 0.688},
        "repeated_rows": {"validation": 2, "test": 0},
        "tokenizer": {
            split: {
                "rows": count,
                "changed": {"rows": count // 100, "first": [f"{split}:3"]},
                "cut": {"rows": 0, "first": []},
                "spelt": {"rows": 0, "first": []},
                "long": {"rows": 0, "first": []},
                "unknown": {"source": 0.0, "target": 0.021},
            }
            for split, count in counts.items()
        },
        "notes": ["2.10% of the tokens of targets are the unknown token: the tokenizer does not know that text"],
    }


def _encoded(index: int, limits: TokenLimits) -> EncodedExample:
    """A row of so many tokens: every tenth source as long as its limit, no target."""
    source, target = min(20 + index * 37 % 49, limits.max_source), 3 + index * 11 % 8
    return EncodedExample(id=str(index), source_ids=(5,) * source, target_ids=(6,) * target)


def _row(index: int, draw: random.Random) -> dict:
    target = draw.choice(WORDS)
    body = "\n".join(f"    value_{step} = compute(value_{step - 1}, {draw.randint(0, 99)})" for step in range(1, 4))
    if index % 40 == 0:
        body = body * 40
    source = f"def test_case_{index}():\n    value_0 = {draw.randint(0, 9)}\n{body}\n    assert value_3"
    return {"id": f"sympy/core/tests/test_{index % 9}.py::test_case_{index}", "source": source, "target": target,
            "meta": {"kinds": ["is-none" if target == "is None" else "equals"], "answerable": index % 3 > 0}}  # fmt: skip


def _metrics(draw: random.Random) -> list[dict]:
    lines: list[dict] = []
    for stage, epochs, floor, soft_floor in (
        ("teacher", 4, 1.6, None), ("student", 6, 1.8, 0.62), ("labels-only", 6, 1.9, None)
    ):  # fmt: skip
        steps = 569 * epochs
        for step in range(50, steps + 1, 50):
            hard = floor + 5.5 * math.exp(-step / 350) + draw.gauss(0, 0.07)
            soft = None if soft_floor is None else soft_floor + 2.9 * math.exp(-step / 420) + draw.gauss(0, 0.04)
            loss = hard if soft is None else (hard + soft) / 2
            lines.append({"stage": stage, "kind": "train", "step": step, "epoch": step / 569, "loss": loss,
                          "hard": hard, "soft": soft, "learning_rate": 5e-4, "grad_norm": 0.8,
                          "tokens_per_second": 5100.0, "padding": 0.125})  # fmt: skip
            if step // 569 != (step + 50) // 569 or step + 50 > steps:
                epoch = (step + 50) // 569
                over = 0.05 * max(0, epoch - 4)
                soft = None if soft is None else soft + 0.1 + over
                hard += 0.16 + over
                lines.append({"stage": stage, "kind": "validation", "step": epoch * 569, "epoch": epoch,
                              "loss": hard if soft is None else (hard + soft) / 2, "hard": hard, "soft": soft,
                              "text.f1": (0.33 if stage == "labels-only" else 0.37) - 0.3 * math.exp(-epoch / 1.5) - over / 4,
                              "best": epoch <= 4})  # fmt: skip
    return lines


def _evaluation(rows: int) -> dict:
    scores, differences = [], []

    def differ(suite: str, metric: str, value: float, half: float, *, than: str, count: int = rows) -> None:
        ends = {"low": value - half, "high": value + half}
        differences.append(
            Difference(
                suite=suite,
                metric=metric,
                value=value,
                count=count,
                than=than,
                direction=_direction(suite, metric),
                **ends,
            )
        )

    for suite, metric, teacher, student, labels_only, least in (
        ("text", "exact_match", 0.342, 0.263, 0.238, 0.061),
        ("text", "f1", 0.471, 0.352, 0.301, 0.102),
        ("text", "similarity", 0.655, 0.601, 0.606, 0.377),
        ("assertions", "precision", 0.351, 0.268, 0.25, 0.07),
        ("assertions", "recall", 0.348, 0.266, 0.249, 0.07),
        ("assertions", "f1", 0.349, 0.267, 0.25, 0.07),
        ("assertions", "recall/equals", 0.312, 0.221, 0.217, 0.06),
        ("assertions", "recall/is-none", 0.604, 0.583, 0.59, 0.1),
    ):
        count = rows if "/" not in metric else rows // 3
        for model, value in (
            ("teacher", teacher), ("student", student), ("labels-only", labels_only),
            ("untouched", 0.0), ("constant", least), ("nearest", least * 1.4),
        ):  # fmt: skip
            scores.append(score(model, suite, metric, value, count))
        for model, value in (("student", student), ("labels-only", labels_only)):
            scores.append(score(model, suite, metric, value * 1.2, count, against="teacher"))
        half = 0.8 / math.sqrt(count)
        differ(suite, metric, student - teacher, 1.5 * half, than="teacher", count=count)
        differ(suite, metric, student - labels_only, half, than="labels-only", count=count)
    for model, length in (("teacher", 3.1), ("student", 3.6), ("labels-only", 3.3)):
        spread = {"low": length - 0.2, "high": length + 0.2, "count": rows}
        scores.append(
            attrs.asdict(
                Score(
                    model=model,
                    against="truth",
                    suite="texts",
                    metric="length",
                    value=length,
                    direction=Direction.NEITHER,
                    **spread,
                )
            )
        )
    for model, accuracy, ece, agreement in (
        ("teacher", 0.81, 0.031, None), ("student", 0.76, 0.054, 0.83), ("labels-only", 0.75, 0.092, 0.79),
    ):  # fmt: skip
        scores += [score(model, "tokens", "accuracy", accuracy, rows), score(model, "tokens", "ece", ece, rows)]
        if agreement is not None:
            scores.append(score(model, "tokens", "agreement", agreement, rows, against="teacher"))
            scores.append(score(model, "texts", "agreement", agreement - 0.2, rows, against="teacher"))
    for suite, metric, value, half in (
        ("tokens", "accuracy", 0.01, 0.02), ("tokens", "ece", -0.038, 0.01), ("tokens", "agreement", 0.04, 0.02),
        ("texts", "agreement", 0.04, 0.02), ("texts", "length", 0.3, 0.1), ("loss", "hard", -0.072, 0.03),
        ("loss", "soft", -0.21, 0.05),
    ):  # fmt: skip
        differ(suite, metric, value, half, than="labels-only")
    for model, against, metric, value in (
        ("teacher", "truth", "hard", 1.742), ("student", "truth", "hard", 1.934), ("labels-only", "truth", "hard", 2.006),
        ("student", "teacher", "soft", 0.671), ("labels-only", "teacher", "soft", 0.881),
        ("student", "truth and teacher", "total", 1.303), ("labels-only", "truth and teacher", "total", 1.444),
        ("untouched", "truth", "hard", 8.4), ("untouched", "teacher", "soft", 6.9),
        ("untouched", "truth and teacher", "total", 7.7),
    ):  # fmt: skip
        ends = {"low": value * 0.96, "high": value * 1.04}
        loss = Score(
            model=model,
            against=against,
            suite="loss",
            metric=metric,
            value=value,
            count=rows,
            direction=Direction.LOWER,
            **ends,
        )
        scores.append(attrs.asdict(loss))
    costs = {
        "student": Cost(parameters=1_191_424, bytes_on_disk=4_786_040, seconds_per_sample=0.0125,
                        seconds_low=0.0098, seconds_high=0.0166, batch_size=32, beams=4, latency=0.041,
                        latency_low=0.036, latency_high=0.049, tokens_per_sample=3.6, peak_bytes=61_400_000),
        "teacher": Cost(parameters=4_412_928, bytes_on_disk=17_682_112, seconds_per_sample=0.0312,
                        seconds_low=0.0262, seconds_high=0.0391, batch_size=32, beams=4, latency=0.088,
                        latency_low=0.071, latency_high=0.104, tokens_per_sample=3.1, peak_bytes=114_200_000),
    }  # fmt: skip
    return {
        "format": 1,
        "split": "test",
        "rows": rows,
        "headline": "",  # of a run of before: then the recipe decides
        "scores": scores,
        "validation_scores": [score("student", "text", "f1", 0.349, 1200)],
        "differences": [attrs.asdict(each) for each in differences],
        "costs": {name: attrs.asdict(cost) for name, cost in costs.items()},
        "baselines": {
            "untouched": {}, "constant": {"text": "is None"}, "nearest": {},
            "labels-only": {"folder": "cache/baselines/a1d2", "reused": False},
        },
        "calibration": {"teacher": _bins(0.02), "student": _bins(0.05), "labels-only": _bins(0.09), "untouched": _bins(0.1)},
        "fine_tuning": [],  # its teacher is a new model
    }  # fmt: skip


def _bins(gap: float) -> dict:
    """15 bins, the first three empty, each as far too sure of itself."""
    bins: list[dict] = []
    for place in range(15):
        middle, filled = (place + 0.5) / 15, place > 2
        bins.append({"low": place / 15, "high": (place + 1) / 15, "count": place * place if filled else 0,
                     "confidence": middle if filled else None, "accuracy": middle - gap if filled else None})  # fmt: skip
    return {"ece": gap, "bins": bins}
