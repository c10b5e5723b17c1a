"""llama.cpp's `--kl-divergence-base` files, which `llama-perplexity` writes without `--kl-divergence`.

`_logits_`, then as 32-bit numbers the context length n, the vocabulary V and the number of chunks; all ids, n a chunk;
and for each chunk its positions n/2 to n - 2, each about the token after it: scale and least log-probability as 32-bit
floats, then V numbers of 16 bits, and one more where V is odd. A log-probability is scale times the number plus the
least. Those more than 16 below the largest are stored as that. The teacher read a beginning-of-text token in place of
each chunk's first id, where its tokenizer has one.

Source: ggml-org/llama.cpp, `tools/perplexity/perplexity.cpp` (`perplexity`, `process_logits`, `log_softmax`).
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING

import attrs
import numpy as np

from kdkit.data.guests.guest import Positions
from kdkit.errors import DamagedData
from kdkit.system.files import naming
from kdkit.system.reading import open_regular

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    import numpy.typing as npt

    from kdkit.data.guests.guest import IdArray, LogpArray

MAGIC = b"_logits_"
_HEAD = struct.Struct("<3i")
SPAN, CODES = 16.0, 65535
"""How far below the largest logit others are kept, and the largest code."""
LEAST = 1e-8
"""The least mass that entries on the floor share: rounding must not leave them none."""


@attrs.frozen(kw_only=True, eq=False)
class LlamaCppBase:
    """A file of `--kl-divergence-base`.

    Attributes:
        file: The file.
        context: Ids of a chunk.
        width: Its vocabulary.
        chunks: How many chunks it has.
        begin: The id that the teacher read first in each chunk; None for the chunk's own.
    """

    file: Path
    context: int
    width: int
    chunks: int
    begin: int | None

    what = "a --kl-divergence-base file of llama.cpp"
    is_whole = True

    @classmethod
    def of(cls, file: Path, *, begin: int | None) -> LlamaCppBase:
        """The file, found to be as long as its head says.

        Args:
            file: The file.
            begin: The tokenizer's beginning-of-text token, if it has one.

        Raises:
            DamagedData: It is cut, or its head is not possible.
        """
        with naming(file), open_regular(file) as stream:
            raw = stream.read(len(MAGIC) + _HEAD.size)
            if not raw.startswith(MAGIC) or len(raw) < len(MAGIC) + _HEAD.size:
                raise DamagedData(f"{file} does not begin as a --kl-divergence-base file does; write it again")
            context, width, chunks = _HEAD.unpack_from(raw, len(MAGIC))
            size = os.fstat(stream.fileno()).st_size
        if min(context - 3, width - 1, chunks) < 0:
            raise DamagedData(f"{file} claims {chunks} chunks of {context} tokens over {width} entries; write it again")
        found = cls(file=file, context=context, width=width, chunks=chunks, begin=None)
        whole = found._start(chunks)
        if size != whole:
            raise DamagedData(
                f"{file} has {size:,} bytes, and its head asks for {whole:,}: {chunks} chunks of {context} tokens over "
                f"{width:,} entries; llama-perplexity was stopped or the copy is cut, so write it again"
            )
        # llama.cpp puts the token before the text, and so in the first chunk, where it puts it before each.
        first = next(found.sequences(), None)
        return attrs.evolve(
            found, begin=begin if first is not None and begin is not None and first[0] == begin else None
        )

    def sequences(self) -> Iterator[IdArray]:
        """The ids of each chunk, as the teacher read them."""
        with naming(self.file), open_regular(self.file) as stream:
            for chunk in range(self.chunks):
                stream.seek(len(MAGIC) + _HEAD.size + 4 * chunk * self.context)
                ids_S = np.frombuffer(stream.read(4 * self.context), "<i4").astype(np.int64)
                if self.begin is not None:
                    ids_S[0] = self.begin
                yield ids_S

    def read(self, wanted: Collection[int]) -> Iterator[tuple[int, Positions]]:
        """The log-probabilities of some chunks."""
        first, rows = self.context // 2, self._rows
        with naming(self.file), open_regular(self.file) as stream:
            for number, ids_S in enumerate(self.sequences()):
                if number not in wanted:
                    continue
                stream.seek(self._start(number))
                raw = np.frombuffer(stream.read(rows * self._row_bytes), np.uint8).reshape(rows, self._row_bytes)
                logp_PV, floored_P = self._decoded(raw, number)
                yield (
                    number,
                    Positions(
                        place=f"{self.file}: chunk {number + 1}",
                        ids_S=ids_S,
                        first=first + 1,
                        ids_PK=None,
                        logp_PK=logp_PV,
                        floored_P=floored_P,
                    ),
                )

    def _decoded(self, raw: npt.NDArray[np.uint8], number: int) -> tuple[LogpArray, IdArray]:
        """Log-probabilities, and how many entries of each row lie on the floor and share what the others leave."""
        scale_P1 = raw[:, :4].copy().view("<f4").astype(np.float64)
        least_P1 = raw[:, 4:8].copy().view("<f4").astype(np.float64)
        if not (np.isfinite(scale_P1).all() and np.isfinite(least_P1).all() and (scale_P1 >= 0).all()):
            raise DamagedData(f"{self.file}: chunk {number + 1} has a scale that is not a number; write the file again")
        codes_PV = raw[:, 8:].copy().view("<u2")[:, : self.width]
        logp_PV = codes_PV * scale_P1 + least_P1
        cut_P1 = scale_P1 * CODES > SPAN * (1 - 1e-6)
        on_floor_PV = (codes_PV == 0) & cut_P1
        floored_P = on_floor_PV.sum(axis=1)
        rest_P = 1 - np.where(on_floor_PV, 0, np.exp(logp_PV)).sum(axis=1)
        most_P = floored_P * np.exp(least_P1[:, 0])
        rest_P = np.maximum(np.minimum(rest_P, most_P), LEAST)
        shared_P = np.log(rest_P / np.maximum(floored_P, 1))
        return np.where(on_floor_PV, shared_P[:, None], logp_PV), floored_P

    @property
    def _rows(self) -> int:
        return self.context - 1 - self.context // 2

    @property
    def _row_bytes(self) -> int:
        return 2 * (2 * ((self.width + 1) // 2) + 4)

    def _start(self, chunk: int) -> int:
        """Where a chunk's log-probabilities begin."""
        return len(MAGIC) + _HEAD.size + 4 * self.chunks * self.context + chunk * self._rows * self._row_bytes
