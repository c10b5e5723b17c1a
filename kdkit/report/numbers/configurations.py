"""Runs that differ by the seed of their training alone: how they are grouped, and what a group is called."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit.report.page.formats import setting
from kdkit.system.digests import canonical_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from kdkit.report.read.scored import ScoredRun


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
        """Its name, else its values in words: `alpha 0.5, temperature 2`."""
        return self.name or described(self.values)


def by_configuration(runs: Iterable[tuple[Mapping[str, Any], ScoredRun]]) -> list[Configuration]:
    """Runs with the values that tell their configurations apart, grouped; in the order in which they come first."""
    grouped: dict[str, tuple[Mapping[str, Any], list[ScoredRun]]] = {}
    for values, run in runs:
        grouped.setdefault(canonical_json(_comparable(values)), (values, []))[1].append(run)
    return [Configuration(values=values, runs=tuple(mine)) for values, mine in grouped.values()]


def described(values: Mapping[str, Any]) -> str:
    """Values of a recipe's keys in words, each key as short as it can be told from the others."""
    told = (f"{short_key(key, values)} {setting(value)}" for key, value in values.items())
    return ", ".join(told) or "as the recipe has it"


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


def same_value(one: object, other: object) -> bool:
    """Whether two values of a recipe are the same, 1 and 1.0 included, yes and 1 not."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, int | float) and isinstance(other, int | float):
        return one == other
    return type(one) is type(other) and canonical_json(one) == canonical_json(other)


def _comparable(value: Any) -> Any:
    """The value with whole numbers as such, so that 1 and 1.0 have one text."""
    if isinstance(value, dict):
        return {key: _comparable(each) for key, each in value.items()}
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return [_comparable(each) for each in value] if isinstance(value, list | tuple) else value
