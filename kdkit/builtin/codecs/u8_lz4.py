"""Codec `u8-lz4`: the full vocabulary at 8 bits, in one LZ4 frame a record.

A logit x becomes q = clip(round(x / scale + zero_point), 0, 255) and comes back as (q - zero_point) * scale, in
float32 arithmetic. `scope = "array"` is, to the bit, the quantisation of the thesis that kdkit grew from (Hristov, TU
Delft 2025).

Letters: T target tokens, V vocabulary, R grids (T of them with scope "row"; one, or none if T is 0, with "array").
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from attrs import validators

from kdkit.builtin.codecs.checks import finite_logits
from kdkit.builtin.codecs.frames import largest_frame, lz4_compress, lz4_decompress
from kdkit.errors import DamagedData, UsageError
from kdkit.options import one_of, option

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from kdkit.values import FloatArray, Grid, TeacherBlock

# Below a third of float32's range, so that no sum or product of coding and decoding overflows.
LARGEST_LOGIT = 1e38
# The smallest normal float32: dividing by less loses all precision.
SMALLEST_SCALE = 2.0**-126
LARGEST_FLOAT32 = 3.4028234e38
GRID_BYTES = 8


@attrs.frozen(kw_only=True)
class U8LZ4:
    """Eight bits a logit on an even grid, then LZ4.

    |x - decode(encode(x))| <= scale / 2 + 2**-21 max|x|, with scale = (max - min) / 255 over a row or the whole array;
    the second term is the rounding of float32. Logits that already lie on a grid of 8 bits or fewer
    (`TeacherBlock.grid`) are stored on that grid, and so exactly, whatever the scope.
    """

    scope: str = option(
        'Over what a grid spans: each token\'s "row" (finer), or the whole "array" of an example, as in the thesis.',
        default="row",
        check=one_of("row", "array"),
    )
    # Quantised logits have hardly a byte sequence that repeats: on bell-shaped ones at V = 32,100, levels 0 to 12 all
    # end within 0.01 % of the raw size, but level 0 works at gigabytes a second and levels 3 to 12 at 40 MB/s. So the
    # default is 0, and not the 9 of the thesis.
    level: int = option(
        "LZ4's compression level, 0 to 16; logits rarely get smaller above 0, only slower.",
        default=0,
        check=validators.and_(validators.ge(0), validators.le(16)),
    )

    def encode(self, block: TeacherBlock) -> bytes:
        """The block's logits as one LZ4 frame.

        Raises:
            UsageError: A logit is not finite or beyond 1e38, or the logits do not lie on the grid that the block names.
        """
        import numpy as np

        logits_TV = finite_logits(
            block,
            limit=LARGEST_LOGIT,
            advice='u8-lz4 holds magnitudes up to 1e38; use the codec "float", or no such mask',
        )
        rows = self._grids(logits_TV.shape[0])
        if block.grid is not None and block.grid.bits <= 8:
            scale_R1, zero_point_R1 = _given_grid(block.grid, rows, block.id)
            q_TV = _quantise(logits_TV, scale_R1, zero_point_R1, top=2**block.grid.bits - 1)
            _check_on_grid(logits_TV, q_TV, scale_R1, zero_point_R1, block)
        else:
            scale_R1, zero_point_R1 = _own_grid(logits_TV, rows)
            q_TV = _quantise(logits_TV, scale_R1, zero_point_R1, top=255)
        little = np.dtype("<f4")
        content = scale_R1.astype(little).tobytes() + zero_point_R1.astype(little).tobytes() + q_TV.tobytes()
        return lz4_compress(content, self.level)

    def decode(self, payload: bytes, *, tokens: int, vocab_size: int) -> FloatArray:
        """Float32 `[tokens, vocab_size]`.

        Raises:
            DamagedData: The payload is not one LZ4 frame of such logits.
        """
        import numpy as np

        rows = self._grids(tokens)
        content = lz4_decompress(payload, GRID_BYTES * rows + tokens * vocab_size)
        grids_2R1 = np.frombuffer(content, "<f4", 2 * rows).astype(np.float32).reshape(2, rows, 1)
        q_TV = np.frombuffer(content, np.uint8, offset=GRID_BYTES * rows).reshape(tokens, vocab_size)
        _check_grids(grids_2R1)
        return _dequantise(q_TV, grids_2R1[0], grids_2R1[1])

    def bytes_per_token(self, vocab_size: int) -> float:
        """Upper estimate: LZ4 saves little on quantised logits, so none is counted on."""
        return largest_frame(vocab_size + GRID_BYTES)

    def _grids(self, tokens: int) -> int:
        return tokens if self.scope == "row" else min(tokens, 1)


def _own_grid(logits_TV: FloatArray, rows: int) -> tuple[FloatArray, FloatArray]:
    """Scale and zero point `[R, 1]` from the extremes of each row, or of the array.

    The extremes are float32; scale and zero point are computed from them in float64, as Python does with its floats,
    and rounded to float32 once, as NumPy does when it combines a Python float with a float32 array.
    """
    import numpy as np

    if rows == 0:
        return np.empty((0, 1), np.float32), np.empty((0, 1), np.float32)
    logits_RX = logits_TV.reshape(rows, -1)
    low_R1 = logits_RX.min(axis=1, keepdims=True).astype(np.float64)
    high_R1 = logits_RX.max(axis=1, keepdims=True).astype(np.float64)
    scale_R1 = np.where(high_R1 == low_R1, 1.0, np.maximum((high_R1 - low_R1) / 255, SMALLEST_SCALE))
    return scale_R1.astype(np.float32), (-low_R1 / scale_R1).astype(np.float32)


def _given_grid(grid: Grid, rows: int, example: str) -> tuple[FloatArray, FloatArray]:
    import numpy as np

    reach = (abs(grid.zero_point) + 255) * grid.scale
    if not (grid.scale >= SMALLEST_SCALE and reach <= LARGEST_FLOAT32 and grid.bits >= 1):
        raise UsageError(
            f"the grid of example {example!r} (scale {grid.scale}, zero point {grid.zero_point}, {grid.bits} bits) "
            "cannot be used: the scale must be positive and all its logits finite"
        )
    return np.full((rows, 1), grid.scale, np.float32), np.full((rows, 1), grid.zero_point, np.float32)


def _check_on_grid(
    logits_TV: FloatArray,
    q_TV: npt.NDArray[np.uint8],
    scale_R1: FloatArray,
    zero_point_R1: FloatArray,
    block: TeacherBlock,
) -> None:
    """A grid is the teacher's promise; logits that are off it by more than rounding would be spoilt in silence."""
    import numpy as np

    if logits_TV.size == 0:
        return
    distance_TV = np.abs(_dequantise(q_TV, scale_R1, zero_point_R1) - logits_TV)
    allowed = float(scale_R1[0, 0]) / 64 + 2.0**-20 * float(np.abs(logits_TV).max())
    if distance_TV.max() > allowed:
        token, entry = (int(i) for i in np.unravel_index(distance_TV.argmax(), distance_TV.shape))
        raise UsageError(
            f"the logit {logits_TV[token, entry]:g} at target token {token}, vocabulary entry {entry} of example "
            f"{block.id!r} does not lie on the grid given with it ({block.grid}); "
            "the teacher must give the grid of the logits that it gives, or none"
        )


