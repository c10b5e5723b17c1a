"""Former names of options: stored recipes are read under today's names; in yours, a message gives the new name."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kdkit.plugins.fields import KeyPath


@attrs.frozen(kw_only=True)
class _Renamed:
    """A key that had another name.

    Attributes:
        was: Its path in recipes of format 1.
        name: What its last part is called today.
        hint: What a message says of the former name.
        value: Makes today's value of the former one.
    """

    was: KeyPath
    name: str
    hint: str
    value: Callable[[Any], Any] = lambda value: value


def _less_one(value: Any) -> Any:
    """A number less one; any other value unchanged, so that the check of recipes refuses it."""
    return value - 1 if isinstance(value, int) and not isinstance(value, bool) else value


_RENAMED = (
    _Renamed(was=("cache",), name="store", hint="is now called store"),
    _Renamed(
        was=("generation", "max_tokens"),
        name="max_new_tokens",
        hint="is now called max_new_tokens and is one less, since the decoder's start token does not count",
        value=_less_one,
    ),
)
STORE_VARIABLE = "KDKIT_CACHE"
"""The former name of the environment variable `KDKIT_STORE`."""
HINTS: Mapping[KeyPath, str] = {each.was: each.hint for each in _RENAMED}
"""What a message says of a former name."""


def todays(tables: Mapping[str, Any]) -> dict[str, Any]:
    """The tables of a recipe of format 1 under today's names."""
    renamed = copy.deepcopy(dict(tables))
    for each in _RENAMED:
        *parents, key = each.was
        table: Any = renamed
        for parent in parents:
            table = table.get(parent) if isinstance(table, dict) else None
        if isinstance(table, dict) and key in table and each.name not in table:
            table[each.name] = each.value(table.pop(key))
    return renamed


def todays_axis(axis: KeyPath, value: Any) -> tuple[KeyPath, Any]:
    """A key that a sweep of format 1 varied, and a value of it, under today's names."""
    path = list(axis)
    for each in _RENAMED:
        if axis[: len(each.was)] == each.was:
            path[len(each.was) - 1] = each.name
    if value is not None:
        for key in reversed(axis):
            value = {key: value}
        value = todays(value)
        for key in path:
            value = value[key]
    return tuple(path), value
