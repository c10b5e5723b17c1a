"""JSON and TOML of strangers: no deeper, and no longer numbers, than whatever walks the value later can take."""

from __future__ import annotations

import json
import re
import tomllib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

DEEPEST = 64
"""Levels of tables and lists in each other."""
LARGEST_INTEGER = 2**64 - 1
"""Whole numbers beyond it, up or down, are neither counts nor seeds, and no float can hold all of them."""

_MARKS = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|[\[\]{}]')
_DIGITS = re.compile(r"\d{4301}")
# `a.b.c = 1`: TOML takes time that grows with the square of such a key's parts.
_PART = r"""(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')"""
_LONG_KEY = re.compile(rf"(?:^|[\[{{,])[ \t]*{_PART}(?:[ \t]*\.[ \t]*{_PART}){{{DEEPEST}}}", re.MULTILINE)


def parse_json(raw: bytes | str, **options: Any) -> Any:
    """The value of a JSON text.

    Args:
        raw: The text, as UTF-8 if it is bytes.
        **options: For `json.loads`.

    Raises:
        ValueError: It is not JSON, or deeper or with longer numbers than kdkit writes; says where.
    """
    text = raw if isinstance(raw, str) else raw.decode("utf-8")
    try:
        value = json.loads(text, **options)
    except RecursionError:
        raise ValueError(_too_deep(text)) from None
    except ValueError as error:
        raise _with_place(error, text) from None
    check_depth(value, text)
    _check_integers(value, text)
    return value


def parse_toml(text: str) -> dict[str, Any]:
    """The tables of a TOML text.

    Raises:
        ValueError: It is not TOML (`tomllib.TOMLDecodeError`), or too deep, or holds numbers that are too long.
    """
    if long := _LONG_KEY.search(text):
        raise ValueError(f"{place_in(text, long.start())}: a key has more than {DEEPEST} parts")
    try:
        tables = tomllib.loads(text)
    except RecursionError:
        raise ValueError(_too_deep(text)) from None
    except ValueError as error:
        raise _with_place(error, text) from None
    check_depth(tables, text)
    _check_integers(tables, text)
    return tables


def check_depth(value: Any, text: str, *, deepest: int = DEEPEST) -> None:
    """Refuse what would exhaust the stack of some function that walks it later.

    Args:
        value: Lists and dictionaries in each other.
        text: What it was parsed from, for the place.
        deepest: How deep it may be.

    Raises:
        ValueError: It is deeper.
    """
    for depth, _ in enumerate(_levels(value), 1):
        if depth > deepest:
            raise ValueError(_too_deep(text, deepest))


def _check_integers(value: Any, text: str) -> None:
    """Refuse whole numbers that neither a float nor 64 bits can hold."""
    for level in _levels(value):
        for one in level:
            for each in one.values() if isinstance(one, dict) else one:
                if type(each) is int and not -LARGEST_INTEGER <= each <= LARGEST_INTEGER:
                    digits = str(abs(each))
                    found = re.search(digits, text)
                    place = f"{place_in(text, found.start())}: " if found else ""
                    raise ValueError(f"{place}a whole number of {len(digits)} digits is beyond 64 bits")


def _levels(value: Any) -> Iterator[list[Any]]:
    """The lists and dictionaries of a value, level by level."""
    level = [value] if isinstance(value, dict | list) else []
    while level:
        yield level
        children = (one.values() if isinstance(one, dict) else one for one in level)
        level = [child for parent in children for child in parent if isinstance(child, dict | list)]


def _too_deep(text: str, deepest: int = DEEPEST) -> str:
    """A sentence with the place of the first bracket that is too deep; without one where keys with dots are it."""
    depth = 0
    for found in _MARKS.finditer(text):
        depth += (found[0] in "[{") - (found[0] in "]}")
        if depth > deepest:
            return f"{place_in(text, found.start())}: it is nested more than {deepest} levels deep"
    return f"it is nested more than {deepest} levels deep"


def _with_place(error: ValueError, text: str) -> ValueError:
    """What Python says of a number of too many digits has no place."""
    found = _DIGITS.search(text) if "digits" in str(error) else None
    return ValueError(f"{place_in(text, found.start())}: a number has over 4,300 digits") if found else error


def place_in(text: str, offset: int) -> str:
    """`line 3, column 12`, both counted from 1."""
    return f"line {text.count(chr(10), 0, offset) + 1}, column {offset - text.rfind(chr(10), 0, offset)}"
