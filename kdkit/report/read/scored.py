"""Runs as reports on several of them need them: their scores, row by row too, grouped by configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit.errors import DamagedData, MissingInput
from kdkit.evaluation import record
from kdkit.evaluation.row_scores import FILE, RowKey, RowScores
from kdkit.recipe import read_stored
from kdkit.report.page import formats
from kdkit.runs.record import read_record
from kdkit.system.digests import canonical_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from kdkit.api.values import Cost, Score

SEED = "training.seed"
NO_TABLE = ("name", "description", "reference", "track")
"""What a recipe says that changes no number of its run."""


@attrs.frozen(kw_only=True, eq=False)
class ScoredRun:
    """A run with an evaluation.

    Attributes:
        folder: Its folder.
        recipe: The resolved recipe as keys with dots, `loss.alpha`; what changes no number left out.
        record: `run.json`.
        split: The split that was scored.
        row_count: How many of its rows.
        scores: Every score, by model, reference, suite and metric.
        validation: The student's scores on the validation rows; empty where these are what was scored.
        costs: What "teacher" and "student" cost, where that was measured.
        rows: Each row's value of each score; None where an older run has none.
    """

    folder: Path
    recipe: Mapping[str, Any]
    record: Mapping[str, Any]
    split: str
    row_count: int
    scores: Mapping[RowKey, Score]
    validation: Mapping[RowKey, Score]
    costs: Mapping[str, Cost]
    rows: RowScores | None

    @property
    def name(self) -> str:
        """What the run is called: its folder."""
        return self.folder.name

    def facts(self, stage: str) -> Mapping[str, Any]:
        """What a finished stage noted."""
        facts: Mapping[str, Any] = self.record.get("stages", {}).get(stage, {}).get("facts", {})
        return facts

    @property
    def needs_teacher(self) -> bool:
        """Whether the student learnt anything from the teacher: the evaluation of one that did not has no `soft`."""
        return any((key.model, key.suite, key.metric) == ("student", "loss", "soft") for key in self.scores)


@attrs.frozen(kw_only=True, eq=False)
class Configuration:
    """Runs that differ by the seed of their training alone.

    Attributes:
        values: What tells it from the others: keys of the recipe and their values.
        runs: A run for each seed that is done.
        name: What it is called where its values do not say it well.
    """

    values: Mapping[str, Any]
    runs: tuple[ScoredRun, ...]
    name: str = ""

    @property
    def label(self) -> str:
        """Its name, else its values in words: `alpha .5, temperature 2`."""
        return self.name or described(self.values)


def described(values: Mapping[str, Any]) -> str:
    """Values of a recipe's keys in words, each key as short as it can be told from the others."""
    return (
        ", ".join(f"{short_key(key, values)} {spelt(value)}" for key, value in values.items()) or "as the recipe has it"
    )


def shared_values(among: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What all of several sets of values say alike."""
    first = among[0] if among else {}
    return {
        key: value
        for key, value in first.items()
        if all(key in each and same_value(each[key], value) for each in among[1:])
    }


def labels_apart(among: Sequence[Mapping[str, Any]]) -> list[str]:
    """Sets of values in words, without what all of them say alike."""
    shared = shared_values(among) if len(among) > 1 else {}
    return [described({key: value for key, value in each.items() if key not in shared}) for each in among]


def short_key(key: str, among: Iterable[str]) -> str:
    """The last part of a key with dots, and as many before it as it takes to be the only one; `codec` for its name."""
    parts = key.split(".")
    others = [other.split(".") for other in among if other != key]
    if len(parts) == 2 and parts[1] == "name" and not any(other == parts[:1] for other in others):
        return parts[0]
    for length in range(1, len(parts) + 1):
        if not any(other[-length:] == parts[-length:] for other in others):
            return ".".join(parts[-length:])
    return key


def spelt(value: object) -> str:
    """A value of a recipe: `.5`, `u8-lz4 (scope row)`, `yes`."""
    if isinstance(value, dict):
        rest = {key: each for key, each in value.items() if key != "name"}
        told = ", ".join(f"{key} {spelt(each)}" for key, each in rest.items())
        return f"{value['name']} ({told})" if rest and "name" in value else str(value.get("name", f"({told})"))
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        text = f"{value:g}"
        return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text
    if isinstance(value, list | tuple):
        return ", ".join(map(spelt, value)) or "none"
    return formats.setting(value)


def read_run(folder: Path) -> ScoredRun:
    """Read a run folder that holds an evaluation.

    Raises:
        MissingInput: It is no run folder, or has no evaluation yet.
        DamagedData: A file in it is not what was written.
    """
    if not (folder / "run.json").is_file():
        raise MissingInput(
            f"{folder} is not a run folder: it has no run.json; give folders that `kdkit run` wrote (runs/NAME)"
        )
    found = record.read(folder)
    return ScoredRun(
        folder=folder,
        recipe=read_recipe(folder),
        record=read_record(folder),
        split=found.split,
        row_count=found.row_count,
        scores={key_of(score): score for score in found.scores},
        validation={key_of(score): score for score in found.validation_scores},
        costs=found.costs,
        rows=RowScores.read(folder) if (folder / FILE).is_file() else None,
    )


def read_recipe(folder: Path) -> Mapping[str, Any]:
    """The resolved recipe of a run folder as keys with dots, without what changes no number.

    Raises:
        DamagedData: It is no TOML.
    """
    path = folder / "recipe.toml"
    try:
        table = read_stored(path.read_text(encoding="utf-8")).tables if path.is_file() else {}
    except ValueError as error:
        raise DamagedData(f"{path} is not the TOML that kdkit wrote: {error}") from error
    return flat({key: value for key, value in table.items() if key not in NO_TABLE})


def flat(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A table's values by keys with dots."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, dict) and value:
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def key_of(score: Score) -> RowKey:
    """Which score it is."""
    return RowKey(score.model, score.against, score.suite, score.metric)


def same_value(one: object, other: object) -> bool:
    """Whether two values of a recipe are the same, 1 and 1.0 included, yes and 1 not."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other
    return type(one) is type(other) and canonical_json(one) == canonical_json(other)


def by_configuration(runs: Iterable[tuple[Mapping[str, Any], ScoredRun]]) -> list[Configuration]:
    """Runs with the values that tell their configurations apart, grouped; in the order in which they come first."""
    grouped: dict[str, tuple[Mapping[str, Any], list[ScoredRun]]] = {}
    for values, run in runs:
        grouped.setdefault(canonical_json(_comparable(values)), (values, []))[1].append(run)
    return [Configuration(values=values, runs=tuple(mine)) for values, mine in grouped.values()]


def _comparable(value: Any) -> Any:
    """The value with whole numbers as such, so that 1 and 1.0 have one text."""
    if isinstance(value, dict):
        return {key: _comparable(each) for key, each in value.items()}
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return [_comparable(each) for each in value] if isinstance(value, list | tuple) else value
