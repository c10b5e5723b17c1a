"""What `evaluation.json` says, as values; parts that older runs do not have are empty."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.values import Cost, Difference, Score
from kdkit.errors import DamagedData
from kdkit.report.read.files import as_table, json_of, number, or_nan

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@attrs.frozen(kw_only=True)
class Bin:
    """Tokens of like probability: how many, their mean probability, and the share of them that is right."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@attrs.frozen(kw_only=True)
class Evaluation:
    """An evaluation.

    Attributes:
        split: The split that was scored; empty where it is not said.
        row_count: How many rows were scored.
        scores: Every score.
        validation_scores: The student's on the rows that picked the best epoch, where others were scored.
        differences: By how much the student differs from other models.
        costs: What "teacher" and "student" cost, where that was measured.
        baselines: What is known of each baseline; empty where there was none.
        calibration: Of each model, the bins that hold a token.
    """

    split: str
    row_count: int
    scores: tuple[Score, ...]
    validation_scores: tuple[Score, ...]
    differences: tuple[Difference, ...]
    costs: Mapping[str, Cost]
    baselines: Mapping[str, Any]
    calibration: Mapping[str, tuple[Bin, ...]]


def read(path: Path, missing: list[str]) -> Evaluation:
    """Read it; sentences for `missing` where parts are not there.

    Raises:
        DamagedData: It is something else.
    """
    found = json_of(path, "The evaluation", missing)
    return Evaluation(
        split=str(found.get("split") or ""),
        row_count=int(number(found.get("rows")) or 0),
        scores=_scores(found.get("scores"), path),
        validation_scores=_scores(found.get("validation_scores"), path),
        differences=tuple(
            Difference(
                suite=_word(entry, "suite", path, index),
                metric=_word(entry, "metric", path, index),
                model=str(entry.get("model", "student")),
                than=str(entry.get("than", "teacher")),
                **_interval(entry),
            )
            for index, entry in enumerate(map(as_table, found.get("differences") or ()))
        ),
        costs=_costs(found, missing),
        baselines=as_table(found.get("baselines")),
        calibration={
            str(model): tuple(map(_bin, filter(_is_filled, map(as_table, as_table(said).get("bins") or ()))))
            for model, said in as_table(found.get("calibration")).items()
        },
    )


def _scores(entries: object, path: Path) -> tuple[Score, ...]:
    if not isinstance(entries, list):
        if entries is None:
            return ()
        raise DamagedData(f"{path}: scores is no list; delete it and run the recipe again")
    return tuple(
        Score(
            model=_word(entry, "model", path, index),
            against=_word(entry, "against", path, index),
            suite=_word(entry, "suite", path, index),
            metric=_word(entry, "metric", path, index),
            **_interval(entry),
        )
        for index, entry in enumerate(map(as_table, entries))
    )


def _interval(entry: Mapping[str, Any]) -> dict[str, Any]:
    ends: dict[str, Any] = {key: or_nan(entry.get(key)) for key in ("value", "low", "high")}
    return {**ends, "count": int(number(entry.get("count")) or 0)}


def _word(entry: Mapping[str, Any], key: str, path: Path, index: int) -> str:
    if not isinstance(entry.get(key), str):
        raise DamagedData(f'score {index} of {path} has no "{key}"; delete it and run the recipe again')
    return str(entry[key])


def _costs(found: Mapping[str, Any], missing: list[str]) -> Mapping[str, Cost]:
    costs = {}
    for model in ("teacher", "student"):
        entry = as_table(as_table(found.get("costs")).get(model))
        if entry:
            peak = number(entry.get("peak_bytes"))
            costs[model] = Cost(
                parameters=int(number(entry.get("parameters")) or 0),
                bytes_on_disk=int(number(entry.get("bytes_on_disk")) or 0),
                seconds_per_sample=or_nan(entry.get("seconds_per_sample")),
                seconds_low=or_nan(entry.get("seconds_low")),
                seconds_high=or_nan(entry.get("seconds_high")),
                batch_size=int(number(entry.get("batch_size")) or 0),
                beams=int(number(entry.get("beams")) or 0),
                latency=number(entry.get("latency")),
                latency_low=number(entry.get("latency_low")),
                latency_high=number(entry.get("latency_high")),
                tokens_per_sample=number(entry.get("tokens_per_sample")),
                peak_bytes=None if peak is None else int(peak),
            )
        elif found:
            missing.append(f"Size and time of the {model} are left out: they were not measured.")
    return costs


def _is_filled(entry: Mapping[str, Any]) -> bool:
    keys = ("low", "high", "count", "confidence", "accuracy")
    return all(number(entry.get(key)) is not None for key in keys) and entry["count"] > 0


def _bin(entry: Mapping[str, Any]) -> Bin:
    ends = {key: float(entry[key]) for key in ("low", "high", "confidence", "accuracy")}
    return Bin(count=int(entry["count"]), **ends)
