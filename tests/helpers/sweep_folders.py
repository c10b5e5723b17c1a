"""Writes a sweep's folder as finished trials leave it, small and the same at every call: input for tests of what reads
one. What is known of it: quality falls with the distance from alpha .5 and temperature 1, seeds add a little noise.
"""

from __future__ import annotations

import json
import math
import zlib
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from run_folders import write_json

from kdkit.api.values import Cost, Direction, Score
from kdkit.evaluation.intervals import mean
from kdkit.evaluation.row_scores import RowKey, RowScores
from kdkit.runs.record import VERSIONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

GRID = [{"loss.alpha": alpha, "loss.temperature": 1.0} for alpha in (0.0, 0.1, 0.5, 0.9, 1.0)] + [
    {"loss.alpha": 0.5, "loss.temperature": temperature} for temperature in (0.1, 0.5, 2.0, 4.0)
]
"""The thesis's shape: alpha at temperature 1, temperature at alpha .5."""
METRICS = ("exact_match", "f1", "recall/equals")


def write_sweep_folder(
    path: Path,
    trials: Iterable[Mapping[str, Any]] = GRID,
    *,
    seeds: Iterable[int] = (1, 2, 3),
    rows: int = 120,
    metrics: Iterable[str] = METRICS,
    split: str = "test",
    best_by: str = "text.f1",
    reference: Mapping[str, Any] | None = None,
    baselines: bool = True,
) -> Path:
    """Write the sweep, all of its trials done, and return its folder."""
    listed = [(dict(values), seed) for values in trials for seed in seeds or (None,)]
    axes = list(dict.fromkeys(key for values, _ in listed for key in values))
    entries = []
    for values, seed in listed:
        trial = f"{zlib.crc32(json.dumps([values, seed]).encode()):016x}"
        entries.append({"id": trial, "values": values, "seed": seed})
        write_trial(
            path / "trials" / trial, values, seed=seed, rows=rows, metrics=metrics, split=split, best_by=best_by,
            baselines=baselines,
        )  # fmt: skip
    write_json(
        path / "sweep.json",
        {"kdkit_sweep": 2, "name": "alpha-and-temperature", "description": "What alpha and temperature do.",
         "axes": axes, "seeds": list(seeds), "trials": entries, "reference": reference},
    )  # fmt: skip
    (path / "sweep.toml").write_text('name = "alpha-and-temperature"\n\n[sweep.grid]\nloss.alpha = [0.0, 0.5]\n')
    return path


def write_trial(
    path: Path,
    values: Mapping[str, Any],
    *,
    seed: int | None = 1,
    rows: int = 120,
    metrics: Iterable[str] = METRICS,
    split: str = "test",
    best_by: str = "text.f1",
    baselines: bool = True,
    ids: Iterable[str] | None = None,
) -> Path:
    """Write a run folder that is done, with what a report on several reads of it."""
    path.mkdir(parents=True)
    skill = skill_of(values)
    names = tuple(ids or (f"row-{row}" for row in range(rows)))
    held_out = _rows(names, values, skill, seed=seed or 0, metrics=tuple(metrics), baselines=baselines)
    held_out.write(path)
    write_json(path / "evaluation.json", _evaluation(held_out, split=split, skill=skill))
    (path / "recipe.toml").write_text(_recipe(values, seed, best_by), encoding="utf-8")
    write_json(path / "run.json", _record(path.name, values, skill, best_by))
    return path


def skill_of(values: Mapping[str, Any]) -> float:
    """How well a configuration does: .5 at best."""
    alpha, temperature = values.get("loss.alpha", 0.5), values.get("loss.temperature", 1.0)
    distilled = 0.1 * (1 - abs(2 * alpha - 1)) - 0.04 * abs(math.log2(temperature))
    distilled -= 0.04 * max(0.0, 4 - math.log10(values.get("training.rows", 10_000)))
    return 0.4 + (distilled if alpha else 0.0) - 0.02 * (values.get("codec.name") == "topk")


def taught_by_labels(rows: int) -> float:
    """How much worse so few training rows make a student of labels only; 0 where their number is not varied."""
    return 0.1 * max(0.0, 4 - math.log10(rows)) if rows else 0.0


