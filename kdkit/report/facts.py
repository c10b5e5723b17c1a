"""Reads a run folder into frozen values: all that a report says comes from here.

Nothing is recomputed. A part that is not there is named in `Facts.missing`; a part that cannot be read is an error.
"""

from __future__ import annotations

import json
import math
import tomllib
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.errors import DamagedData, MissingInput
from kdkit.values import Cost, Difference, Score

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

STAGES = ("data", "check", "teacher", "capture", "distill", "evaluate")


@attrs.frozen(kw_only=True)
class ScoredRow:
    """One held-out row: its text, and what the models wrote for it (None where there is nothing)."""

    id: str
    source: str
    truth: str
    teacher: str | None
    student: str | None


@attrs.frozen(kw_only=True)
class Facts:
    """What a run folder holds.

    Attributes:
        folder: Name of the run folder.
        recipe: The resolved recipe as tables; empty when there is none.
        recipe_text: The same as text.
        run: `run.json`.
        data: `data/report.json`.
        metrics: The lines of `metrics.jsonl`.
        split: The split that was scored.
        row_count: How many rows were scored.
        scores: Every score of `evaluation.json`.
        differences: By how much the student differs from the teacher, where that was measured.
        costs: What "teacher" and "student" cost, where that was measured.
        rows: The rows that the student wrote a text for.
        missing: One sentence for each part that is not there.
    """

    folder: str
    recipe: Mapping[str, Any]
    recipe_text: str
    run: Mapping[str, Any]
    data: Mapping[str, Any]
    metrics: tuple[Mapping[str, Any], ...]
    split: str
    row_count: int
    scores: tuple[Score, ...]
    differences: tuple[Difference, ...]
    costs: Mapping[str, Cost]
    rows: tuple[ScoredRow, ...]
    missing: tuple[str, ...]

    def table(self, name: str) -> Mapping[str, Any]:
        """A table of the recipe; empty where there is none."""
        return as_table(self.recipe.get(name))

    def stage(self, name: str) -> Mapping[str, Any]:
        """What `run.json` says of a stage: its entry with its `facts` merged in."""
        entry = as_table(as_table(self.run.get("stages")).get(name))
        return {**entry, **as_table(entry.get("facts"))}

    @property
    def name(self) -> str:
        """The recipe's name, else the folder's."""
        return str(self.run.get("name") or self.recipe.get("name") or self.folder)

    @property
    def seed(self) -> int:
        """The recipe's seed."""
        seed = self.recipe.get("seed")
        return seed if isinstance(seed, int) else 0


def read(folder: Path) -> Facts:
    """Read a run folder.

    Raises:
        MissingInput: The folder is not there, or holds neither `recipe.toml` nor `run.json`.
        DamagedData: A file in it cannot be read.
    """
    if not (folder / "recipe.toml").is_file() and not (folder / "run.json").is_file():
        raise MissingInput(
            f"{folder} is not a run folder: it holds neither recipe.toml nor run.json; "
            "give the folder that `kdkit run` wrote (runs/NAME by default)"
        )
    missing: list[str] = []
    recipe_text = _text(folder / "recipe.toml", "The recipe", missing) or ""
    recipe = _toml(folder / "recipe.toml", recipe_text)
    run = _json(folder / "run.json", "The record of the run", missing)
    for stage in STAGES:
        status = as_table(as_table(run.get("stages")).get(stage)).get("status")
        if run and status not in {"done", "skipped"}:
            missing.append(f'Stage "{stage}" is not finished ({status or "not begun"}).')
    evaluation = _json(folder / "evaluation.json", "The evaluation", missing)
    split = str(evaluation.get("split") or _held_out_split(folder))
    return Facts(
        folder=folder.resolve().name,
        recipe=recipe,
        recipe_text=recipe_text,
        run=run,
        data=_json(folder / "data" / "report.json", "The account of the data", missing),
        metrics=_metrics(folder / "metrics.jsonl", missing),
        split=split,
        row_count=int(number(evaluation.get("rows")) or 0),
        scores=_scores(evaluation, folder / "evaluation.json"),
        differences=_differences(evaluation, folder / "evaluation.json"),
        costs=_costs(evaluation, missing),
        rows=_scored_rows(folder, split, missing),
        missing=tuple(missing),
    )


def as_table(value: object) -> Mapping[str, Any]:
    """The value where it is a table, else an empty one."""
    return value if isinstance(value, dict) else {}


