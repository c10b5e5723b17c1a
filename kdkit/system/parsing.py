"""Parses JSON and TOML of strangers, with limits on depth and on numbers that later code can take."""

from __future__ import annotations

import json
import re
import tomllib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

DEEPEST = 64
"""Levels of tables and lists in each other."""
LARGEST_INTEGER = 2**64 - 1
"""Whole numbers beyond it, up or down, are neither counts nor seeds, and no float can hold all of them."""

DEEPEST_ROW = 200
"""The same of a row of data, whose fields kdkit knows nothing of."""

_DECODER = json.JSONDecoder()
_MARKS = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|[\[\]{}]')
_DIGITS = re.compile(r"\d{4301}")
# `a.b.c = 1`: TOML takes time that grows with the square of such a key's parts.
_PART = r"""(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')"""
_LONG_KEY = re.compile(rf"(?:^|[\[{{,])[ \t]*{_PART}(?:[ \t]*\.[ \t]*{_PART}){{{DEEPEST}}}", re.MULTILINE)


class Beyond(ValueError):
    """A text exceeds the limits of kdkit, though it may be valid.

    Attributes:
        line: Where, from 1.
        column: Where in the line, from 1.
        what: What is beyond which limit.
    """

    def __init__(self, text: str, offset: int, what: str) -> None:
        self.line, self.column = text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)
        self.what = what
        super().__init__(f"line {self.line}, column {self.column}: {what}")


def parse_json(raw: bytes | str, *, decoder: json.JSONDecoder = _DECODER, deepest: int = DEEPEST) -> Any:
    """The value of a JSON text.

    Args:
        raw: The text, as UTF-8 if it is bytes.
        decoder: What decodes it, if not Python's own.
        deepest: How many lists and tables may be in each other.

    Raises:
        json.JSONDecodeError: It is not JSON.
        UnicodeDecodeError: It is not even text.
        Beyond: It is nested deeper, or has a number of more digits than Python reads.
    """
    text = raw if isinstance(raw, str) else raw.decode("utf-8")
    with _naming_limits(text, deepest):
        value = decoder.decode(text)
    _check_depth(value, text, deepest)
    return value


def parse_toml(text: str) -> dict[str, Any]:
    """The tables of a TOML text.

    Raises:
        tomllib.TOMLDecodeError: It is not TOML.
        Beyond: It is nested too deeply, or a whole number is beyond 64 bits.
    """
    if long := _LONG_KEY.search(text):
        raise Beyond(text, long.start(), f"a key has more than {DEEPEST} parts")
    with _naming_limits(text, DEEPEST):
        tables = tomllib.loads(text)
    check_value(tables, text)
    return tables


@contextmanager
def _naming_limits(text: str, deepest: int) -> Iterator[None]:
    """Say where a text goes beyond what Python's own parsers take, which they say without a place or by a traceback."""
    try:
        yield
    except RecursionError:
        raise _too_deep(text, deepest) from None
    except (json.JSONDecodeError, tomllib.TOMLDecodeError):
        raise
    except ValueError as error:
        found = _DIGITS.search(text) if "digits" in str(error) else None
        if found is None:
            raise
        raise Beyond(text, found.start(), "a number has more than 4,300 digits") from None


def check_value(value: Any, text: str = "") -> None:
    """Refuse a value that a recipe or record cannot hold, so that later code cannot fail on it.

    Args:
        value: Lists and dictionaries in each other.
        text: What it was parsed from, for the place.

    Raises:
        Beyond: It is nested too deeply, or a whole number is beyond 64 bits.
    """
    _check_depth(value, text, DEEPEST)
    for level in _levels(value):
        for one in level:
            for each in one.values() if isinstance(one, dict) else one:
                if type(each) is int and not -LARGEST_INTEGER <= each <= LARGEST_INTEGER:
                    raise _too_large(text, each)


def _check_depth(value: Any, text: str, deepest: int) -> None:
    """Refuse nesting that would exhaust the stack of later code."""
    for depth, _ in enumerate(_levels(value), 1):
        if depth > deepest:
            raise _too_deep(text, deepest)


def _levels(value: Any) -> Iterator[list[Any]]:
    """The lists and dictionaries of a value, level by level."""
    level = [value] if isinstance(value, dict | list) else []
    while level:
        yield level
        children = (one.values() if isinstance(one, dict) else one for one in level)
        level = [child for parent in children for child in parent if isinstance(child, dict | list)]


def _too_deep(text: str, deepest: int) -> Beyond:
    """Says where the first bracket stands that is too deep; keys with dots have none."""
    depth, offset = 0, 0
    for found in _MARKS.finditer(text):
        depth += (found[0] in "[{") - (found[0] in "]}")
        if depth > deepest:
            offset = found.start()
            break
    return Beyond(text, offset, f"it is nested more than {deepest} levels deep")


def _too_large(text: str, number: int) -> Beyond:
    digits = len(str(abs(number))) if abs(number) < 10**4300 else "over 4,300"
    found = re.search(str(abs(number)), text) if digits != "over 4,300" else None
    return Beyond(text, found.start() if found else 0, f"a whole number of {digits} digits is beyond 64 bits")
