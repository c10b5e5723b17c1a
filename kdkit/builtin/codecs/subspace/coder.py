"""The entropy coder of codec `subspace`: whole numbers of known spread to bytes and back.

Every number has a scale, a place on a ladder of standard deviations, four to the octave: that of its column plus one of
its row, the row's class, which is written first. Up to a standard deviation of `2**4` a table of frequencies gives the
number's bits; a wider number leaves so many low bits aside that a table fits the rest, and these bits are written as
they are. All tables are integers, and so is the arithmetic that undoes them: every machine decodes the same.

The code is asymmetric numeral systems (Duda, arXiv:1311.2540) with words of 32 bits, a state of 64 and frequencies of
24, by the library constriction. docs/cache-format.md has it bit by bit.

Letters: T rows, R columns, N numbers, C classes.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.builtin.codecs.subspace.layout import CLASSES, NEUTRAL_CLASS, STEPS_PER_OCTAVE, Layout, sigma_of
from kdkit.errors import DamagedData

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from kdkit.builtin.codecs.subspace.layout import IntArray, ScaleArray

PRECISION = 24
TOTAL = 2**PRECISION
# No class takes less than two bits, so that a short payload cannot claim to hold many rows.
MOST_CLASS_FREQUENCY = TOTAL // 4
ROWS_PER_BYTE = 4
LARGEST = 2**30
# The coder's state holds this much beside its words.
SLACK_BITS = 64
STAMP = 0xB5D1
WIDEST_TABLE = 1024


@attrs.frozen(kw_only=True, eq=False)
class Coder:
    """Encodes whole numbers by tables that the records of a cache share.

    Attributes:
        scales_R: uint8, the place of each column on the ladder.
        radii: uint16 `[TABLES]`: table i has an entry for each of -radius ... radius, and one more for all else.
        frequencies: uint32, the tables one after the other; each sums to `2**24`.
        class_frequencies_C: uint32, the frequencies of the classes; they sum to `2**24`.
    """

    scales_R: ScaleArray
    radii: npt.NDArray[np.uint16]
    frequencies: npt.NDArray[np.uint32]
    class_frequencies_C: npt.NDArray[np.uint32]

    def encode(self, numbers_TR: IntArray) -> bytes:
        """The numbers, none beyond `LARGEST`, as bytes; no bytes for no rows."""
        import numpy as np

        if len(numbers_TR) == 0:
            return b""
        assert np.abs(numbers_TR).max(initial=0) <= LARGEST
        classes_T = self.classes(numbers_TR)
        layout = Layout.of(self.scales_R, classes_T)
        highs_N, lows_N = layout.split(numbers_TR)
        places_N = highs_N + self.radii.astype(np.int64)[layout.tables_N]
        ends_N = 2 * self.radii.astype(np.int64)[layout.tables_N] + 1
        escaped_N = (places_N < 0) | (places_N >= ends_N)
        places_N[escaped_N] = ends_N[escaped_N]

        coder = _ans()
        coder.encode_reverse(np.array([STAMP], np.int32), _uniform(16))
        # Offset, so that it is never negative; as two halves, because a model has at most 24 bits.
        escapes = (highs_N[layout.by_table_N][escaped_N[layout.by_table_N]] + 2**31).astype(np.int64)
        coder.encode_reverse((escapes & 0xFFFF).astype(np.int32), _uniform(16))
        coder.encode_reverse((escapes >> 16).astype(np.int32), _uniform(16))
        for bits, chosen in reversed(layout.low_groups()):
            coder.encode_reverse(lows_N[chosen].astype(np.int32), _uniform(bits))
        for table, chosen in reversed(layout.table_groups()):
            coder.encode_reverse(places_N[chosen].astype(np.int32), self._models[table])
        coder.encode_reverse(classes_T.astype(np.int32), self._class_model)
        payload: bytes = coder.get_compressed().astype("<u4").tobytes()
        return payload

    def decode(self, payload: bytes, rows: int) -> IntArray:
        """The numbers `[rows, R]`.

        Raises:
            DamagedData: The bytes are not what `encode` writes for so many rows.
        """
        import numpy as np

        if rows == 0:
            if payload:
                raise DamagedData(f"{len(payload)} bytes found, but a record without tokens has none")
            return np.zeros((0, len(self.scales_R)), np.int64)
        if len(payload) % 4 or rows > ROWS_PER_BYTE * len(payload):
            raise DamagedData(f"{len(payload)} bytes cannot be the coordinates of {rows} tokens")
        words = np.frombuffer(payload, "<u4").astype(np.uint32)
        if words[-1] == 0:
            raise DamagedData("the coordinates end in a word of zeros, which no encoder writes")
        coder = _ans(words)
        classes_T = coder.decode(self._class_model, rows)
        # Rows of such classes fill at least so much: none beyond what the bytes can hold are made room for.
        if self._least_bits[classes_T].sum() > 8 * len(payload) + SLACK_BITS:
            raise DamagedData(f"{len(payload)} bytes cannot hold the coordinates of {rows} tokens")
        layout = Layout.of(self.scales_R, classes_T)
        # High parts, and where one is beyond its table, first in the order of tables.
        highs, beyond = [], []
        for table, chosen in layout.table_groups():
            radius = int(self.radii[table])
            highs.append(coder.decode(self._models[table], len(chosen)).astype(np.int64) - radius)
            beyond.append(highs[-1] > radius)
        lows_N = np.zeros(rows * len(self.scales_R), np.int64)
        for bits, chosen in layout.low_groups():
            lows_N[chosen] = coder.decode(_uniform(bits), len(chosen))
        highs_N = np.empty_like(lows_N)
        highs_N[layout.by_table_N] = np.concatenate([*highs, np.empty(0, np.int64)])
        escaped = layout.by_table_N[np.flatnonzero(np.concatenate([*beyond, np.empty(0, bool)]))]
        upper = coder.decode(_uniform(16), len(escaped)).astype(np.int64)
        highs_N[escaped] = (upper << 16) + coder.decode(_uniform(16), len(escaped)) - 2**31
        if coder.decode(_uniform(16), 1)[0] != STAMP or not coder.is_empty():
            raise DamagedData(f"the coordinates do not end where those of {rows} tokens must")
        numbers_TR = layout.join(highs_N, lows_N).reshape(rows, -1)
        if np.abs(numbers_TR).max(initial=0) > LARGEST:
            raise DamagedData(
                f"a coordinate lies {np.abs(numbers_TR).max()} steps from the mean, more than the codec writes"
            )
        return numbers_TR

    def bits_per_row(self) -> float:
        """Expected bits of a row that is like the sample's."""
        import numpy as np

        entropies = np.array([_entropy(table) for table in self._tables])
        layout = Layout.of(self.scales_R, np.array([NEUTRAL_CLASS]))
        return float(entropies[layout.tables_N].sum() + layout.bits_N.sum()) + _entropy(self.class_frequencies_C)

    def classes(self, numbers_TR: IntArray) -> IntArray:
        """The class of each row: how much wider it is than the sample, by its standardised numbers' mean square."""
        import numpy as np

        numbers = numbers_TR.astype(np.float64)
        wide = (numbers**2 / self._squares).mean(axis=1) if numbers.shape[1] else np.ones(len(numbers))
        octaves_T = 0.5 * np.log2(np.maximum(wide, 2.0**-99))
        classes_T: IntArray = np.rint(STEPS_PER_OCTAVE * octaves_T).astype(np.int64) + NEUTRAL_CLASS
        return np.clip(classes_T, 0, CLASSES - 1)

    @cached_property
    def _squares(self) -> npt.NDArray[np.float64]:
        """The mean square of a rounded number of each column."""
        return sigma_of(self.scales_R) ** 2 + 1 / 12

    @cached_property
    def _least_bits(self) -> npt.NDArray[np.float64]:
        """For each class the bits of a row of the likeliest numbers."""
        import numpy as np

        least = np.array([-np.log2(table.max() / TOTAL) for table in self._tables])
        layout = Layout.of(self.scales_R, np.arange(CLASSES))
        bits_N = least[layout.tables_N] + layout.bits_N
        bits_C: npt.NDArray[np.float64] = bits_N.reshape(CLASSES, len(self.scales_R)).sum(axis=1)
        return bits_C

    @cached_property
    def _tables(self) -> list[npt.NDArray[np.uint32]]:
        import numpy as np

        return np.split(self.frequencies, np.cumsum(2 * self.radii.astype(np.int64) + 2)[:-1])

    @cached_property
    def _models(self) -> list[Any]:
        return [_categorical(table) for table in self._tables]

    @cached_property
    def _class_model(self) -> Any:
        return _categorical(self.class_frequencies_C)


