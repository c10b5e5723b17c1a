"""Which trials of a sweep a table of `skip` leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


def agrees(values: Mapping[Any, Any], wanted: Iterable[tuple[Any, Any]]) -> bool:
    """Whether a trial's values, by axis, are all those of a table of `skip`, or among those that it lists."""
    return all(axis in values and _fits(values[axis], each) for axis, each in wanted)


def _fits(value: Any, wanted: Any) -> bool:
    """Whether a value is the wanted one, or one of several, or a table that says all that the wanted one says."""
    if _same(value, wanted):
        return True
    if isinstance(wanted, list):
        return any(_fits(value, each) for each in wanted)
    if isinstance(value, Mapping) and isinstance(wanted, Mapping):
        return all(key in value and _fits(value[key], each) for key, each in wanted.items())
    return False


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)
