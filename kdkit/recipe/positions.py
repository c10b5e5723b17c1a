"""The position of each key of a TOML document, which tomllib does not keep.

The scanner is given only text that tomllib has accepted. So it need not find faults, only its way: it knows strings,
arrays, inline tables, headers and dotted keys, and takes whatever else there is for a number, date or boolean.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kdkit.plugins.fields import KeyPath

_BLANK = re.compile(r"[ \t]*")
_BLANK_LINES = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r"""[A-Za-z0-9_-]+|"(?:[^"\\]|\\.)*"|'[^']*'""")
_STRING = re.compile(
    r'''"""(?:[^\\]|\\.)*?"""("{0,2})'''  # up to two quotes may stand right before the closing three
    r"""|'''.*?'''('{0,2})"""
    r'''|"(?:[^"\\]|\\.)*"'''
    r"""|'[^']*'""",
    re.DOTALL,
)
_BARE = re.compile(r"\d{4}-\d\d-\d\d \d[^\s,\]}#]*|[^\s,\]}#]+")  # a date may have a blank before its time


def positions(text: str) -> dict[KeyPath, tuple[int, int]]:
    """Line and column, both from 1, of the first mention of every key and of every item of a list.

    Args:
        text: A TOML document that tomllib accepts.
    """
    scanner = _Scanner(text)
    scanner.document()
    starts = [0, *(match.end() for match in re.finditer("\n", text))]
    found = {}
    for path, offset in scanner.offsets.items():
        line = bisect_right(starts, offset)
        found[path] = (line, offset - starts[line - 1] + 1)
    return found


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.offsets: dict[KeyPath, int] = {}
        self.lengths: dict[KeyPath, int] = {}  # of the arrays of tables, so far

    def document(self) -> None:
        table: KeyPath = ()
        while self._next_is_not("", blank=_BLANK_LINES):
            table = self._header() if self.text[self.at] == "[" else self._pair(table)

    def _header(self) -> KeyPath:
        """[a.b] or [[a.b]]; returns the path of the table that it opens."""
        start = self.at
        is_array = self.text.startswith("[[", start)
        self.at += 2 if is_array else 1
        keys = self._dotted_key()
        self.at += 2 if is_array else 1
        path: KeyPath = ()
        for index, (key, offset) in enumerate(keys):
            path = self._note((*path, key), offset)
            if is_array and index == len(keys) - 1:
                self.lengths[path] = self.lengths.get(path, 0) + 1
            if path in self.lengths:
                path = self._note((*path, self.lengths[path] - 1), start)
        return path

    def _pair(self, table: KeyPath) -> KeyPath:
        """A key, `=` and a value; returns the table that it is in."""
        path = table
        for key, offset in self._dotted_key():
            path = self._note((*path, key), offset)
        self.at += 1  # the =
        self._skip(_BLANK)
        self._value(path)
        return table

    def _dotted_key(self) -> list[tuple[str, int]]:
        keys = []
        while True:
            self._skip(_BLANK)
            spelt = self._take(_KEY)
            key = next(iter(tomllib.loads(f"{spelt} = 0"))) if spelt[0] in "\"'" else spelt
            keys.append((key, self.at - len(spelt)))
            self._skip(_BLANK)
            if self.text[self.at] != ".":
                return keys
            self.at += 1

    def _value(self, path: KeyPath) -> None:
        opening = self.text[self.at]
        if opening == "[":
            self.at += 1
            index = 0
            while self._next_is_not("]"):
                self._value(self._note((*path, index), self.at))
                index += 1
                self._skip_comma()
            self.at += 1
        elif opening == "{":
            self.at += 1
            while self._next_is_not("}"):
                self._pair(path)
                self._skip_comma()
            self.at += 1
        else:
            self._take(_STRING if opening in "\"'" else _BARE)

    def _next_is_not(self, closing: str, blank: re.Pattern[str] = _BLANK_LINES) -> bool:
        self._skip(blank)
        return self.at < len(self.text) and (closing == "" or self.text[self.at] != closing)

    def _skip_comma(self) -> None:
        self._skip(_BLANK_LINES)
        if self.text[self.at] == ",":
            self.at += 1

    def _skip(self, pattern: re.Pattern[str]) -> None:
        self._take(pattern)

    def _take(self, pattern: re.Pattern[str]) -> str:
        match = pattern.match(self.text, self.at)
        assert match is not None, f"unexpected TOML at offset {self.at}"
        self.at = match.end()
        return match.group()

    def _note(self, path: KeyPath, offset: int) -> KeyPath:
        self.offsets.setdefault(path, offset)
        return path
