"""Decoder of the thesis's `compressed_logits`: quantised logits in an LZ4 frame, as hex text in a JSON object.

Format: the data set of Hristov, TU Delft 2025 (doi 10.5281/zenodo.15716445). Only `shape` and `bits` say how large
the data are; what else the object claims about sizes is statistics, and nothing here relies on it.

Letters in names of arrays: T target, V vocabulary.
"""

from __future__ import annotations

import binascii
import math
import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs
import lz4.frame
import numpy as np

from kdkit.api import Grid
from kdkit.errors import DamagedData

if TYPE_CHECKING:
    from kdkit.api import FloatArray

FLOATS = {16: "<f2", 32: "<f4"}
QUANTISED = (4, 8)
LZ4_MOST_EXPANSION = 255  # a byte of an LZ4 length says 255 bytes at most
MOST_DIMENSIONS = 8


def decode_compressed_logits(obj: Mapping[str, Any]) -> FloatArray:
    """The logits of a `compressed_logits` object, float32 of the object's `shape`.

    Quantised values come back as `(q - zero_point) * scale` in float32 arithmetic, which is what NumPy makes of a
    float32 array and two Python floats.

    Raises:
        DamagedData: The object is not such a one, or its data do not fit its shape.
    """
    logits = CompressedLogits.parse(obj)
    return logits.values(math.prod(logits.shape)).reshape(logits.shape)


