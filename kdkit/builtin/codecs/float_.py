"""Codec `float`: the full vocabulary as floats, compressed or not; the yardstick for other codecs.

Letters: B batch, T target tokens, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.options import one_of, option
from kdkit.builtin.codecs.parts.checks import masked_logits
from kdkit.builtin.codecs.parts.frames import (
    largest_frame,
    lz4_compress,
    lz4_decompress,
    zstd_compress,
    zstd_decompress,
)
from kdkit.errors import DamagedData, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from kdkit.api.values import DenseTargets, FloatArray, TeacherBlock

# Bytes a logit, the largest float32 that does not become infinite by rounding, and what to do beyond it.
DTYPES: dict[str, tuple[int, float, str]] = {
    "fp32": (4, float.fromhex("0x1.fffffep127"), ""),
    "fp16": (2, float.fromhex("0x1.ffdffep15"), 'fp16 holds magnitudes up to 65504: set dtype = "bf16" or "fp32"'),
    "bf16": (2, float.fromhex("0x1.fefffep127"), 'bf16 rounds it to infinity: set dtype = "fp32"'),
}
TORCH_DTYPES = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}
# The bits of infinity.
INFINITE = {"fp32": 0x7F800000, "fp16": 0x7C00, "bf16": 0x7F80}
# From here on, rounding moves a logit by 1 or more.
COARSE = {"fp16": 2048.0, "bf16": 256.0}
# Smallest, default and largest level.
LEVELS = {"lz4": (0, 0, 16), "zstd": (1, 3, 22)}


@attrs.frozen(kw_only=True)
class Float:
    """Logits as little-endian floats, token after token.

    With `planes`, all lowest bytes come first, then all second ones, and so on: signs and exponents, which repeat, then
    stand together, and compress far better. It changes no value.

    fp32 is exact. fp16 and bf16 round to the nearest, ties to even: the relative error of a normal number is at most
    2**-11 and 2**-8, and fp16 is off by at most 2**-25 below its normal numbers (2**-14). -inf stays what it is.
    """

    dtype: str = option("Type of the floats: fp32, fp16 or bf16.", default="fp32", check=one_of("fp32", "fp16", "bf16"))
    compression: str = option(
        "Compression of a record: none, lz4 or zstd.", default="none", check=one_of("none", "lz4", "zstd")
    )
    level: int | None = option(
        "Compression level: 0 to 16 for lz4 (default 0), 1 to 22 for zstd (default 3).", default=None
    )
    planes: bool = option(
        "Store all first bytes of the floats, then all second bytes, and so on, which compresses better.",
        default=False,
    )

    def __attrs_post_init__(self) -> None:
        """Levels and planes depend on the compression."""
        if self.planes and self.compression == "none":
            raise ValueError(
                'planes is true, but it has no effect with compression = "none"; set lz4 or zstd, or leave planes out'
            )
        if self.level is None:
            return
        if self.compression == "none":
            raise ValueError(f'level is {self.level}, but compression is "none", which has no levels')
        low, _, high = LEVELS[self.compression]
        if not low <= self.level <= high:
            raise ValueError(f"level is {self.level}; {self.compression} has levels {low} to {high}")

    def encode(self, block: TeacherBlock) -> bytes:
        """The block's logits as floats.

        Raises:
            UsageError: A logit is infinity, NaN, or too large for the dtype; or a row has -inf alone, or lies so
                far from 0 that rounding moves more than half of its probabilities.
        """
        _, limit, advice = DTYPES[self.dtype]
        logits_TV = masked_logits(block, limit=limit, advice=advice)
        stored_TV = _to_stored(logits_TV, self.dtype)
        if self.dtype != "fp32":
            _check_kept(block.id, logits_TV, stored_TV, self.dtype)
        content = stored_TV.tobytes()
        if self.planes:
            content = _transposed(content, -1, DTYPES[self.dtype][0])
        if self.compression == "lz4":
            return lz4_compress(content, self._level)
        if self.compression == "zstd":
            return zstd_compress(content, self._level)
        return content

    def decode(self, payload: bytes, *, tokens: int, vocab_size: int) -> FloatArray:
        """Float32 `[tokens, vocab_size]`.

        Raises:
            DamagedData: The payload is not what `encode` writes for such logits.
        """
        stored_TV = self._read(payload, tokens, vocab_size)
        return _numbers(stored_TV, self.dtype)

    def targets(self, records: Sequence[tuple[bytes, int]], *, vocab_size: int, device: str) -> DenseTargets:
        """The targets of a batch, in floats as they are stored.

        Raises:
            DamagedData: A payload is not what `encode` writes for such logits.
        """
        import torch

        from kdkit.api.values import DenseTargets
        from kdkit.builtin.codecs.parts.padding import padded

        lengths = [tokens for _, tokens in records]
        stored_BTV = padded(lengths, (vocab_size,), _numpy_dtype(self.dtype))
        for index, (payload, tokens) in enumerate(records):
            stored_BTV[index, :tokens] = self._read(payload, tokens, vocab_size)
        # NumPy has no bfloat16, and not every torch knows uint16.
        bits_BTV = torch.from_numpy(stored_BTV.view(_bits_of(stored_BTV.dtype, "i"))).to(device)
        return DenseTargets(
            logits_BTV=bits_BTV.view(getattr(torch, TORCH_DTYPES[self.dtype])),
            lengths_B=torch.tensor(lengths, dtype=torch.int64),
        )

    def bytes_per_token(self, vocab_size: int) -> float:
        """Upper estimate: floats hardly compress, so no saving is counted on."""
        size = DTYPES[self.dtype][0] * vocab_size
        return float(size) if self.compression == "none" else largest_frame(size)

    def _read(self, payload: bytes, tokens: int, vocab_size: int) -> npt.NDArray[Any]:
        """The stored floats `[tokens, vocab_size]`; of bf16 their bits."""
        import numpy as np

        item = DTYPES[self.dtype][0]
        size = item * tokens * vocab_size
        if self.compression == "lz4":
            content = lz4_decompress(payload, size)
        elif self.compression == "zstd":
            content = zstd_decompress(payload, size)
        else:
            content = payload
        if len(content) != size:
            raise DamagedData(f"{len(content)} bytes of {self.dtype} logits found, {size} expected")
        if self.planes:
            content = _transposed(content, item, -1)
        stored = np.frombuffer(content, _numpy_dtype(self.dtype).newbyteorder("<"))
        stored_TV = stored.astype(_numpy_dtype(self.dtype), copy=False).reshape(tokens, vocab_size)
        _check_numbers(stored_TV, self.dtype)
        return stored_TV

    @property
    def _level(self) -> int:
        return LEVELS[self.compression][1] if self.level is None else self.level


def _to_stored(logits_TV: FloatArray, dtype: str) -> npt.NDArray[Any]:
    if dtype == "fp32":
        return logits_TV.astype("<f4", copy=False)
    if dtype == "fp16":
        return logits_TV.astype("<f2")
    return _to_bf16(logits_TV)


def _to_bf16(logits_TV: FloatArray) -> npt.NDArray[np.uint16]:
    """The upper halves of float32, rounded to nearest, ties to even.

    Adding just under half of the unit that is kept, plus the lowest kept bit, carries exactly when rounding up is due.
    """
    import numpy as np

    bits_TV = logits_TV.view(np.uint32)
    half_TV = ((bits_TV >> np.uint32(16)) & np.uint32(1)) + np.uint32(0x7FFF)
    rounded_TV: npt.NDArray[np.uint16] = ((bits_TV + half_TV) >> np.uint32(16)).astype("<u2")
    return rounded_TV


def _numbers(stored_TV: npt.NDArray[Any], dtype: str) -> FloatArray:
    """Stored floats in float32."""
    import numpy as np

    if dtype == "bf16":
        return (stored_TV.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return stored_TV.astype(np.float32)


def _check_kept(id_: str, logits_TV: FloatArray, stored_TV: npt.NDArray[Any], dtype: str) -> None:
    """Refuse rows that rounding would turn into another distribution: their largest logits are far from 0.

    Raises:
        UsageError: Names the first.
    """
    import numpy as np

    def probabilities(row_V: FloatArray) -> npt.NDArray[np.float64]:
        weight_V = np.exp(row_V.astype(np.float64) - float(row_V.max()))
        return np.asarray(weight_V / weight_V.sum())

    if not logits_TV.size:
        return
    for place in np.flatnonzero(np.abs(logits_TV.max(axis=1)) >= COARSE[dtype]):
        before_V, after_V = (probabilities(row_V) for row_V in (logits_TV[place], _numbers(stored_TV[place], dtype)))
        if np.abs(before_V - after_V).sum() > 1:
            raise UsageError(
                f"rounded to {dtype}, the logits of target token {place} of example {id_!r} become another "
                f"distribution: around {logits_TV[place].max():g}, {dtype} has too few numbers; set dtype = "
                '"fp32"'
            )


def _numpy_dtype(dtype: str) -> np.dtype[Any]:
    import numpy as np

    return np.dtype({"fp32": np.float32, "fp16": np.float16, "bf16": np.uint16}[dtype])


def _transposed(content: bytes, rows: int, columns: int) -> bytes:
    """The bytes of a matrix, columns and rows exchanged; one number may be -1, for what the other leaves."""
    import numpy as np

    if not content:
        return content
    return np.frombuffer(content, np.uint8).reshape(rows, columns).T.tobytes()


def _bits_of(kind: np.dtype[Any], sign: str) -> np.dtype[Any]:
    """The integers as wide as a kind of number: "i" with a sign, "u" without."""
    import numpy as np

    return np.dtype(f"{sign}{kind.itemsize}")


def _check_numbers(stored_TV: npt.NDArray[Any], dtype: str) -> None:
    """Refuse +inf and NaN by their bits: all bits of their exponents are set.

    Read as integers with a sign, +inf and NaN are above every finite number; read without, a NaN with the sign is above
    -inf, and that above all else.
    NumPy finds the greatest integer a hundred times as fast as the greatest number in half precision.
    """
    if stored_TV.size == 0:
        return
    signed_TV, unsigned_TV = (stored_TV.view(_bits_of(stored_TV.dtype, sign)) for sign in ("i", "u"))
    infinite = INFINITE[dtype]
    if signed_TV.max() >= infinite or unsigned_TV.max() > infinite | 1 << (8 * stored_TV.itemsize - 1):
        raise DamagedData("some logits are infinite or not numbers, which no codec writes")
