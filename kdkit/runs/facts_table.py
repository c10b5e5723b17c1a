"""The facts of stages, written to `run.json` as tables and read from there."""

from __future__ import annotations

from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

import attrs

from kdkit.errors import DamagedData

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kdkit.runs.stage_facts import StageFacts

    F = TypeVar("F", bound=StageFacts)
    T = TypeVar("T", bound=attrs.AttrsInstance)


def as_facts(told: StageFacts | None) -> dict[str, Any]:
    """The facts of a stage, as a table for `run.json`."""
    if told is None:
        return {}
    absent = {field.name for field in attrs.fields(type(told)) if field.default is None}
    return {name: value for name, value in attrs.asdict(told).items() if value is not None or name not in absent}


def from_table(kind: type[T], table: Mapping[str, Any], *, where: str) -> T:
    """A value of an attrs class, from the table that `attrs.asdict` gives.

    Args:
        kind: The class.
        table: The table.
        where: The file, for the message.

    Raises:
        DamagedData: A value is missing, or not of its type.
    """
    try:
        return _made(kind, dict(table))
    except (KeyError, TypeError, OverflowError) as error:
        raise DamagedData(f"{where} is damaged: {error.args[0]}") from error


def from_facts(kind: type[F], facts: Mapping[str, Any], *, where: str) -> F:
    """The facts of a stage, from its table; facts of later versions are ignored.

    Args:
        kind: What it told.
        facts: The table.
        where: The file, and the stage, for the message.

    Raises:
        DamagedData: A value is missing, or not of its type.
    """
    try:
        return _made(kind, facts)
    except (KeyError, TypeError, OverflowError) as error:
        raise DamagedData(f"{where} is damaged: {error.args[0]}; run with --fresh to start from scratch") from error


def facts_in(record: Mapping[str, Any], kind: type[F], folder: Path, *, stage: str | None = None) -> F | None:
    """The facts of a finished stage, from the record of a run folder; None if the stage is not finished.

    Args:
        record: The record.
        kind: What is asked for.
        folder: The run folder, for the message.
        stage: The stage's name, where several stages tell the like.

    Raises:
        DamagedData: The record is not what a run writes.
    """
    name = stage if stage is not None else kind.stage
    entry = record.get("stages", {}).get(name, {})
    if entry.get("status") != "done":
        return None
    return from_facts(kind, entry.get("facts", {}), where=f"stage {name} in {folder / 'run.json'}")


def _made(kind: type[T], table: Any) -> T:
    if not isinstance(table, dict):
        raise TypeError(f"{table!r} is not a table")
    hints, values = get_type_hints(kind), {}
    for field in attrs.fields(kind):
        if field.name in table:
            values[field.name] = _value(hints[field.name], table[field.name], field.name)
        elif field.default is attrs.NOTHING:
            raise KeyError(f"it lacks {field.name}")
    return kind(**values)


def _value(hint: Any, value: Any, name: str) -> Any:
    """A value of a table as its field has it."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is UnionType:
        return None if value is None else _value(next(each for each in arguments if each is not NoneType), value, name)
    if attrs.has(hint):
        return _made(hint, value)
    if origin is tuple and isinstance(value, (list, tuple)):
        return tuple(_value(arguments[0], each, name) for each in value)
    if origin is dict and isinstance(value, dict):
        return {key: _value(arguments[1], each, name) for key, each in value.items()}
    if hint is float and type(value) is int:
        return float(value)
    if origin is not None or type(value) is not hint:
        raise TypeError(f"its {name} is {value!r}")
    return value