@attrs.frozen(kw_only=True, eq=False)
class CompressedLogits:
    """Logits decompressed but not yet turned into floats, so that the rows nobody needs are never turned.

    Attributes:
        shape: As the object says: `[1, T, V]`, or `[T, V]`.
        bits: 4 or 8 for quantised values, 16 or 32 for floats.
        data: The values' bytes; of 4-bit values two a byte, the even index in the low half.
        grid: Scale and zero point of quantised values.
    """

    shape: tuple[int, ...]
    bits: int
    data: bytes = attrs.field(repr=False)
    grid: Grid | None

    @classmethod
    def parse(cls, obj: Any) -> CompressedLogits:
        """Check an object and decompress it.

        Raises:
            DamagedData: It is not a `compressed_logits` object, or its data do not fit its shape.
        """
        if not isinstance(obj, Mapping):
            raise DamagedData(f"compressed_logits is a {type(obj).__name__}, not an object")
        bits = obj.get("bits")
        if type(bits) is not int or bits not in (*QUANTISED, *FLOATS):
            raise DamagedData(f"compressed_logits.bits is {_short(bits)}, not 4, 8, 16 or 32")
        if bits == 4 and obj.get("packed", True) is not True:
            raise DamagedData(f"compressed_logits.packed is {_short(obj['packed'])}; 4-bit values are always packed")
        shape = _shape(obj.get("shape"))
        grid = Grid(scale=_scale(obj), zero_point=_number(obj, "zero_point"), bits=bits) if bits in QUANTISED else None
        count = math.prod(shape)
        size = (count + 1) // 2 if bits == 4 else count * bits // 8
        data = _decompress(obj.get("data_encoded"), size)
        if bits == 4 and count % 2 and data[-1] >> 4:
            raise DamagedData("compressed_logits has an odd number of 4-bit values, but no zero after the last")
        logits = cls(shape=shape, bits=bits, data=data, grid=grid)
        if not logits._is_finite():
            raise DamagedData("compressed_logits holds values that are not finite")
        return logits

    @property
    def tokens(self) -> int:
        """T, the number of target tokens that there are logits for.

        Raises:
            DamagedData: The shape is not one of an example's logits.
        """
        return self._rows_and_width()[0]

    @property
    def crc32(self) -> int:
        """Checksum of the logits: of shape, bits, grid and data."""
        facts = repr((self.shape, self.bits, self.grid)).encode()
        return zlib.crc32(self.data, zlib.crc32(facts))

    def read(self, rows: int) -> tuple[FloatArray, Grid | None]:
        """The logits `[min(rows, T), V]` of the first target tokens, float32, and their grid.

        Raises:
            DamagedData: The shape is not one of an example's logits.
        """
        tokens, vocab_size = self._rows_and_width()
        rows = min(rows, tokens)
        return self.values(rows * vocab_size).reshape(rows, vocab_size), self.grid

    def values(self, count: int) -> FloatArray:
        """The first values as a flat float32 array."""
        if self.grid is None:
            return np.frombuffer(self.data, FLOATS[self.bits], count).astype(np.float32)
        return _dequantise(self._quantised(count), self.grid)

    def _is_finite(self) -> bool:
        if self.grid is None:
            return bool(np.isfinite(np.frombuffer(self.data, FLOATS[self.bits])).all())
        ends = np.array([0, 2**self.bits - 1], np.uint8)
        with np.errstate(over="ignore", invalid="ignore"):  # that is what is looked for
            return bool(np.isfinite(_dequantise(ends, self.grid)).all())

    def _quantised(self, count: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
        if self.bits == 8:
            return np.frombuffer(self.data, np.uint8, count)
        packed = np.frombuffer(self.data, np.uint8, (count + 1) // 2)
        values = np.empty(2 * len(packed), np.uint8)
        values[0::2] = packed & 0x0F
        values[1::2] = packed >> 4
        return values[:count]

    def _rows_and_width(self) -> tuple[int, int]:
        if len(self.shape) < 2 or math.prod(self.shape[:-2]) != 1:
            raise DamagedData(f"compressed_logits.shape is {list(self.shape)}, not [1, tokens, vocabulary]")
        return self.shape[-2], self.shape[-1]


def _dequantise(values: np.ndarray[Any, np.dtype[np.uint8]], grid: Grid) -> FloatArray:
    return (values.astype(np.float32) - np.float32(grid.zero_point)) * np.float32(grid.scale)


def _shape(value: Any) -> tuple[int, ...]:
    if (
        not isinstance(value, list | tuple)
        or not 1 <= len(value) <= MOST_DIMENSIONS
        or any(type(size) is not int or size < 1 for size in value)
    ):
        raise DamagedData(f"compressed_logits.shape is {_short(value)}, not a list of positive sizes")
    return tuple(value)


def _scale(obj: Mapping[str, Any]) -> float:
    scale = _number(obj, "scale")
    if scale <= 0:
        raise DamagedData(f"compressed_logits.scale is {scale}, not above 0")
    return scale


def _number(obj: Mapping[str, Any], name: str) -> float:
    value = obj.get(name)
    try:
        number = float(value) if isinstance(value, int | float) and not isinstance(value, bool) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise DamagedData(f"compressed_logits.{name} is {_short(value)}, not a finite number")
    return number


def _decompress(encoded: Any, size: int) -> bytes:
    """The `size` bytes that `data_encoded` holds; nothing larger is ever allocated."""
    if not isinstance(encoded, Mapping) or not isinstance(encoded.get("data"), str):
        raise DamagedData("compressed_logits.data_encoded has no text of hex digits as its data")
    encoding = encoded.get("encoding")
    if encoding not in ("lz4", "none"):
        raise DamagedData(f'compressed_logits.data_encoded.encoding is {_short(encoding)}, not "lz4" or "none"')
    try:
        payload = binascii.unhexlify(encoded["data"])
    except ValueError as error:
        raise DamagedData(f"compressed_logits.data_encoded.data is not hex: {error}") from error
    data = _decompress_frame(payload, size) if encoding == "lz4" else payload
    if len(data) != size:
        raise DamagedData(f"compressed_logits holds {len(data)} bytes, but its shape and bits need {size}")
    return data


def _decompress_frame(frame: bytes, size: int) -> bytes:
    if size > LZ4_MOST_EXPANSION * len(frame):
        raise DamagedData(
            f"compressed_logits holds an LZ4 frame of {len(frame)} bytes, too small for the {size} of its shape"
        )
    decompressor = lz4.frame.LZ4FrameDecompressor()
    try:
        data: bytes = decompressor.decompress(frame, max_length=size)
        if not decompressor.eof and not decompressor.needs_input:
            # All the bytes are out, and the end mark may still be unread; or there are more of them than should be.
            data += decompressor.decompress(b"", max_length=1)
    except (RuntimeError, EOFError, MemoryError, ValueError) as error:
        raise DamagedData(f"compressed_logits holds a damaged LZ4 frame: {error}") from error
    if not decompressor.eof:
        raise DamagedData(f"compressed_logits holds an LZ4 frame that is cut, or larger than the {size} bytes expected")
    if decompressor.unused_data:
        raise DamagedData("compressed_logits has bytes after the end of its LZ4 frame")
    return data


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
