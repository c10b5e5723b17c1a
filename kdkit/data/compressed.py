"""The contents of gzip and zstandard files, a piece at a time, as the programs of these names give them."""

from __future__ import annotations

import io
import zlib
from typing import TYPE_CHECKING, Any, BinaryIO

import zstandard

from kdkit.errors import DamagedData

if TYPE_CHECKING:
    from collections.abc import Sequence

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
ERRORS = (EOFError, zlib.error, zstandard.ZstdError)
"""The errors that reading raises where a file is cut or damaged."""
# Frames that hold no data, with any of 16 first bytes: pzstd writes one before each of its frames.
_SKIPPABLE_MAGIC = b"\x2a\x4d\x18"
_PIECE = 1 << 16
# Of zstandard: four bytes may stand for 128 KB, so that few are decompressed at once.
_ZSTD_PIECE = 1 << 10


def damaged(name: str, line: int, error: Exception) -> DamagedData:
    """What to raise where reading compressed data raised one of `ERRORS`."""
    return DamagedData(
        f"{name}:{line}: the compressed data end early or are damaged here ({error}); fetch the file again"
    )


def decompressed(stream: io.BufferedReader[Any]) -> BinaryIO:
    """The stream itself, or the contents of its gzip or zstandard frames; closing the result closes the stream."""
    magic = stream.peek(4)[:4]
    if magic.startswith(GZIP_MAGIC):
        return io.BufferedReader(_Gunzip(stream), _PIECE)
    if magic == ZSTD_MAGIC or _is_skippable(magic):
        return io.BufferedReader(_Unzstd(stream), _PIECE)
    return stream


def _is_skippable(magic: Sequence[int]) -> bool:
    return bytes(magic[1:4]) == _SKIPPABLE_MAGIC and 0x50 <= magic[0] <= 0x5F


class Frames(io.RawIOBase):
    """Reads compressed frames one after the other; a stream that is cut inside a frame is an error."""

    format = ""
    piece = _PIECE

    def __init__(self, stream: io.BufferedReader[Any]) -> None:
        self._stream = stream
        self._frame: Any = None
        self._rest = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        """Always readable."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill some of a buffer; 0 at the end."""
        while not self._ready:
            if self._frame is None:
                if not self._find_frame():
                    return 0
                self._frame = self._begin()
            data = self._rest or self._stream.read(self.piece)
            if not data:
                raise EOFError(f"the file ends inside a {self.format} frame")
            self._ready = memoryview(self._decompress(data))
            if self._frame.eof:
                self._frame = None
        count = min(len(buffer), len(self._ready))
        buffer[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def close(self) -> None:
        """Close it, and the stream below."""
        super().close()
        self._stream.close()

    def _find_frame(self) -> bool:
        """Whether another frame begins; bytes read of it are kept."""
        self._rest = self._rest or self._stream.read(self.piece)
        return bool(self._rest)

    def _begin(self) -> Any:
        raise NotImplementedError

    def _decompress(self, data: bytes) -> bytes:
        """Some decompressed bytes; the rest of the data is kept."""
        raise NotImplementedError


class _Gunzip(Frames):
    """Skip what follows the last member, as gzip does: zeros, and bytes that do not begin a member."""

    format = "gzip"

    def _find_frame(self) -> bool:
        self._rest = self._rest.lstrip(b"\0")
        while len(self._rest) < len(GZIP_MAGIC):
            more = self._stream.read(self.piece)
            if not more:
                return False
            self._rest = (self._rest + more).lstrip(b"\0")
        return self._rest.startswith(GZIP_MAGIC)

    def _begin(self) -> Any:
        return zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)

    def _decompress(self, data: bytes) -> bytes:
        made: bytes = self._frame.decompress(data, _PIECE)
        self._rest = self._frame.unused_data if self._frame.eof else self._frame.unconsumed_tail
        return made


class _Unzstd(Frames):
    """Unlike the library's own reader, this one refuses a stream that ends inside a frame."""

    format = "zstandard"
    piece = _ZSTD_PIECE

    def _begin(self) -> Any:
        return zstandard.ZstdDecompressor().decompressobj()

    def _decompress(self, data: bytes) -> bytes:
        made: bytes = self._frame.decompress(data)
        self._rest = self._frame.unused_data
        return made
