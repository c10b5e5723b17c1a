"""Reads JSON lines (plain, gzip or zstandard) one line at a time, and names the place of every fault.

How a file is compressed is told by its first bytes, not by its name. Places are `file:line` or `file:line:column`,
counted from 1.
"""

from __future__ import annotations

import json
import math
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, BinaryIO

from kdkit.api.values import Drop
from kdkit.data import compressed
from kdkit.data.filetypes import other_type
from kdkit.errors import MissingInput, UsageError
from kdkit.system.files import user_path
from kdkit.system.parsing import DEEPEST_ROW, Beyond, parse_json
from kdkit.system.reading import NotRegular, open_regular

if TYPE_CHECKING:
    import io
    from collections.abc import Callable, Iterator
    from pathlib import Path

FIRST_PLACES = 5
SKIP_THEM = "correct the line, or set skip_broken = true to leave such lines out"
_HEAD = 4096
"""Bytes of a file in which its kind is looked for, before a first line without an end is read."""
LONGEST = 1 << 28
"""Bytes of a line at most."""
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def _finite(digits: str) -> float | None:
    value = float(digits)
    return value if math.isfinite(value) else None


# What is not a finite number is null: NaN and the infinities, which Python writes and JSON lacks, and 1e999.
_JSON = json.JSONDecoder(parse_constant=lambda _: None, parse_float=_finite)


class DropCount:
    """Counts rows that are left out, by reason, and remembers where the first few of each stand."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._places: dict[str, list[str]] = {}

    def add(self, reason: str, place: str) -> None:
        """One more row is left out; `reason` ends the sentence "dropped because ..."."""
        self._counts[reason] = self._counts.get(reason, 0) + 1
        places = self._places.setdefault(reason, [])
        if len(places) < FIRST_PLACES:
            places.append(place)

    def drops(self) -> tuple[Drop, ...]:
        """The rows left out, most frequent reason first."""
        ordered = sorted(self._counts.items(), key=lambda item: -item[1])
        return tuple(Drop(reason=reason, count=n, first=tuple(self._places[reason])) for reason, n in ordered)


def open_lines(
    path: str | Path,
    *,
    option: str,
    opened: Callable[[Path], io.BufferedReader] = open_regular,
    name: str = "",
) -> BinaryIO:
    """A file of lines as a stream of decompressed bytes.

    Args:
        path: The file.
        option: The recipe option that named it, for the error.
        opened: How it is opened; by default only regular files are.
        name: What to call it in messages, if not by its path.

    Raises:
        MissingInput: There is no such file.
    """
    file, path = user_path(path), name or path
    if file.is_dir():
        raise MissingInput(
            f"{path} is a folder; {option} takes a file; name one of that folder, or several by a pattern such as "
            f"{path}/*"
        )
    try:
        return compressed.decompressed(opened(file))
    except FileNotFoundError:
        if file.is_symlink():
            raise MissingInput(
                f"{path} is a link to {file.readlink()}, which does not exist; correct the link, or give {option} the "
                "path of a file with rows"
            ) from None
        raise MissingInput(
            f"there is no file {path}{near_file(file)}; give {option} the path of a file with rows"
        ) from None
    except NotRegular as error:
        raise MissingInput(f"{path} is {error.what}; {option} takes a regular file with rows") from error
    except OSError as error:
        raise MissingInput(f"{path} cannot be read ({error.strerror}); {option} takes a file with rows") from error


_JSON_KINDS = {
    int: "a number",
    float: "a number",
    str: "a text",
    list: "a list",
    bool: "true or false",
    type(None): "null",
}


def near_file(file: Path) -> str:
    """` (did you mean ...?)` where a file beside one that is not there has a similar name; else empty."""
    beside = [other.name for other in file.parent.iterdir()] if file.parent.is_dir() else []
    found = get_close_matches(file.name, beside, n=1, cutoff=0.8)
    return f" (did you mean {file.with_name(found[0])}?)" if found else ""


def json_lines(
    stream: BinaryIO, name: str, *, skip: DropCount | None = None, advice: str = SKIP_THEM
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Line numbers and objects of a stream of JSON lines; blank lines are passed over.

    Only one line is in memory at a time, so that the caller's hold on an object is the only one.

    Args:
        stream: Decompressed bytes.
        name: What to call the file in messages.
        skip: Where broken lines are counted; without it the first one is an error.
        advice: What that error says to do.

    Raises:
        UsageError: A line is not a JSON object, or the file is of another kind altogether.
        DamagedData: The compressed stream is cut or damaged.
    """
    number = 0
    while True:
        number += 1
        try:
            line = _read_line(stream, name) if number > 1 else _first_line(stream, name)
        except compressed.ERRORS as error:
            raise compressed.damaged(name, number, error) from error
        if not line:
            return
        line = line.rstrip(b"\r\n")
        if not line or line.isspace():
            continue
        try:
            row = parsed_row(line)
        except Broken as broken:
            if skip is None:
                raise UsageError(
                    f"{name}:{number}:{broken.column}: this line is not a JSON object: {broken.why}; {advice}"
                ) from None
            skip.add("it is not a JSON object", f"{name}:{number}")
            continue
        del line
        yield number, row
        del row


def _first_line(stream: BinaryIO, name: str) -> bytes:
    """The first line, or an error that says what the file is if it is of another kind.

    Raises:
        UsageError: It is of another kind.
    """
    head = stream.readline(_HEAD).removeprefix(_BYTE_ORDER_MARK)
    other = other_type(head, name)
    if other is not None:
        raise UsageError(
            f"{name} is {other.name}, and rows are read from JSON lines in UTF-8 here (plain, gzip or zstandard); "
            f"{other.advice}"
        )
    return head if head.endswith(b"\n") else head + _read_line(stream, name)


def _read_line(stream: BinaryIO, name: str) -> bytes:
    line = stream.readline(LONGEST)
    if len(line) == LONGEST and not line.endswith(b"\n"):
        raise UsageError(f"{name} has a line of more than {LONGEST:,} bytes; write each row on a line of its own")
    return line


class Broken(Exception):
    """A row that is not a JSON object.

    Attributes:
        why: What is wrong with it.
        line: Where in its text, from 1.
        column: Where in that line, from 1.
    """

    def __init__(self, column: int, why: str, line: int = 1) -> None:
        super().__init__(why)
        self.column, self.why, self.line = column, why, line


def parsed_row(text: bytes) -> dict[str, Any]:
    """The object that a JSON text is.

    Raises:
        Broken: It is not one.
    """
    try:
        row = parse_json(text, decoder=_JSON, deepest=DEEPEST_ROW)
    except UnicodeDecodeError as error:
        raise _broken_at(text, error.start, "it is not UTF-8") from None
    except json.JSONDecodeError as error:
        if text.strip() == b"{":
            raise Broken(error.colno, "its object ends on a later line") from None
        raise Broken(error.colno, error.msg.removesuffix(" at").removesuffix(" starting"), error.lineno) from None
    except Beyond as error:
        raise Broken(error.column, error.what, error.line) from None
    if not isinstance(row, dict):
        raise Broken(1, f"it is {_JSON_KINDS[type(row)]}")
    found = _SURROGATE.search(text)
    if found is not None and not _is_text(row):
        raise _broken_at(text, found.start(), "it holds half a surrogate pair, which is not a character")
    return row


def _broken_at(text: bytes, offset: int, why: str) -> Broken:
    return Broken(offset - text.rfind(b"\n", 0, offset), why, text.count(b"\n", 0, offset) + 1)


def _is_text(row: dict[str, Any]) -> bool:
    try:
        json.dumps(row, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