def _rows(
    ids: tuple[str, ...],
    values: Mapping[str, Any],
    skill: float,
    *,
    seed: int,
    metrics: tuple[str, ...],
    baselines: bool,
) -> RowScores:
    difficulty_R = np.random.default_rng(0).random(len(ids))
    own = np.random.default_rng([seed, zlib.crc32(json.dumps(dict(values), sort_keys=True).encode())])
    models = {"teacher": (0.6, np.random.default_rng(1)), "student": (skill, own)}
    if baselines and values.get("loss.alpha", 0.5):
        rows = values.get("training.rows", 0)
        models["labels-only"] = (
            0.4 - taught_by_labels(rows),
            np.random.default_rng([seed, 2, *([rows] if rows else [])]),
        )
    if baselines:
        models |= {"untouched": (0.05, np.random.default_rng(3)), "constant": (0.1, np.random.default_rng(4))}
    found: dict[RowKey, Any] = {}
    weights: dict[RowKey, Any] = {}
    for model, (level, draw) in models.items():
        for index, metric in enumerate(metrics):
            right_R = (difficulty_R + draw.normal(0, 0.3, len(ids)) < level + 0.01 * index).astype(np.float64)
            if metric == "recall/equals":
                right_R[::3] = np.nan
            found[RowKey(model, "truth", "text", metric)] = right_R
            if model == "student":
                agreed_R = (difficulty_R + draw.normal(0, 0.3, len(ids)) < level + 0.2).astype(np.float64)
                found[RowKey(model, "teacher", "text", metric)] = agreed_R
        if model in {"teacher", "student", "labels-only"}:
            key = RowKey(model, "truth", "loss", "hard")
            found[key] = 2.0 - level + draw.normal(0, 0.2, len(ids))
            weights[key] = 1.0 + np.arange(len(ids)) % 5
    if values.get("loss.alpha", 0.5):
        key = RowKey("student", "teacher", "loss", "soft")
        found[key], weights[key] = 1.0 + own.normal(0, 0.2, len(ids)), 1.0 + np.arange(len(ids)) % 5
    return RowScores(ids=ids, values=found, weights=weights)


def _evaluation(held_out: RowScores, *, split: str, skill: float) -> dict[str, Any]:
    scores = []
    for key, values_R in held_out.values.items():
        weights_R = held_out.weights_of(key)
        value = float(np.nansum(values_R * weights_R) / weights_R.sum()) if key in held_out.weights else mean(values_R)
        count = int(np.count_nonzero(~np.isnan(values_R)))
        half = 2 * float(np.nanstd(values_R)) / math.sqrt(count)
        scores.append(attrs.asdict(
            Score(**key._asdict(), direction=Direction("lower" if key.suite == "loss" else "higher"), value=value, low=value - half, high=value + half, count=count)
        ))  # fmt: skip
    validation = [
        attrs.asdict(Score(model="student", against="truth", suite=key.suite, metric=key.metric,
                           value=skill + 0.01 * index, low=skill - 0.1, high=skill + 0.1, count=80))
        for index, key in enumerate(key for key in held_out.values if key[:3] == ("student", "truth", "text"))
    ]  # fmt: skip
    cost = {"seconds_per_sample": 0.012, "seconds_low": 0.01, "seconds_high": 0.016, "batch_size": 32, "beams": 1,
            "latency": 0.02, "latency_low": 0.018, "latency_high": 0.024, "tokens_per_sample": 6.5,
            "peak_bytes": 41_000_000}  # fmt: skip
    costs = {
        "student": attrs.asdict(Cost(parameters=1_191_424, bytes_on_disk=4_786_040, **cost)),
        "teacher": attrs.asdict(Cost(parameters=4_412_928, bytes_on_disk=17_682_112, **cost)),
    }
    return {
        "format": 1,
        "split": split,
        "rows": len(held_out.ids),
        "scores": scores,
        "validation_scores": validation if split == "test" else [],
        "differences": [],
        "costs": costs,
        "baselines": {},
        "calibration": {},
    }


def _recipe(values: Mapping[str, Any], seed: int | None, best_by: str) -> str:
    tables: dict[str, dict[str, Any]] = {
        "data": {"name": "jsonl", "train": "train.jsonl"},
        "codec": {"name": "u8-lz4", "scope": "row"},
        "loss": {"name": "kd", "alpha": 0.5, "temperature": 1.0},
        "training": {"epochs": 2, "best_by": best_by, "seed": 42 if seed is None else seed},
        "evaluation": {"suites": ["text"], "bootstrap": 200},
    }
    for key, value in values.items():
        section, _, name = key.partition(".")
        tables.setdefault(section, {})[name] = value
    lines = ['name = "alpha-and-temperature"', "seed = 42"]
    for section, table in tables.items():
        lines += ["", f"[{section}]", *(f"{key} = {json.dumps(value)}" for key, value in table.items())]
    return "\n".join(lines) + "\n"


def _record(trial: str, values: Mapping[str, Any], skill: float, best_by: str) -> dict[str, Any]:
    bytes_per_token = {"u8-lz4": 4099.5, "topk": 512.0, "subspace": 375.25}[values.get("codec.name", "u8-lz4")]
    facts = {
        "capture": {"codec": values.get("codec.name", "u8-lz4"), "bytes_per_token": bytes_per_token, "tokens": 74112},
        "distill": {"best_by": best_by, "best_value": 2 - skill if best_by == "loss" else skill, "best_step": 200},
        "evaluate": {},
        "report": {},
    }
    return {
        "name": "alpha-and-temperature",
        "status": "done",
        "recipe_digest": f"{trial}{'5f2c' * 12}",
        "seeds": {"seed": 42},
        "started": "2025-11-24T09:12:44+00:00",
        "finished": "2025-11-24T09:17:02+00:00",
        "stages": {
            stage: {"status": "done", "digest": "5f2c" * 16, "seconds": 12.5, "facts": told}
            for stage, told in facts.items()
        },
        "versions": dict.fromkeys(VERSIONS, "1.0.2") | {"python": "3.11.7", "platform": "Linux-6.1-x86_64"},
        "plugins": {"kdkit": "0.1.0"},
        "device": "cpu",
    }
