"""The full vocabulary on even grids of a few bits, in one LZ4 frame a record: what `u8-lz4` and `u4-lz4` share.

With b bits, a logit x becomes q = clip(round(x / scale + zero_point), 0, 2^b - 1) and comes back as
(q - zero_point) * scale, in float32 arithmetic. `scope = "array"` is, to the bit, the quantisation of the thesis that
kdkit grew from (Hristov, TU Delft 2025).

With `clip`, and in every record that has a logit deeper than `deepest` below its row's maximum, q = 0 stands for the
logits that are further below, and comes back as one value a row; the others have q of 1 to 2^b - 1 and come back as
((q - 1) - zero_point) * scale. Such a record has that value for each of its rows: it is so much longer, and is told
from others by that.

Letters: B batch, T target tokens, V vocabulary, R grids (T of them with scope "row"; one, or none if T is 0, with
"array").
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import attrs
from attrs import validators

from kdkit.api.options import one_of, option, positive
from kdkit.builtin.codecs.parts.checks import moderate_logits
from kdkit.builtin.codecs.parts.frames import largest_frame, lz4_compress, lz4_decompress
from kdkit.builtin.codecs.parts.uniform_codes import packed, packed_size, unpacked
from kdkit.builtin.codecs.parts.uniform_grids import (
    check_fine_enough,
    check_grids,
    check_on_grid,
    dequantise,
    given_grid,
    own_grid,
    quantise,
)
from kdkit.builtin.codecs.parts.uniform_tails import check_tails, reaches_below, tail_levels
from kdkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from kdkit.api.values import FloatArray, QuantizedTargets, TeacherBlock

GRID_BYTES = 8
TAIL_BYTES = 4


@attrs.frozen(kw_only=True, eq=False)
class _Content:
    """The contents of a record's frame.

    Attributes:
        scale_R1: float32.
        zero_point_R1: float32.
        tail_T1: What q = 0 stands for in each row, float32; None without `clip`.
        q_TV: uint8.
    """

    scale_R1: FloatArray
    zero_point_R1: FloatArray
    tail_T1: FloatArray | None
    q_TV: npt.NDArray[np.uint8]

    def to_bytes(self, bits: int) -> bytes:
        floats = [self.scale_R1, self.zero_point_R1, *([] if self.tail_T1 is None else [self.tail_T1])]
        codes = packed(self.q_TV, bits).tobytes()
        return b"".join([*(array.astype("<f4", copy=False).tobytes() for array in floats), codes])


@attrs.frozen(kw_only=True)
class UniformGridLZ4:
    """An even grid of `2**bits` points a row or an array, then LZ4.

    |x - decode(encode(x))| <= scale / 2 + 2**-21 max|x|, with scale = (max - min) / (2**bits - 1) over a row or the
    whole array; the second term is the rounding of float32. Logits that already lie on a grid of no more bits
    (`TeacherBlock.grid`) are stored on that grid, and so exactly, whatever the scope.

    A grid that reached down to masked logits, or to a few in a heavy tail, would leave too few points for all others.
    So where a logit of the record is more than `deepest` below its row's maximum, the bound is that of the logits
    within `deepest`, with scale = (max - min) / (2**bits - 2) over those alone: at most deepest / (2**bits - 2), and an
    array that needs more is refused, as are logits so far from 0 that the rounding is more. Each row's other logits
    come back as the logarithm of their mean exponential, -inf if all are: at temperature 1 their mass is kept, and the
    log-probability of every logit within `deepest` is off by at most scale (and the rounding). `clip` sets such a
    distance that is smaller, for all records. A grid that the block has is not used with `clip`: its codes leave none
    free for the others.
    """

    bits: ClassVar[int]
    deepest: ClassVar[float]

    scope: str = option(
        'Span of a grid: each token\'s "row" (finer), or the whole "array" of an example, as in the thesis.',
        default="row",
        check=one_of("row", "array"),
    )
    # Quantised logits have hardly a byte sequence that repeats: on bell-shaped ones at V = 32,100, levels 0 to 12 all
    # end within 0.01 % of the raw size, but level 0 works at gigabytes a second and levels 3 to 12 at 40 MB/s. So the
    # default is 0, and not the 9 of the thesis. (With `clip` there is much that repeats, and level 9 saves more.)
    level: int = option(
        "Compression level of LZ4, 0 to 16; without `clip`, levels above 0 rarely save space and take longer.",
        default=0,
        check=validators.and_(validators.ge(0), validators.le(16)),
    )
    clip: float | None = option(
        "Keep only the logits at most this far below their row's maximum one by one; the others of a row are "
        "kept as one number, their mass. By default, and at most, 128 (u8-lz4) or 64 (u4-lz4).",
        default=None,
        check=validators.optional(positive),
    )

    def encode(self, block: TeacherBlock) -> bytes:
        """The block's logits as one LZ4 frame.

        Raises:
            UsageError: The largest logit of a token is beyond 1e38 or -inf, or a logit is NaN; or the logits do
                not lie on the grid that the block names, or are too far apart for one grid, or too far from 0 for any.
        """
        logits_TV = moderate_logits(block, codec=f"u{self.bits}-lz4")
        content = self._content(block, logits_TV) if self.clip is None else self._clipped(block.id, logits_TV)
        return lz4_compress(content.to_bytes(self.bits), self.level)

    def decode(self, payload: bytes, *, tokens: int, vocab_size: int) -> FloatArray:
        """Float32 `[tokens, vocab_size]`.

        Raises:
            DamagedData: The payload is not one LZ4 frame of such logits.
        """
        import numpy as np

        content = self._read(payload, tokens, vocab_size)
        if content.tail_T1 is None:
            return dequantise(content.q_TV, content.scale_R1, content.zero_point_R1)
        logits_TV = dequantise(content.q_TV, content.scale_R1, content.zero_point_R1, first=1)
        np.copyto(logits_TV, content.tail_T1, where=content.q_TV == 0)
        return logits_TV

    def targets(self, records: Sequence[tuple[bytes, int]], *, vocab_size: int, device: str) -> QuantizedTargets:
        """The codes of a batch, with each row's grid and tail: one byte a logit.

        Raises:
            DamagedData: A payload is not one LZ4 frame of such logits.
        """
        import numpy as np
        import torch

        from kdkit.api.values import QuantizedTargets
        from kdkit.builtin.codecs.parts.padding import padded

        lengths = [tokens for _, tokens in records]
        codes_BTV = padded(lengths, (vocab_size,), np.uint8)
        scale_BT, zero_point_BT = (padded(lengths, (), np.float32) for _ in range(2))
        tail_BT, has_tails = padded(lengths, (), np.float32), self.clip is not None
        for index, (payload, tokens) in enumerate(records):
            content = self._read(payload, tokens, vocab_size)
            codes_BTV[index, :tokens] = content.q_TV
            scale_BT[index, :tokens] = content.scale_R1[:, 0]
            zero_point_BT[index, :tokens] = content.zero_point_R1[:, 0]
            tail_BT[index, :tokens] = np.nan if content.tail_T1 is None else content.tail_T1[:, 0]
            has_tails |= content.tail_T1 is not None
        return QuantizedTargets(
            codes_BTV=torch.from_numpy(codes_BTV).to(device),
            scale_BT=torch.from_numpy(scale_BT).to(device),
            zero_point_BT=torch.from_numpy(zero_point_BT).to(device),
            tail_BT=torch.from_numpy(tail_BT).to(device) if has_tails else None,
            lengths_B=torch.tensor(lengths, dtype=torch.int64),
        )

    def bytes_per_token(self, vocab_size: int) -> float:
        """Upper estimate: what LZ4 saves depends on the logits, so nothing is counted on."""
        return largest_frame(vocab_size * self.bits / 8 + GRID_BYTES + TAIL_BYTES)

    @property
    def _top(self) -> int:
        """The highest code."""
        return (1 << self.bits) - 1

    def _grids(self, tokens: int) -> int:
        return tokens if self.scope == "row" else min(tokens, 1)

    def _content(self, block: TeacherBlock, logits_TV: FloatArray) -> _Content:
        rows = self._grids(logits_TV.shape[0])
        if block.grid is not None and block.grid.bits <= self.bits:
            scale_R1, zero_point_R1 = given_grid(block.grid, rows, block.id, top=self._top)
            q_TV = quantise(logits_TV, scale_R1, zero_point_R1, top=2**block.grid.bits - 1)
            check_on_grid(logits_TV, q_TV, scale_R1, zero_point_R1, block)
        elif rows and reaches_below(logits_TV.reshape(rows, -1), self.deepest):
            return self._clipped(block.id, logits_TV)
        else:
            scale_R1, zero_point_R1 = own_grid(logits_TV, rows, steps=self._top)
            q_TV = quantise(logits_TV, scale_R1, zero_point_R1, top=self._top)
            step = self.deepest / (self._top - 1)
            check_fine_enough(logits_TV, q_TV, scale_R1, zero_point_R1, first=0, step=step, example=block.id)
        return _Content(scale_R1=scale_R1, zero_point_R1=zero_point_R1, tail_T1=None, q_TV=q_TV)

    def _clipped(self, example: str, logits_TV: FloatArray) -> _Content:
        import numpy as np

        clip = self.deepest if self.clip is None else min(self.clip, self.deepest)
        highest_T1 = logits_TV.max(axis=1, keepdims=True).astype(np.float64) if len(logits_TV) else np.empty((0, 1))
        # Compared in float64: a row's maximum must always be within the clip, however large it is.
        kept_TV = logits_TV >= (highest_T1 - clip)
        # What is not kept takes the row's maximum's place: it must not widen the grid, and its code is overwritten.
        within_TV = np.where(kept_TV, logits_TV, highest_T1.astype(np.float32))
        rows = self._grids(len(logits_TV))
        if rows < len(logits_TV):
            self._check_array(example, within_TV)
        scale_R1, zero_point_R1 = own_grid(within_TV, rows, steps=self._top - 1)
        q_TV = quantise(within_TV, scale_R1, zero_point_R1, top=self._top - 1)
        q_TV += 1
        q_TV[~kept_TV] = 0
        # One grid for rows that lie apart has wider steps than the clip asks for, whatever float32 rounds.
        span = float(within_TV.max()) - float(within_TV.min()) if rows < len(logits_TV) else 0.0
        step = max(clip, span) / (self._top - 1)
        check_fine_enough(logits_TV, q_TV, scale_R1, zero_point_R1, first=1, step=step, example=example)
        tail_T1 = tail_levels(logits_TV, kept_TV)
        return _Content(scale_R1=scale_R1, zero_point_R1=zero_point_R1, tail_T1=tail_T1, q_TV=q_TV)

    def _check_array(self, example: str, within_TV: FloatArray) -> None:
        """Refuse rows that lie too far from each other for one grid, though each lies within the clip.

        Raises:
            UsageError: They are.
        """
        low_T, high_T = (extreme(axis=1).astype(float) for extreme in (within_TV.min, within_TV.max))
        lowest, highest = int(low_T.argmin()), int(high_T.argmax())
        span = high_T[highest] - low_T[lowest]
        if span > self.deepest:
            raise UsageError(
                f"the logits of example {example!r} span {span:.4g}, from {low_T[lowest]:.4g} at target token {lowest} "
                f"to {high_T[highest]:.4g} at target token {highest}: a grid for all of them has a step of "
                f"{span / (self._top - 1):.3g}, where at most {self.deepest / (self._top - 1):.3g} is allowed; "
                'set scope = "row"'
            )

    def _read(self, payload: bytes, tokens: int, vocab_size: int) -> _Content:
        import numpy as np

        rows, count = self._grids(tokens), tokens * vocab_size
        plain, clipped = (4 * (2 * rows + tails) + packed_size(count, self.bits) for tails in (0, tokens))
        content = lz4_decompress(payload, clipped if self.clip is not None else plain, or_else=clipped)
        tails = tokens if len(content) == clipped else 0
        floats = 2 * rows + tails
        stored = np.frombuffer(content, "<f4", floats).astype(np.float32)
        grids_2R1 = stored[: 2 * rows].reshape(2, rows, 1)
        check_grids(grids_2R1, top=self._top)
        tail_T1 = stored[2 * rows :].reshape(tails, 1) if tails or self.clip is not None else None
        if tail_T1 is not None:
            check_tails(tail_T1)
        codes = np.frombuffer(content, np.uint8, offset=4 * floats)
        q_TV = unpacked(codes, count, self.bits).reshape(tokens, vocab_size)
        return _Content(scale_R1=grids_2R1[0], zero_point_R1=grids_2R1[1], tail_T1=tail_T1, q_TV=q_TV)
