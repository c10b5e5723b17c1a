"""The record of a run folder: `run.json`, and the recipe it belongs to."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from kdkit.errors import DamagedData, Mismatch, UsageError
from kdkit.recipe import read_stored
from kdkit.recipe.defaults import changed
from kdkit.recipe.sections import OPTIONAL_SECTIONS
from kdkit.recipe.stored import FORMAT, KEY
from kdkit.system.reading import read_json, read_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from kdkit.recipe import Recipe

VERSIONS = ("kdkit", "torch", "transformers", "tokenizers", "safetensors", "accelerate", "numpy", "lz4", "zstandard")

SCORED = "scored"
"""The key of `run.json` that an evaluation of a finished run has, and no run (see `kdkit.runs.rescoring`)."""

FORMER = (
    "whose recipes have other names for some options, so the run cannot be resumed (but `kdkit report` still reads it)"
)

HOW_TO_KEEP = f"{KEY} = 2 before the recipe's sections gives options that it leaves out the values of that time"


def read_record(path: Path) -> dict[str, Any]:
    """The run.json of a run folder; empty where there is none."""
    if not (path / "run.json").exists():
        return {}
    try:
        record = read_json(path / "run.json")
        if not isinstance(record, dict):
            raise TypeError(f"it holds a {type(record).__name__}")  # noqa: TRY301
        missing = [key for key in ("name", "recipe_digest", "status", "stages") if key not in record]
        if missing:
            raise ValueError(f"it lacks {missing[0]}")  # noqa: TRY301
        stages = record["stages"]
        if not isinstance(record.get("threads", 1), int):
            raise TypeError(f"its threads are {record['threads']!r}")  # noqa: TRY301
        if not isinstance(stages, dict) or not all(isinstance(entry, dict) for entry in stages.values()):
            raise TypeError("its stages are not tables")  # noqa: TRY301
        for stage, entry in stages.items():
            _check_entry(stage, entry)
        if SCORED in record and not (
            isinstance(record[SCORED], dict) and isinstance(record[SCORED].get("run_dir"), str)
        ):
            raise TypeError(f"the run that it scored is {record[SCORED]!r}")  # noqa: TRY301
    except (ValueError, TypeError, RecursionError) as error:
        raise DamagedData(
            f"{path / 'run.json'} is damaged ({error}); run with --fresh to start from scratch"
        ) from error
    found: dict[str, Any] = record
    return found


def check_no_evaluation(path: Path, advice: str = "name another folder with --run-dir") -> None:
    """Refuse the folder of an evaluation where that of a run is meant.

    Args:
        path: The folder.
        advice: What the message says is to be done.

    Raises:
        UsageError: It is one.
    """
    run_dir = scored_run(path)
    if run_dir is not None:
        raise UsageError(
            f"{path} holds an evaluation of the run {run_dir}, and not a run; {advice}, or score that run's student "
            f"again: kdkit evaluate {run_dir}"
        )


def scored_run(path: Path) -> str | None:
    """The run that a folder holds an evaluation of; None where it holds none.

    None too where its record is damaged: who reads it next says so, and --fresh deletes it.
    """
    try:
        told = read_record(path).get(SCORED)
    except DamagedData:
        return None
    return None if told is None else str(told["run_dir"])


def _check_entry(stage: str, entry: Mapping[str, Any]) -> None:
    """Refuse a stage's entry that a run cannot have written."""
    facts, seconds, threads = entry.get("facts", {}), entry.get("seconds", 0.0), entry.get("threads", [])
    outputs = facts.get("outputs", []) if isinstance(facts, dict) else None
    if not isinstance(outputs, list) or not all(isinstance(each, str) for each in outputs):
        raise TypeError(f"the facts of its stage {stage} are {facts!r}")
    if isinstance(seconds, bool) or not isinstance(seconds, int | float):
        raise TypeError(f"the seconds of its stage {stage} are {seconds!r}")
    if not isinstance(threads, list):
        raise TypeError(f"the threads of its stage {stage} are {threads!r}")


def check_recipe(
    path: Path,
    recipe: Recipe,
    *,
    besides: str | None = None,
    advice: str = "use another --run-dir, or --fresh to delete that run",
) -> None:
    """Refuse a folder of another recipe, with the differences.

    A run that has not got beyond its checks holds nothing worth keeping: a corrected recipe takes its folder over.

    Args:
        path: The folder.
        recipe: The recipe.
        besides: A section in which the two may differ.
        advice: What the message says is to be done.
    """
    record = read_record(path)
    if not record or record.get("recipe_digest") == recipe.digest or not has_begun(record):
        return
    there: dict[str, Any] = {}
    is_former, format_ = False, FORMAT
    if (path / "recipe.toml").exists():
        try:
            stored = read_stored(read_text(path / "recipe.toml"))
        except ValueError as error:
            raise Mismatch(
                f"{path} holds a run of another recipe, and its recipe.toml is damaged ({error}); {advice}"
            ) from error
        there, is_former, format_ = stored.tables, stored.is_former, stored.format
    if is_former and besides is None:
        raise Mismatch(f"{path} was made by an earlier kdkit, {FORMER}; {advice}")
    old, new = dict(_flat(there)), dict(_flat(recipe.resolved))
    neutral = new.keys() - dict(_flat(recipe.digested)).keys()
    differing = [
        key
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key)
        and not (key in neutral and key not in old)
        and key.split(".")[0] not in OPTIONAL_SECTIONS
        and (besides is None or not key.startswith(f"{besides}."))
    ]
    if besides is not None and there and not differing:
        return
    lines = [f"  {key}: {_shown(old, key)} there, {_shown(new, key)} in this recipe" for key in differing]
    if format_ < FORMAT and any(map(changed, differing)):
        lines.append(f"Defaults have changed since: {HOW_TO_KEEP}")
    raise Mismatch(
        f"{path} holds a run of another recipe; {advice}. They differ in:\n"
        + "\n".join(lines or ["  (nothing that kdkit can show)"])
    )


def has_begun(record: dict[str, Any]) -> bool:
    """Whether a run has made anything: its data are read and its parts have been checked."""
    stages = record["stages"]
    return bool(stages.keys() - {"data", "check"}) or stages.get("check", {}).get("status") == "done"


def versions() -> dict[str, str]:
    """Versions of Python, the platform and the packages that numbers depend on."""
    return dict(_versions())


@functools.cache
def _versions() -> dict[str, str]:
    """Read once: what a process has imported stays."""
    packages = {name: importlib.metadata.version(name) for name in VERSIONS}
    return {"python": platform.python_version(), "platform": platform.platform(), **packages}


def now() -> str:
    """The time, as a record has it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _flat(table: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", list(value) if isinstance(value, tuple) else value


def _shown(flat: dict[str, Any], key: str) -> str:
    return repr(flat[key]) if key in flat else "nothing"
