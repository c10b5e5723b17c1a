"""What a sweep varies, as axes: which are numbers, which change together, and which configurations lie on a line."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

from kdkit.report.numbers.configurations import described, shared_values
from kdkit.report.page.formats import setting
from kdkit.report.read.files import number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kdkit.report.numbers.configurations import Configuration

MOST_LINES = 6


@attrs.frozen(kw_only=True, eq=False)
class Series:
    """Configurations that differ along one axis only, by their value on it."""

    label: str
    configurations: Mapping[float, Configuration]


def numeric_axes(configurations: Sequence[Configuration]) -> list[str]:
    """The axes that have two numbers at least; of those that change together the first."""
    axes = dict.fromkeys(axis for each in configurations for axis in each.values)
    found: list[str] = []
    for axis in axes:
        if len(numbers(configurations, axis)) > 1 and not set(zipped_with(configurations, axis)) & set(found):
            found.append(axis)
    return found


def zipped_with(configurations: Sequence[Configuration], axis: str) -> list[str]:
    """The other axes that change whenever this one does and only then, as in a zip: they are one axis with it."""

    def distinct(*axes: str) -> int:
        return len({tuple(setting(each.values.get(name)) for name in axes) for each in configurations})

    every = dict.fromkeys(name for each in configurations for name in each.values)
    own = distinct(axis)
    return [name for name in every if name != axis and own > 1 and own == distinct(name) == distinct(axis, name)]


def axis_name(configurations: Sequence[Configuration], axis: str) -> str:
    """An axis, with those that change together with it."""
    return " with ".join([axis, *zipped_with(configurations, axis)])


def series(configurations: Sequence[Configuration], axis: str) -> tuple[list[Series], str, int]:
    """Lines along an axis, the longest first, what they all have, and how many are left out."""
    along_too = {axis, *zipped_with(configurations, axis)}
    grouped: dict[str, tuple[dict[str, object], dict[float, Configuration]]] = {}
    for each in configurations:
        x = value_on(each, axis)
        others = {name: value for name, value in each.values.items() if name not in along_too}
        if x is not None:
            told = repr(sorted((name, setting(value)) for name, value in others.items()))
            grouped.setdefault(told, (others, {}))[1][x] = each
    found = sorted((each for each in grouped.values() if len(each[1]) > 1), key=lambda each: -len(each[1]))
    drawn = found[:MOST_LINES]
    shared = shared_values([others for others, _ in drawn]) if len(drawn) > 1 else {}
    lines = []
    for others, mine in drawn:
        own = {name: value for name, value in others.items() if name not in shared}
        label = described(own) if own else ""
        lines.append(Series(label=label, configurations=dict(sorted(mine.items()))))
    return lines, described(shared) if shared else "", len(found) - len(drawn)


def bytes_per_token(configuration: Configuration) -> float | None:
    """What a token of its logit cache takes, mean over its runs."""
    sizes = [number(run.facts("capture").get("bytes_per_token")) for run in configuration.runs]
    known = [size for size in sizes if size is not None]
    return math.fsum(known) / len(known) if known else None


def value_on(configuration: Configuration, axis: str) -> float | None:
    """Where a configuration lies on an axis; None where it has no number there."""
    return number(configuration.values.get(axis))


def numbers(configurations: Sequence[Configuration], axis: str) -> list[float]:
    """The numbers of an axis, sorted."""
    values = {value for each in configurations if (value := value_on(each, axis)) is not None}
    return sorted(values)
