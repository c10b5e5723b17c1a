"""Rows of a JSON array of objects, read one element at a time, every fault with its line and column."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, BinaryIO

from kdkit.data import compressed
from kdkit.data.jsonlines import Broken, parsed_row
from kdkit.errors import UsageError
from kdkit.system.parsing import DEEPEST_ROW

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdkit.data.jsonlines import DropCount

SKIP_ELEMENTS = "correct it, or set skip_broken = true to leave such elements out"
_PIECE = 1 << 16
LONGEST = 1 << 26
"""Bytes of an element at most."""
_SPACE = re.compile(rb"[ \t\r\n]*")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# A string, whose end the group tells; or what opens and closes lists and objects; or what ends any other element.
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(")?'
_NESTED = re.compile(_STRING + rb"|[\[\]{}]", re.DOTALL)
_FLAT = re.compile(_STRING + rb"|[\],]", re.DOTALL)


def json_array_rows(
    stream: BinaryIO, name: str, *, skip: DropCount | None, advice: str
) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """The number, the place and the values of each object of an array.

    Args:
        stream: Decompressed bytes.
        name: What to call the file in messages.
        skip: Where elements that are not objects are counted; without it the first one is an error.
        advice: What that error says to do.

    Raises:
        UsageError: An element is not a JSON object, or the array has no end.
        DamagedData: The compressed stream is cut or damaged.
    """
    text = _Text(stream, name)
    text.expect(b"[", "the array should begin")
    number = 0
    while text.next_mark() != b"]":
        if number:
            text.expect(b",", "a comma or ] should stand")
        number += 1
        line, column, element = text.element()
        try:
            row = parsed_row(element)
        except Broken as broken:
            at = column + broken.column - 1 if broken.line == 1 else broken.column
            if skip is None:
                raise UsageError(
                    f"{name}:{line + broken.line - 1}:{at}: this element is not a JSON object: {broken.why}; {advice}"
                ) from None
            skip.add("it is not a JSON object", f"{name}:{line}:{column}")
            continue
        yield number, f"{name}:{line}:{column}", row
    text.expect(b"]", "the array should end")
    text.expect_end()


class _Text:
    """What is left of an array, as far as it has been read, and where in the file that is."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream, self._name = stream, name
        self._buffer, self._place = b"", 0
        self._line, self._line_start = 1, 0  # the second may lie before the buffer
        self._more()
        self._buffer = self._buffer.removeprefix(_BYTE_ORDER_MARK)

    def next_mark(self) -> bytes:
        """The next byte that is not white space."""
        self._pass_space()
        return self._buffer[self._place : self._place + 1]

    def expect(self, mark: bytes, what: str) -> None:
        """Pass a mark that must come now."""
        self._pass_space()
        if not self._buffer.startswith(mark, self._place):
            raise self._wrong(what)
        self._place += 1

    def expect_end(self) -> None:
        """Refuse what follows the array."""
        self._pass_space()
        if self._place < len(self._buffer):
            raise self._wrong("the file should end, after its array,")

    def element(self) -> tuple[int, int, bytes]:
        """Line, column and text of the element that begins here, which is passed."""
        self._pass_space()
        line, column = self._line, self._place - self._line_start + 1
        end = self._end()
        found = self._buffer[self._place : end]
        if not found.strip():
            raise self._wrong("an object should stand")
        self._pass(end)
        return line, column, found

    def _end(self) -> int:
        """Where the element ends: after what closes it, or before a comma or what closes the array."""
        nested = self._buffer[self._place : self._place + 1] in {b"{", b"["}
        marks, depth, searched = _NESTED if nested else _FLAT, 0, 0  # the last is counted from the element's start
        while True:
            for mark in marks.finditer(self._buffer, self._place + searched):
                sign = mark.group()
                if sign[:1] == b'"':
                    if mark.group(1) is None:
                        break  # its end has not been read yet
                elif not nested:
                    return mark.start()
                else:
                    depth += 1 if sign in b"[{" else -1
                    if not depth:
                        return mark.end()
                    self._check_depth(depth)
                searched = mark.end() - self._place
            else:
                searched = len(self._buffer) - self._place
            if not self._more():
                raise self._wrong("an object should end", end=True)

    def _check_depth(self, depth: int) -> None:
        if depth > DEEPEST_ROW:
            raise self._wrong(f"lists and objects should not be nested more than {DEEPEST_ROW} levels deep")

    def _pass_space(self) -> None:
        while True:
            found = _SPACE.match(self._buffer, self._place)
            assert found is not None
            self._pass(found.end())
            if self._place < len(self._buffer) or not self._more():
                return

    def _pass(self, place: int) -> None:
        lines = self._buffer.count(b"\n", self._place, place)
        if lines:
            self._line += lines
            self._line_start = self._buffer.rfind(b"\n", self._place, place) + 1
        self._place = place

    def _more(self) -> bool:
        """Read as much again as there is of an element, so that a long one takes time in proportion to its length."""
        held = len(self._buffer) - self._place
        if held > LONGEST:
            raise UsageError(
                f"{self._name}:{self._line}: an element of the array has more than {LONGEST:,} bytes; "
                "write each row as an element of its own"
            )
        try:
            piece = self._stream.read(max(_PIECE, held))
        except compressed.ERRORS as error:
            raise compressed.damaged(self._name, self._line, error) from error
        self._buffer = self._buffer[self._place :] + piece
        self._line_start -= self._place
        self._place = 0
        return bool(piece)

    def _wrong(self, what: str, *, end: bool = False) -> UsageError:
        if end or self._place >= len(self._buffer):
            return UsageError(f"{self._name}:{self._line}: the file ends where {what}; it was cut, so fetch it again")
        column = self._place - self._line_start + 1
        return UsageError(f"{self._name}:{self._line}:{column}: here {what}; correct the file")