def _quantise(
    logits_TV: FloatArray, scale_R1: FloatArray, zero_point_R1: FloatArray, *, top: int
) -> npt.NDArray[np.uint8]:
    import numpy as np

    q_TV = logits_TV / scale_R1
    q_TV += zero_point_R1
    np.rint(q_TV, out=q_TV)
    np.clip(q_TV, 0, top, out=q_TV)
    return q_TV.astype(np.uint8)


def _dequantise(q_TV: npt.NDArray[np.uint8], scale_R1: FloatArray, zero_point_R1: FloatArray) -> FloatArray:
    import numpy as np

    logits_TV = q_TV.astype(np.float32)
    logits_TV -= zero_point_R1
    logits_TV *= scale_R1
    return logits_TV


def _check_grids(grids_2R1: FloatArray) -> None:
    """Scales and zero points that no encoder writes would decode to infinities."""
    import numpy as np

    scale_R1, zero_point_R1 = grids_2R1.astype(np.float64)
    with np.errstate(invalid="ignore"):
        reach_R1 = (np.abs(zero_point_R1) + 255) * scale_R1
    if not np.all((scale_R1 >= SMALLEST_SCALE) & (reach_R1 <= LARGEST_FLOAT32)):
        raise DamagedData("a quantisation grid is not one that u8-lz4 writes")
