"""The space of a search: what values each axis can take, as the recipe says and as optuna does."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import attrs

from kdkit_optuna.axes import OFF_GRID, Axis, Choices, Fraction, Whole, text_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from optuna.distributions import BaseDistribution

LARGEST = 2**53
"""Up to it each whole number is a float."""
KEYS = ("low", "high", "step", "log", "choices")


@attrs.frozen
class Space:
    """All axes, by their keys."""

    axes: Mapping[str, Axis]

    @property
    def size(self) -> int | None:
        """How many trials it has; None where they cannot be counted."""
        counts = [None if axis.values is None else len(axis.values) for axis in self.axes.values()]
        return None if None in counts else math.prod(count for count in counts if count is not None)

    def all_values(self) -> Iterator[dict[str, Any]]:
        """Every trial of a space that can be counted."""
        for combination in itertools.product(*(axis.values or () for axis in self.axes.values())):
            yield dict(zip(self.axes, combination, strict=True))

    def distributions(self) -> dict[str, BaseDistribution]:
        """What optuna calls the axes."""
        return {key: axis.distribution() for key, axis in self.axes.items()}

    def values_of(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """What optuna proposes, as the recipe would say it."""
        return {key: axis.value_of(params[key]) for key, axis in self.axes.items()}

    def params_of(self, values: Mapping[str, Any]) -> dict[str, Any] | None:
        """A trial as optuna says it; None for one that lies outside: the recipe's space was another then."""
        params = {key: axis.param_of(values[key]) if key in values else None for key, axis in self.axes.items()}
        return None if None in params.values() else params

    def key_of(self, values: Mapping[str, Any]) -> str:
        """What two trials of the same values have in common."""
        params = self.params_of(values)
        return text_of(dict(values) if params is None else self.values_of(params))


def read_space(table: Mapping[str, Any]) -> Space:
    """The space of a recipe's table.

    Raises:
        ValueError: Of every axis that is wrong, what is wrong with it.
    """
    axes: dict[str, Axis] = {}
    problems = []
    for keys, spec in _flat(table):
        key = ".".join(keys)
        try:
            axes[key] = _axis(spec)
        except ValueError as error:
            problems.append(f"{key} {error}")
    if problems:
        raise ValueError("; ".join(problems))
    if not axes:
        raise ValueError('has no axis; give one, such as { "loss.alpha" = { low = 0.0, high = 1.0 } }')
    return Space(axes)


def ends_of(table: Mapping[str, Any]) -> Iterator[tuple[str, Any, tuple[str | int, ...]]]:
    """Of a sound space each axis, a value at an end of it, and where that stands in the table."""
    for keys, spec in _flat(table):
        for at, value in _axis(spec).ends():
            yield ".".join(keys), value, (*keys, *at)


def _flat(table: Mapping[str, Any], before: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Axes by the keys on the way to them: TOML makes tables in tables of keys without quotes."""
    for key, spec in table.items():
        path = (*before, key)
        if isinstance(spec, Mapping) and spec and all(isinstance(inner, Mapping) for inner in spec.values()):
            yield from _flat(spec, path)
        else:
            yield path, spec


def _axis(spec: Any) -> Axis:
    if not isinstance(spec, Mapping):
        raise ValueError(f"must be a table of low and high, or of choices, is {text_of(spec)}")  # noqa: TRY004 - of a recipe
    for key in spec:
        if key not in KEYS:
            near = get_close_matches(key, KEYS, n=1)
            hint = f'; did you mean "{near[0]}"?' if near else f"; available: {', '.join(KEYS)}"
            raise ValueError(f'has "{key}", which is not an option of an axis{hint}')
    return _choices(spec) if "choices" in spec else _range(spec)


def _range(spec: Mapping[str, Any]) -> Axis:
    if "low" not in spec or "high" not in spec:
        raise ValueError("needs low and high, or choices")
    log = spec.get("log", False)
    if not isinstance(log, bool):
        raise ValueError(f"has log = {text_of(log)}; it must be true or false")  # noqa: TRY004 - of a recipe
    numbers = {key: spec[key] for key in ("low", "high", "step") if key in spec}
    for key, number in numbers.items():
        if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number):
            raise ValueError(f"has {key} = {text_of(number)}; it must be a finite number")
    _check_range(numbers, log=log)
    # Up to the last of the steps, so that optuna need not say that it takes that.
    if all(isinstance(number, int) for number in numbers.values()):
        low, high, step = numbers["low"], numbers["high"], numbers.get("step", 1)
        return Whole(low=low, high=high - (high - low) % step, step=step, log=log)
    low, high = float(numbers["low"]), float(numbers["high"])
    if "step" not in numbers:
        return Fraction(low=low, high=high, log=log)
    step = float(numbers["step"])
    last = float(f"{low + math.floor((high - low) / step + OFF_GRID) * step:.12g}")
    return Fraction(low=low, high=min(last, high), step=step)


def _choices(spec: Mapping[str, Any]) -> Choices:
    if len(spec) > 1:
        raise ValueError("has choices and a range; give one of them")
    choices = spec["choices"]
    if not isinstance(choices, list | tuple) or not choices:
        raise ValueError(f"has choices = {text_of(choices)}; it must be a list of at least one value")
    labels = [text_of(choice) for choice in choices]
    for label, count in Counter(labels).items():
        if count > 1:
            raise ValueError(f"lists {label} more than once in choices")
    return Choices(tuple(choices))


def _check_range(numbers: Mapping[str, Any], *, log: bool) -> None:
    low, high, step = numbers["low"], numbers["high"], numbers.get("step")
    if low < -LARGEST or high > LARGEST or (step is not None and (high - low) / LARGEST > step > 0):
        raise ValueError(f"has low = {low:.12g} and high = {high:.12g}; floats cannot tell such numbers apart")
    if low >= high:
        raise ValueError(f"has low = {low} and high = {high}; low must be less than high")
    if log and low <= 0:
        raise ValueError(f"has log = true and low = {low}; on a logarithmic scale low must be greater than 0")
    if log and step is not None:
        raise ValueError("has log = true and a step; give one of them")
    # 32.3 - 32.0 is a little less than 0.3.
    if step is not None and not (step > 0 and (high - low) / step + OFF_GRID >= 1):
        width = f"{high - low:.12g}"
        raise ValueError(f"has step = {step}; it must be greater than 0 and at most {width}, which is high - low")
