"""Codec `sampled`: a few vocabulary ids a token, drawn from the teacher's distribution.

Source: Anshumann et al., "Sparse Logit Sampling: Accelerating Knowledge Distillation in LLMs" (arXiv 2503.16870), whose
random sampling is `draw = "independent"`.

Letters: B batch, T target tokens, V vocabulary, K entries kept, N entries of all rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import attrs
from attrs import validators

from kdkit.api.options import not_negative, one_of, option
from kdkit.builtin.codecs.parts.checks import moderate_logits
from kdkit.builtin.codecs.parts.id_sets import BLOCK_BYTES, IdSets, bits_of_a_set, read_sets, write_sets
from kdkit.builtin.codecs.parts.integers import SECTION_BYTES, Reader, write_integers
from kdkit.builtin.codecs.parts.sparse import HEAD_BYTES, SparseRows, check_head, head, sizes_of_rows, targets_of
from kdkit.errors import DamagedData

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

    from kdkit.api.values import FloatArray, SparseTargets, TeacherBlock

    Doubles: TypeAlias = npt.NDArray[np.float64]

# Differences of logits, in float64 and float32, stay finite.
# Times the temperature: the logit of what was never drawn, where a number there must be. exp(-32) is 1.3e-14: the mass
# of a whole vocabulary of such entries is below the rounding of float32.
NEVER = -32.0


@attrs.frozen(kw_only=True)
class Sampled:
    """Ids drawn from the teacher's distribution at a temperature, and how often each was drawn.

    The share of the draws that an id has is an unbiased estimate of its probability, so the gradient of the forward
    KL divergence is unbiased too. Only at that temperature; and other divergences than the forward KL are not linear in
    the teacher's probabilities, so that their gradients are biased.

    Systematic draws stand at even distances on the cumulative distribution, the first at a random place: an id of
    probability p comes floor(draws * p) or ceil(draws * p) times, which has the same mean as independent draws and
    never more variance. A logit of -inf is never drawn. Draws depend on `seed` and the record's logits alone: not on
    its id, on batches or on order.
    """

    draws: int = option(
        "Draws for each token.", default=50, check=validators.and_(validators.ge(1), validators.le(2**20))
    )
    temperature: float = option(
        "Temperature of the draws: that of the loss.",
        default=1.0,
        check=validators.and_(validators.ge(0.01), validators.le(100.0)),
    )
    draw: str = option(
        'How to draw: "systematic" (even distances on the cumulative distribution: less variance) or "independent".',
        default="systematic",
        check=one_of("systematic", "independent"),
    )
    seed: int = option("Seed of the draws.", default=0, check=not_negative)

    @property
    def exact_temperatures(self) -> tuple[float, ...]:
        """The option `temperature`."""
        return (self.temperature,)

    @property
    def is_sample(self) -> bool:
        """Always true: see `SampledCodec`."""
        return True

    def encode(self, block: TeacherBlock) -> bytes:
        """Draws from the block's distributions.

        Raises:
            UsageError: The largest logit of a token is beyond 1e38 or -inf, or a logit is NaN.
        """
        import numpy as np

        logits_TV = moderate_logits(block, codec="sampled")
        tokens, vocab_size = logits_TV.shape
        none = np.empty(0, np.int64)
        ids, times = [none], [none]
        for logits_V, places_N in zip(logits_TV, self._places(logits_TV), strict=True):
            drawn_N = np.searchsorted(cumulative(logits_V, self.temperature), places_N, side="right")
            ids_K, times_K = np.unique(drawn_N, return_counts=True)
            ids.append(ids_K)
            times.append(times_K)
        rows_N = np.repeat(np.arange(tokens), [len(each) for each in ids[1:]])
        sets = IdSets(rows_N=rows_N, ids_N=np.concatenate(ids))
        return head(tokens, vocab_size) + write_sets(sets, tokens) + write_integers(np.concatenate(times) - 1)

    def decode(self, payload: bytes, *, tokens: int, vocab_size: int) -> FloatArray:
        """Float32 `[tokens, vocab_size]`: the logarithm of the estimate times the temperature.

        Ids that were never drawn have -32 times the temperature, for want of a number. This is what metrics and
        curious people may look at, not what a loss should use: `targets` is.

        Raises:
            DamagedData: The payload is not what `encode` writes for such logits.
        """
        import numpy as np

        sets, values_N = self._read(payload, tokens, vocab_size)
        logits_TV = np.full((tokens, vocab_size), NEVER * self.temperature, np.float32)
        logits_TV[sets.rows_N, sets.ids_N] = values_N
        return logits_TV

    def targets(self, records: Sequence[tuple[bytes, int]], *, vocab_size: int, device: str) -> SparseTargets:
        """The drawn ids of a batch with their shares of the draws as probabilities; none is left to the others.

        Raises:
            DamagedData: A payload is not what `encode` writes for such logits.
        """
        rows = [self._rows(payload, tokens, vocab_size) for payload, tokens in records]
        return targets_of(rows, vocab_size=vocab_size, device=device)

    def bytes_per_token(self, vocab_size: int) -> float:
        """Upper bound, of even distributions. Those of a language model, which are seldom in doubt, take a quarter."""
        # Rice with b = 0 takes as many bits for an id as it has draws.
        bits = bits_of_a_set(min(self.draws, vocab_size), vocab_size) + self.draws
        return HEAD_BYTES + BLOCK_BYTES + SECTION_BYTES + bits / 8

    def _places(self, logits_TV: FloatArray) -> Doubles:
        """Where on the cumulative distribution each token's draws stand, `[T, draws]`, from 0 to below 1.

        Raw numbers of Philox, which is counter-based and whose stream NumPy keeps as it is. The key is a digest of the
        seed and every sixteenth logit (a digest of all of them would take as long as the draws). The stream is part of
        encoding only: decoding needs none of it.
        """
        import hashlib

        import numpy as np

        key = hashlib.blake2b(f"kdkit sampled {self.seed}".encode(), digest_size=16)
        key.update(np.ascontiguousarray(logits_TV.ravel()[::16], dtype="<f4").data)
        stream = np.random.Philox(key=int.from_bytes(key.digest(), "little"))
        tokens = len(logits_TV)
        if self.draw == "independent":
            return _uniform(stream, tokens * self.draws).reshape(tokens, self.draws)
        first_T1 = _uniform(stream, tokens)[:, None]
        # What rounds to 1 would stand beyond the last entry.
        return np.minimum((first_T1 + np.arange(self.draws)) / self.draws, np.nextafter(1, 0))

    def _rows(self, payload: bytes, tokens: int, vocab_size: int) -> SparseRows:
        import numpy as np

        sets, values_N = self._read(payload, tokens, vocab_size)
        size_T = sizes_of_rows(sets, tokens)
        shape = (tokens, int(size_T.max(initial=0)))
        ids_TK, values_TK = np.full(shape, -1, np.int64), np.full(shape, -np.inf, np.float32)
        column_N = np.arange(len(sets.rows_N)) - np.repeat(np.cumsum(size_T) - size_T, size_T)
        ids_TK[sets.rows_N, column_N] = sets.ids_N
        values_TK[sets.rows_N, column_N] = values_N
        log_tail_T = {self.temperature: np.full(tokens, -np.inf, np.float32)}
        return SparseRows(ids_TK=ids_TK, values_TK=values_TK, log_tail_T=log_tail_T)

    def _read(self, payload: bytes, tokens: int, vocab_size: int) -> tuple[IdSets, FloatArray]:
        """The ids drawn, and the logit of each."""
        import numpy as np

        reader = Reader(payload)
        check_head(reader, tokens, vocab_size)
        sets = read_sets(reader, tokens=tokens, vocab_size=vocab_size)
        times_N = reader.integers(len(sets.ids_N), most=self.draws - 1) + 1
        reader.end()
        if (np.bincount(sets.rows_N, weights=times_N, minlength=tokens) != self.draws).any():
            raise DamagedData(f"a token does not have {self.draws} draws")
        return sets, (np.log(times_N / self.draws) * self.temperature).astype(np.float32)


def cumulative(logits_V: FloatArray, temperature: float) -> Doubles:
    """Up to and with each entry, the probability at a temperature; the last is 1."""
    import numpy as np

    # Each weight is as exact as a float32 is; it is their sum that would lose what is small.
    with np.errstate(over="ignore"):  # what is infinitely far below has no weight
        weight_V = np.exp((logits_V - logits_V.max()) / np.float32(temperature))
    sum_V = weight_V.cumsum(dtype=np.float64)
    cumulative_V: Doubles = sum_V / sum_V[-1]
    return cumulative_V


def _uniform(stream: np.random.Philox, count: int) -> Doubles:
    """Multiples of 2**-53 from 0 to below 1."""
    import numpy as np

    numbers_N: Doubles = (stream.random_raw(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return numbers_N