def whole_frequencies(weights: npt.NDArray[np.float64], *, most: int = TOTAL) -> npt.NDArray[np.uint32]:
    """Frequencies in proportion to weights: whole, at least 1 and at most `most` each, `2**24` together."""
    import numpy as np

    share = weights / weights.sum()
    frequencies = np.minimum(np.maximum(np.floor(share * (TOTAL - len(weights))), 1), most).astype(np.int64)
    left = TOTAL - int(frequencies.sum())
    for place in np.argsort(-share, kind="stable"):
        given = min(left, most - int(frequencies[place])) if left > 0 else max(left, 1 - int(frequencies[place]))
        frequencies[place] += given
        left -= given
    assert left == 0
    whole: npt.NDArray[np.uint32] = frequencies.astype(np.uint32)
    return whole


def _entropy(frequencies: npt.NDArray[np.uint32]) -> float:
    import numpy as np

    share = frequencies / TOTAL
    return float(-(share * np.log2(share)).sum())


def _ans(words: npt.NDArray[np.uint32] | None = None) -> Any:
    import constriction

    return constriction.stream.stack.AnsCoder() if words is None else constriction.stream.stack.AnsCoder(words)


def _uniform(bits: int) -> Any:
    import constriction

    return constriction.stream.model.Uniform(2**bits)


def _categorical(frequencies: npt.NDArray[np.uint32]) -> Any:
    """A model with exactly these frequencies.

    constriction gives each entry 1, and the rest of `2**24` in proportion to weights. With weights that sum to just
    that rest its factor is 1, and nothing is rounded: whole numbers below `2**24` are exact even in float32.
    """
    import constriction
    import numpy as np

    return constriction.stream.model.Categorical(frequencies.astype(np.float64) - 1, perfect=False)
