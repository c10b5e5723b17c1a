"""JSON lines: plain, gzip or zstandard, read one line at a time, every fault with its place.

How a file is compressed is told by its first bytes, not by its name. Places are `file:line` or `file:line:column`,
counted from 1.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import zlib
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import zstandard

from kdkit.api.values import Drop
from kdkit.errors import DamagedData, MissingInput, UsageError
from kdkit.system.files import user_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
FIRST_PLACES = 5
SKIP_THEM = "correct it, or set skip_broken = true to leave such lines out"
_CHUNK = 1 << 16
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


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
        """What was left out, most frequent reason first."""
        ordered = sorted(self._counts.items(), key=lambda item: -item[1])
        return tuple(Drop(reason=reason, count=n, first=tuple(self._places[reason])) for reason, n in ordered)


def open_lines(path: str | Path, *, option: str) -> BinaryIO:
    """A file of lines as a stream of decompressed bytes.

    Args:
        path: The file.
        option: The recipe option that named it, for the error.

    Raises:
        MissingInput: There is no such file.
    """
    file = user_path(path)
    if file.is_dir():
        raise MissingInput(f"{path} is a folder; {option} takes a file of JSON lines")
    try:
        return decompressed(file.open("rb"))
    except FileNotFoundError:
        raise MissingInput(
            f"there is no file {path}{_near(file)}; give {option} the path of a file of JSON lines"
        ) from None
    except OSError as error:
        raise MissingInput(f"{path} cannot be read ({error.strerror}); {option} takes a file of JSON lines") from error


def _near(file: Path) -> str:
    beside = [other.name for other in file.parent.iterdir()] if file.parent.is_dir() else []
    found = get_close_matches(file.name, beside, n=1, cutoff=0.8)
    return f" (did you mean {file.with_name(found[0])}?)" if found else ""


def decompressed(stream: io.BufferedReader[Any]) -> BinaryIO:
    """The stream itself, or what its gzip or zstandard frames hold; closing the result closes it."""
    magic = stream.peek(4)[:4]
    if magic.startswith(GZIP_MAGIC):
        return io.BufferedReader(cast(io.RawIOBase, _Gunzip(stream)), _CHUNK)
    if magic == ZSTD_MAGIC:
        return io.BufferedReader(_Unzstd(stream), _CHUNK)
    return stream


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
        UsageError: A line is not a JSON object.
        DamagedData: The compressed stream is cut or damaged.
    """
    number = 0
    while True:
        number += 1
        try:
            line = stream.readline()
        except (EOFError, gzip.BadGzipFile, zlib.error, zstandard.ZstdError) as error:
            raise DamagedData(
                f"{name}:{number}: the compressed data end early or are damaged here ({error}); fetch the file again"
            ) from error
        if not line:
            return
        if number == 1:
            line = line.removeprefix(_BYTE_ORDER_MARK)
        line = line.rstrip(b"\r\n")
        if not line or line.isspace():
            continue
        try:
            row = _parse(line)
        except _Broken as broken:
            if skip is None:
                raise UsageError(
                    f"{name}:{number}:{broken.column}: this line is not a JSON object: {broken.why}; {advice}"
                ) from None
            skip.add("it is not a JSON object", f"{name}:{number}")
            continue
        del line
        yield number, row
        del row


class _Broken(Exception):
    def __init__(self, column: int, why: str) -> None:
        super().__init__(why)
        self.column, self.why = column, why


def _parse(line: bytes) -> dict[str, Any]:
    try:
        row = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise _Broken(error.start + 1, "it is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise _Broken(error.colno, error.msg.removesuffix(" at").removesuffix(" starting")) from None
    except RecursionError:
        raise _Broken(1, "it is nested too deeply") from None
    except ValueError as error:  # an integer of more digits than Python reads
        raise _Broken(1, str(error)) from None
    if not isinstance(row, dict):
        raise _Broken(1, f"it is a {type(row).__name__}")
    found = _SURROGATE.search(line)
    if found is not None and not _is_text(row):
        raise _Broken(found.start() + 1, "it holds half a surrogate pair, which is no character")
    return row


def _is_text(row: dict[str, Any]) -> bool:
    try:
        json.dumps(row, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


class _Gunzip(gzip.GzipFile):
    """A gzip reader that also closes the file below it."""

    def __init__(self, stream: io.BufferedReader[Any]) -> None:
        super().__init__(fileobj=stream, mode="rb")
        self._below = stream

    def close(self) -> None:
        super().close()
        self._below.close()


class _Unzstd(io.RawIOBase):
    """Reads zstandard frames one after the other.

    The library's own reader takes a stream that is cut inside a frame for one that has ended; this one does not.
    """

    def __init__(self, stream: io.BufferedReader[Any]) -> None:
        self._stream = stream
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._rest = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._ready:
            data = self._rest or self._stream.read(_CHUNK)
            self._rest = b""
            if not data:
                if self._frame is not None:
                    raise EOFError("a zstandard frame has no end")
                return 0
            if self._frame is None:
                self._frame = zstandard.ZstdDecompressor().decompressobj()
            self._ready = memoryview(self._frame.decompress(data))
            if self._frame.eof:
                self._rest = self._frame.unused_data
                self._frame = None
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def close(self) -> None:
        super().close()
        self._stream.close()
