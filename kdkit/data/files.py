"""Files of rows, whatever their format: which files a name means, and what each of them holds."""

from __future__ import annotations

import glob
import io
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, get_args

from kdkit.data import compressed
from kdkit.data.csv_rows import Dialect, csv_rows
from kdkit.data.filetypes import Format, type_of
from kdkit.data.json_array import SKIP_ELEMENTS, json_array_rows
from kdkit.data.jsonlines import SKIP_THEM, json_lines, open_lines
from kdkit.errors import MissingInput, UsageError
from kdkit.system.files import user_path
from kdkit.system.mirrors import local_copy
from kdkit.system.reading import open_regular
from kdkit.system.url import RemoteFolder, is_url

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from kdkit.data.jsonlines import DropCount

FORMATS: frozenset[str] = frozenset(get_args(Format))
"""All that kdkit reads rows from."""
JSON: frozenset[str] = frozenset({"json lines", "json array"})
_HEAD = 4096
"""Bytes by which a file's kind is known."""


class Row(NamedTuple):
    """A row of a file.

    Attributes:
        number: Which one, from 1; of JSON lines, the line.
        place: Where it stands, for messages: `file:line`, `file: row 17`.
        values: Its values by name.
    """

    number: int
    place: str
    values: Mapping[str, Any]


def files_of(names: str | Sequence[str], *, option: str) -> list[str]:
    """The files that an option names: paths, URLs, and patterns (`part-*.csv`), whose files come in order.

    Raises:
        MissingInput: No file matches a pattern.
        UsageError: A file is named twice.
    """
    found: list[str] = []
    for name in [names] if isinstance(names, str) else names:
        found += _matching(name, option)
    if len(set(found)) < len(found):
        twice = next(name for name in found if found.count(name) > 1)
        raise UsageError(f"{option} names {twice} twice; name it once")
    return found


def file_rows(
    path: str | Path,
    *,
    option: str = "the data set",
    formats: Collection[str] = FORMATS,
    dialect: Dialect | None = None,
    skip: DropCount | None = None,
    wanted: Collection[str] | None = None,
    check: Callable[[Sequence[str]], None] = lambda _: None,
    advice: str = "",
    opened: Callable[[Path], io.BufferedReader] = open_regular,
) -> Iterator[Row]:
    """The rows of a file, one after the other: JSON lines, a JSON array, CSV, TSV, Parquet, Arrow.

    Text may be compressed by gzip or zstandard. What a file is, and how it is compressed, is seen from its first bytes.

    Args:
        path: The file, or its URL.
        option: The recipe option that named it, for errors.
        formats: What is read; a file of another format is an error.
        dialect: How the values of a table of values are separated.
        skip: Where broken rows are counted; without it the first one is an error.
        wanted: Columns that are needed, where a file has columns; None for all.
        check: Called with the columns' names before a row of such a file is read.
        advice: What the error for a broken row of JSON says to do, if not how to leave such rows out.
        opened: How it is opened; by default only regular files are.

    Raises:
        MissingInput: There is no such file.
        UsageError: A row is broken, or the file is of another kind.
        DamagedData: The file is cut or damaged.
    """
    name = str(path)
    local = local_copy(name) if is_url(name) else user_path(path)
    with open_lines(local, option=option, opened=opened, name=name) as stream:
        is_plain = isinstance(stream, io.BufferedReader) and not isinstance(stream.raw, compressed.Frames)
        try:
            head = stream.read(_HEAD)
        except compressed.ERRORS as error:
            raise compressed.damaged(name, 1, error) from error
        kind = type_of(head.removeprefix(b"\xef\xbb\xbf"), name, formats)
        if kind.format is None or kind.format not in formats:
            read = "JSON lines and JSON arrays" if frozenset(formats) == JSON else "tables and JSON"
            raise UsageError(f"{name} is {kind.name}, and {option} reads {read} here; {kind.advice}")
        text = _rewound(head, stream)
        if kind.format == "json lines":
            for number, values in json_lines(text, name, skip=skip, advice=advice or SKIP_THEM):
                yield Row(number, f"{name}:{number}", values)
        elif kind.format == "json array":
            yield from map(Row._make, json_array_rows(text, name, skip=skip, advice=advice or SKIP_ELEMENTS))
        elif kind.format == "csv":
            rows = csv_rows(text, name, dialect or Dialect(), skip=skip, wanted=wanted, check=check)
            yield from map(Row._make, rows)
        else:
            if not is_plain or not stream.seekable():
                raise UsageError(f"{name} is {kind.name} in gzip, zstandard or a pipe; give {option} the file itself")
            from kdkit.data.arrow_rows import arrow_rows

            found = arrow_rows(local, name, kind.format, skip=skip, wanted=wanted, check=check)
            yield from map(Row._make, found)


def _matching(name: str, option: str) -> list[str]:
    if is_url(name):
        folder, _, pattern = name.rpartition("/")
        if not glob.has_magic(pattern):
            return [name]
        found = [f"{folder}/{each}" for each in sorted(RemoteFolder.at(folder).sizes()) if fnmatch(each, pattern)]
    else:
        path = user_path(name)
        if path.exists() or not glob.has_magic(name):
            return [name]
        found = sorted(glob.glob(str(path), recursive=True))  # noqa: PTH207 - the pattern may be absolute
    if not found:
        raise MissingInput(f"no file matches {name}; give {option} a pattern that some files match")
    return found


class _Rewound(io.RawIOBase):
    """A stream of which the first bytes have been read, from its beginning."""

    def __init__(self, head: bytes, rest: BinaryIO) -> None:
        self._head, self._rest = head, rest

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        piece = self._head[: len(buffer)] or self._rest.read(len(buffer))
        self._head = self._head[len(piece) :] if self._head else b""
        buffer[: len(piece)] = piece
        return len(piece)


def _rewound(head: bytes, stream: BinaryIO) -> BinaryIO:
    if stream.seekable():
        stream.seek(0)
        return stream
    return io.BufferedReader(_Rewound(head, stream), 1 << 16)
