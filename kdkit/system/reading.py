"""Reads files: only regular ones, and only up to a known size.

A folder may come from a stranger. A named pipe in it would be waited for without end, and a device has no end.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdkit.errors import DamagedData
from kdkit.system.files import kind_of, naming, size_text
from kdkit.system.parsing import check_value, parse_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader

LARGEST_RECORD = 2**28
"""Bytes of a file that is read as a whole: `run.json`, `sweep.json` of very many trials, the rows of an evaluation."""
LARGEST_ROWS = 2**34
"""The same of a file with a line for each row of a data set."""
LARGEST_ROW = 2**30
"""Bytes of a line that holds a row of a data set."""
LARGEST_LINE = 2**26
"""Bytes of a line of a file that is read line by line."""


class NotRegular(DamagedData):
    """A path cannot be read as a file.

    Attributes:
        what: What it is: `a named pipe`.
    """

    def __init__(self, path: Path, what: str) -> None:
        super().__init__(f"{path} is {what}, but kdkit reads only regular files; put a regular file in its place")
        self.what = what


def open_regular(path: Path) -> BufferedReader:
    """Open a file to read its bytes; a link to it is followed.

    Raises:
        NotRegular: It is a named pipe, a device or a socket.
    """
    try:
        file = open(path, "rb", opener=_without_waiting)  # noqa: SIM115 - for the caller
    except OSError:
        check_regular(path)  # a socket cannot be opened at all
        raise
    try:
        _check_mode(path, os.fstat(file.fileno()).st_mode)
    except BaseException:
        file.close()
        raise
    return file


def _without_waiting(path: str, flags: int) -> int:
    """Opening a named pipe would wait for whoever writes to it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def check_regular(path: Path) -> None:
    """Refuse what others would open and wait for; a path with nothing there is left to them.

    Raises:
        NotRegular: It is a named pipe, a device or a socket.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if not stat.S_ISDIR(mode):
        _check_mode(path, mode)


def check_regular_files(folder: Path) -> None:
    """Refuse a folder that holds, at any depth, what is neither a regular file nor a folder.

    Raises:
        NotRegular: It does.
    """
    for place, _, names in os.walk(folder):
        for name in names:
            check_regular(Path(place, name))


def _check_mode(path: Path, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "Is a directory", str(path))
    if not stat.S_ISREG(mode):
        raise NotRegular(path, kind_of(mode))


def read_bytes(path: Path, *, at_most: int = LARGEST_RECORD) -> bytes:
    """All of a file.

    Raises:
        DamagedData: It is not a regular file, or larger than it may be.
    """
    with naming(path), open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        raw = file.read(at_most + 1) if size <= at_most else b""
    if size > at_most or len(raw) > at_most:
        raise DamagedData(
            f"{path} has {size_text(max(size, len(raw)))}, but kdkit reads at most {size_text(at_most)} there"
        )
    return raw


def read_text(path: Path, *, at_most: int = LARGEST_RECORD, encoding: str = "utf-8", errors: str = "strict") -> str:
    """All of a file as text, its line ends as newlines.

    Raises:
        DamagedData: It is not a regular file, or larger than it may be.
        UnicodeDecodeError: It is not text.
    """
    text = read_bytes(path, at_most=at_most).decode(encoding, errors)
    return text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text


def read_json(path: Path, *, at_most: int = LARGEST_RECORD) -> Any:
    """The value of a JSON file.

    Raises:
        DamagedData: It is not a regular file, or larger than it may be.
        ValueError: It is not JSON, or deeper or with longer numbers than kdkit writes.
    """
    text = read_bytes(path, at_most=at_most).decode("utf-8")
    value = parse_json(text)
    check_value(value, text)
    return value


def read_lines(path: Path) -> Iterator[str]:
    """The lines of a text file, one at a time, with their newlines; other separators may stand in a line.

    Raises:
        DamagedData: It is not a regular file, or a line is longer than it may be.
        UnicodeDecodeError: A line is not text.
    """
    return (line.decode() for line in read_raw_lines(path, at_most=LARGEST_LINE))


def read_raw_lines(path: Path, *, at_most: int = LARGEST_ROW) -> Iterator[bytes]:
    """The lines of a file, one at a time, with their newlines.

    Raises:
        DamagedData: It is not a regular file, or a line is longer than it may be.
    """
    with naming(path), open_regular(path) as file:
        number = 0
        while line := file.readline(at_most + 1):
            number += 1
            if len(line) > at_most:
                raise DamagedData(
                    f"{path}:{number}: the line has more than {size_text(at_most)}, the most that "
                    "kdkit reads; shorten it"
                )
            yield line


def count_lines(path: Path) -> int:
    """How many lines a file has, a last one without an end included.

    Raises:
        NotRegular: It is a named pipe, a device or a socket.
    """
    count, last = 0, b"\n"
    with naming(path), open_regular(path) as file:
        while piece := file.read(2**20):
            count, last = count + piece.count(b"\n"), piece
    return count + (not last.endswith(b"\n"))


def read_tail(path: Path, at_most: int) -> str:
    """The last lines of a text file, whatever is in them; the first of them may be cut.

    Raises:
        DamagedData: It is not a regular file.
    """
    with naming(path), open_regular(path) as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - at_most))
        return file.read(at_most).decode(errors="replace")


def file_digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits.

    Raises:
        NotRegular: It is a named pipe, a device or a socket.
    """
    with naming(path), open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
