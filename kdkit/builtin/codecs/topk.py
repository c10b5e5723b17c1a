"""Codec `topk`: the k largest logits of each token, and how much probability all others have.

Letters: B batch, T target tokens, V vocabulary, K entries kept, N entries of all rows.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs
from attrs import validators

from kdkit.api.options import at_least_one, option
from kdkit.builtin.codecs.parts.checks import each_temperature, moderate_logits
from kdkit.builtin.codecs.parts.id_sets import BLOCK_BYTES, IdSets, bits_of_a_set, read_sets, write_sets
from kdkit.builtin.codecs.parts.integers import SECTION_BYTES, Reader, write_integers
from kdkit.builtin.codecs.parts.sparse import HEAD_BYTES, SparseRows, check_head, head, sizes_of_rows, targets_of
from kdkit.errors import DamagedData, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from kdkit.api.values import EntriesBlock, FloatArray, SparseTargets, TeacherBlock
    from kdkit.builtin.codecs.parts.integers import Integers

# Differences of logits, in float64 and float32, stay finite.
# Times the highest temperature: how far below its row's maximum an entry is told from one still further below.
# exp(-64) is 1.6e-28 of the maximum's probability.
DEEPEST = 64
# The logarithm of a mass so small that neither float32 nor, by much, float64 has a number for it.
LEAST_TAIL = -700.0
# That of nearly all mass: a tail is below 0.
_MOST_TAIL = -1e-30
# Logits of so many entries are worked on at once: few calls for a small vocabulary, and little memory for a large one.
_ENTRIES = 1 << 14


def _temperatures(_instance: object, _field: object, temperatures: tuple[float, ...]) -> None:
    if not temperatures:
        raise ValueError("has no temperature; give at least one, such as [1.0]")
    each_temperature(_instance, _field, temperatures)


@attrs.frozen(kw_only=True)
class TopK:
    """The k largest logits, relative to their row's maximum, and the mass of the others at each temperature.

    Of equal logits the one with the lower id is kept. A kept logit's distance to its row's maximum is off by at most
    step / 2 (2**-7 by default: fp16's error at magnitudes of 16 to 32), if it is below 64 times the highest
    temperature; from there on it counts as that (less than 1.6e-28 of the maximum's probability), and -inf stays -inf.
    The others' mass is computed in float64 and stored as float32; it is 0 where all of them are -inf. So each kept
    entry's probability is that of the full softmax but for a factor of at most exp(step / temperature) either way.
    """

    k: int = option(
        "How many logits of each token to keep; all if the vocabulary is smaller.",
        default=128,
        check=at_least_one,
    )
    temperatures: tuple[float, ...] = option(
        "Temperatures for which the mass of the dropped logits is stored; a loss may use only these.",
        default=(1.0,),
        check=_temperatures,
    )
    step: float = option(
        "Distances to a row's maximum are rounded to multiples of this.",
        default=2.0**-6,
        check=validators.and_(validators.ge(2.0**-20), validators.le(1.0)),
    )

    def __attrs_post_init__(self) -> None:
        """Turn a list into a tuple: a cache keeps options as JSON, and equal codecs must be equal."""
        object.__setattr__(self, "temperatures", tuple(map(float, self.temperatures)))

    @property
    def exact_temperatures(self) -> tuple[float, ...]:
        """The option `temperatures`."""
        return self.temperatures

    def encode(self, block: TeacherBlock) -> bytes:
        """The block's largest logits.

        Raises:
            UsageError: The largest logit of a token is beyond 1e38 or -inf, or a logit is NaN.
        """
        import numpy as np

        logits_TV = moderate_logits(block, codec="topk")
        tokens, vocab_size = logits_TV.shape
        kept = min(self.k, vocab_size)
        ids_TK = np.empty((tokens, kept), np.int64)
        above_TK = np.empty((tokens, kept), np.int64)
        log_tail_XT = np.empty((len(self.temperatures), tokens), np.float32)
        at_once = max(1, _ENTRIES // vocab_size)
        for start in range(0, tokens, at_once):
            some = slice(start, start + at_once)
            below_TV = logits_TV[some].max(axis=1, keepdims=True) - logits_TV[some].astype(np.float64)
            ids_TK[some] = largest(logits_TV[some], kept)
            below_TK = below_TV[np.arange(len(below_TV))[:, None], ids_TK[some]]
            above_TK[some] = self._above(below_TK)
            if kept < vocab_size:
                for index, temperature in enumerate(self.temperatures):
                    log_tail_XT[index, some] = _log_tails(below_TV / temperature, ids_TK[some])
        return _payload(ids_TK, above_TK, log_tail_XT, vocab_size)

    def entries(self, vocab_size: int) -> int:
        """The option `k`, or all entries if the vocabulary is smaller."""
        return min(self.k, vocab_size)

    def encode_entries(self, block: EntriesBlock) -> bytes:
        """The largest entries of the block, all others' mass with what it says of those that it does not have.

        Raises:
            UsageError: The block has fewer entries of a token than k, or is of another temperature than the option.
        """
        import numpy as np

        kept = self.entries(block.vocab_size)
        if self.temperatures != (block.temperature,):
            raise UsageError(
                f"codec.temperatures is {list(self.temperatures)}, but the logits of example {block.id!r} are known at "
                f"{block.temperature:g} only; set it to [{block.temperature:g}]"
            )
        there_T = (block.ids_TK >= 0).sum(axis=1)
        if (there_T < kept).any():
            label = int((there_T < kept).argmax())
            raise UsageError(
                f"codec.k is {self.k}, but {there_T[label]} entries of label {label} of example {block.id!r} are "
                f"known; set it to {there_T.min()} or less"
            )
        order_TK = np.lexsort((block.ids_TK, -block.logp_TK), axis=1)
        logp_TK = np.take_along_axis(block.logp_TK, order_TK, axis=1)
        ids_TK = np.take_along_axis(block.ids_TK, order_TK, axis=1)[:, :kept]
        others_TK = np.column_stack([block.log_rest_T, logp_TK[:, kept:]])
        log_tail_1T = np.clip(np.logaddexp.reduce(others_TK, axis=1), LEAST_TAIL, _MOST_TAIL)[None]
        logp_TK, order_TK = logp_TK[:, :kept], np.argsort(ids_TK, axis=1)
        below_TK = (logp_TK.max(axis=1, keepdims=True, initial=-np.inf) - logp_TK) * block.temperature
        ids_TK, below_TK = (np.take_along_axis(each, order_TK, axis=1) for each in (ids_TK, below_TK))
        return _payload(ids_TK, self._above(below_TK), log_tail_1T, block.vocab_size)

    def decode(self, payload: bytes, *, tokens: int, vocab_size: int) -> FloatArray:
        """Float32 `[tokens, vocab_size]`: the kept logits less their row's maximum, and a guess of the others.

        The guess is one number for all others of a row, which has their mass at the first temperature.

        Raises:
            DamagedData: The payload is not what `encode` writes for such logits.
        """
        import numpy as np

        rows = self._read(payload, tokens, vocab_size)
        temperature = self.temperatures[0]
        others = vocab_size - rows.ids_TK.shape[1]
        fill_T = np.zeros(tokens)
        if others:
            log_tail_T = rows.log_tail_T[temperature].astype(np.float64)
            log_odds_T = log_tail_T - np.log(-np.expm1(log_tail_T))
            sum_T = np.exp(rows.values_TK.astype(np.float64) / temperature).sum(axis=1)
            fill_T = temperature * (log_odds_T + np.log(sum_T) - math.log(others))
        logits_TV = np.empty((tokens, vocab_size), np.float32)
        logits_TV[...] = fill_T[:, None]
        np.put_along_axis(logits_TV, rows.ids_TK, rows.values_TK, axis=1)
        return logits_TV

    def targets(self, records: Sequence[tuple[bytes, int]], *, vocab_size: int, device: str) -> SparseTargets:
        """The kept entries of a batch, and the mass of the others at each of the temperatures.

        Raises:
            DamagedData: A payload is not what `encode` writes for such logits.
        """
        rows = [self._read(payload, tokens, vocab_size) for payload, tokens in records]
        return targets_of(rows, vocab_size=vocab_size, device=device)

    def bytes_per_token(self, vocab_size: int) -> float:
        """Upper bound. Real logits, whose neighbouring tokens share ids, take about half."""
        kept = min(self.k, vocab_size)
        # Rice with a parameter that leaves the prefix a bit or two, the one that ends it included.
        value_bits = kept * (self._absent.bit_length() + 1)
        if kept == vocab_size:
            return HEAD_BYTES + SECTION_BYTES + value_bits / 8
        fixed = HEAD_BYTES + BLOCK_BYTES + SECTION_BYTES + 4 * len(self.temperatures)
        return fixed + (bits_of_a_set(kept, vocab_size) + value_bits) / 8

    def _above(self, below_TK: npt.NDArray[np.float64]) -> Integers:
        """How many steps each entry is above the least of its row, of distances to the row's largest."""
        import numpy as np

        steps_TK = np.rint(np.minimum(below_TK / self.step, self._deepest)).astype(np.int64)
        steps_TK[np.isposinf(below_TK)] = self._absent
        above_TK: Integers = steps_TK.max(axis=1, keepdims=True, initial=0) - steps_TK
        return above_TK

    @property
    def _deepest(self) -> int:
        """How many steps below its row's maximum an entry is at most."""
        return math.ceil(DEEPEST * max(self.temperatures) / self.step)

    @property
    def _absent(self) -> int:
        """The steps that stand for -inf."""
        return self._deepest + 1

    def _read(self, payload: bytes, tokens: int, vocab_size: int) -> SparseRows:
        import numpy as np

        reader = Reader(payload)
        check_head(reader, tokens, vocab_size)
        kept = min(self.k, vocab_size)
        if kept < vocab_size:
            log_tail_XT = np.frombuffer(reader.take(4 * len(self.temperatures) * tokens), "<f4").astype(np.float32)
            _check_tails(log_tail_XT)
            ids_TK = _ids_of_rows(read_sets(reader, tokens=tokens, vocab_size=vocab_size), tokens, kept)
        above_TK = reader.integers(tokens * kept, most=self._absent).reshape(tokens, kept)
        reader.end()
        if kept == vocab_size:  # only now is the payload known to be long enough for so many tokens
            log_tail_XT = np.full(len(self.temperatures) * tokens, -np.inf, np.float32)
            ids_TK = np.tile(np.arange(vocab_size), (tokens, 1))
        steps_TK = above_TK - above_TK.max(axis=1, keepdims=True)
        values_TK = (steps_TK * self.step).astype(np.float32)
        values_TK[steps_TK == -self._absent] = -np.inf
        tails = log_tail_XT.reshape(len(self.temperatures), tokens)
        return SparseRows(
            ids_TK=ids_TK,
            values_TK=values_TK,
            log_tail_T=dict(zip(self.temperatures, tails, strict=True)),
        )


def _payload(
    ids_TK: Integers, above_TK: Integers, log_tail_XT: npt.NDArray[np.floating[Any]], vocab_size: int
) -> bytes:
    """A record of kept entries, ids in rising order."""
    import numpy as np

    tokens, kept = ids_TK.shape
    parts = [head(tokens, vocab_size)]
    if kept < vocab_size:
        rows_N = np.repeat(np.arange(tokens), kept)
        parts += [log_tail_XT.astype("<f4").tobytes()]
        parts += [write_sets(IdSets(rows_N=rows_N, ids_N=ids_TK.ravel()), tokens)]
    return b"".join((*parts, write_integers(above_TK.ravel())))


def _ids_of_rows(sets: IdSets, tokens: int, kept: int) -> Integers:
    if (sizes_of_rows(sets, tokens) != kept).any():
        raise DamagedData(f"a token does not have {kept} entries")
    return sets.ids_N.reshape(tokens, kept)


def _check_tails(log_tail_XT: FloatArray) -> None:
    import numpy as np

    # NaN fails every comparison.
    if not np.all(((log_tail_XT >= LEAST_TAIL) & (log_tail_XT < 0)) | np.isneginf(log_tail_XT)):
        raise DamagedData("the mass of the dropped entries is not one that topk writes")


def largest(logits_TV: FloatArray, count: int) -> Integers:
    """Ids of the largest logits of each row in rising order; of equal ones the lower ids.

    NumPy's own choice among equals depends on the processor.
    """
    import numpy as np

    place = logits_TV.shape[1] - count
    least_T1 = np.partition(logits_TV, place, axis=1)[:, place, None]
    kept_TV = logits_TV >= least_T1
    more_T = kept_TV.sum(axis=1) - count
    for row in np.flatnonzero(more_T).tolist():
        ties = np.flatnonzero(logits_TV[row] == least_T1[row])
        kept_TV[row, ties[len(ties) - int(more_T[row]) :]] = False
    ids_TK: Integers = (np.flatnonzero(kept_TV) % logits_TV.shape[1]).reshape(len(logits_TV), count)
    return ids_TK


def _log_tails(below_TV: npt.NDArray[np.float64], ids_TK: Integers) -> list[float]:
    """Of each row the logarithm of the mass of all entries but some, from distances to the maximum at a temperature."""
    import numpy as np

    weight_TV, row_T1 = np.exp(-below_TV), np.arange(len(below_TV))[:, None]
    kept_T = weight_TV[row_T1, ids_TK].sum(axis=1).tolist()
    # Summed by themselves: what is left of one after subtraction is no more exact than float64 is near one.
    weight_TV[row_T1, ids_TK] = 0
    tail_T = weight_TV.sum(axis=1).tolist()
    return [
        # math's, since NumPy's own differs in the last bit by processor.
        -math.log1p(kept / tail) if tail > kept * math.exp(LEAST_TAIL) else _least_tail(below_V, ids_K)
        for kept, tail, below_V, ids_K in zip(kept_T, tail_T, below_TV, ids_TK, strict=True)
    ]


def _least_tail(below_V: npt.NDArray[np.float64], ids_K: Integers) -> float:
    """Of a row whose others have next to no mass: none at all where all of them are -inf."""
    import numpy as np

    return -math.inf if np.isposinf(np.delete(below_V, ids_K)).all() else LEAST_TAIL