def number(value: object) -> float | None:
    """The value as a finite number; None for null, NaN and everything that is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _text(path: Path, what: str, missing: list[str]) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        missing.append(f"{what} is left out: there is no {path.parent.name}/{path.name} yet.")
        return None
    except UnicodeDecodeError as error:
        raise DamagedData(f"{path} is not UTF-8 text ({error.reason} at byte {error.start}); write it anew") from error


def _toml(path: Path, text: str) -> Mapping[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise DamagedData(f"{path} is not the TOML that kdkit wrote: {error}") from error


def _json(path: Path, what: str, missing: list[str]) -> Mapping[str, Any]:
    text = _text(path, what, missing)
    return {} if text is None else _object(text, f"{path}")


def _object(text: str, place: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise DamagedData(f"{place} is not JSON: {error}; delete it and run the recipe again") from error
    if not isinstance(value, dict):
        raise DamagedData(f"{place} holds a {type(value).__name__} where an object belongs")
    return value


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines that are not blank, split at newlines only: texts may hold other separators."""
    with path.open(encoding="utf-8", newline="\n") as lines:
        for index, line in enumerate(lines, 1):
            if line.strip():
                yield index, line


def _metrics(path: Path, missing: list[str]) -> tuple[Mapping[str, Any], ...]:
    if not path.is_file():
        missing.append("The loss curves are left out: there is no metrics.jsonl yet.")
        return ()
    lines = list(_lines(path))
    if lines and not lines[-1][1].endswith("\n"):
        # A run that was killed may leave half a line behind; every line before it is whole.
        missing.append(f"Line {lines[-1][0]} of metrics.jsonl is left out: it ends in the middle.")
        lines.pop()
    return tuple(_object(line, f"{path}:{index}") for index, line in lines)


def _scores(evaluation: Mapping[str, Any], path: Path) -> tuple[Score, ...]:
    entries = evaluation.get("scores") or []
    if not isinstance(entries, list):
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


def _differences(evaluation: Mapping[str, Any], path: Path) -> tuple[Difference, ...]:
    return tuple(
        Difference(
            suite=_word(entry, "suite", path, index),
            metric=_word(entry, "metric", path, index),
            **_interval(entry),
        )
        for index, entry in enumerate(map(as_table, evaluation.get("differences") or ()))
    )


def _interval(entry: Mapping[str, Any]) -> dict[str, Any]:
    ends: dict[str, Any] = {key: _or_nan(entry.get(key)) for key in ("value", "low", "high")}
    return {**ends, "count": int(number(entry.get("count")) or 0)}


def _word(entry: Mapping[str, Any], key: str, path: Path, index: int) -> str:
    if not isinstance(entry.get(key), str):
        raise DamagedData(f'score {index} of {path} has no "{key}"; delete it and run the recipe again')
    return str(entry[key])


def _or_nan(value: object) -> float:
    found = number(value)
    return math.nan if found is None else found


def _costs(evaluation: Mapping[str, Any], missing: list[str]) -> Mapping[str, Cost]:
    costs = {}
    for model in ("teacher", "student"):
        entry = as_table(as_table(evaluation.get("costs")).get(model))
        if entry:
            costs[model] = Cost(
                parameters=int(number(entry.get("parameters")) or 0),
                bytes_on_disk=int(number(entry.get("bytes_on_disk")) or 0),
                seconds_per_sample=_or_nan(entry.get("seconds_per_sample")),
                seconds_low=_or_nan(entry.get("seconds_low")),
                seconds_high=_or_nan(entry.get("seconds_high")),
                batch_size=int(number(entry.get("batch_size")) or 0),
                beams=int(number(entry.get("beams")) or 0),
            )
        elif evaluation:
            missing.append(f"Size and time of the {model} are left out: they were not measured.")
    return costs


def _held_out_split(folder: Path) -> str:
    test = folder / "data" / "test.jsonl"
    return "test" if test.is_file() and test.stat().st_size else "validation"


def _predictions(path: Path) -> dict[str, str] | None:
    if not path.is_file():
        return None
    entries = (_object(line, f"{path}:{index}") for index, line in _lines(path))
    return {str(entry.get("id")): str(entry.get("text")) for entry in entries if entry.get("text") is not None}


def _scored_rows(folder: Path, split: str, missing: list[str]) -> tuple[ScoredRow, ...]:
    student = _predictions(folder / "predictions" / "student.jsonl")
    if student is None:
        missing.append("The examples are left out: there is no predictions/student.jsonl yet.")
        return ()
    path = folder / "data" / f"{split}.jsonl"
    if not path.is_file():
        missing.append(f"The examples are left out: there is no data/{split}.jsonl.")
        return ()
    teacher = _predictions(folder / "predictions" / "teacher.jsonl")
    if teacher is None:
        missing.append("The teacher's texts are left out: there is no predictions/teacher.jsonl.")
    rows = (_object(line, f"{path}:{index}") for index, line in _lines(path))
    return tuple(
        ScoredRow(
            id=str(row["id"]),
            source=str(row.get("source", "")),
            truth=str(row.get("target", "")),
            teacher=(teacher or {}).get(str(row["id"])),
            student=student[str(row["id"])],
        )
        for row in rows
        if str(row.get("id")) in student
    )
