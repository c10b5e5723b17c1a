"""A teacher's answer for one example, on its way into a cache.

Letters: T target, V vocabulary, K entries, D hidden.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import numpy.typing as npt

    from kdkit.api.arrays import FloatArray


@attrs.frozen(kw_only=True)
class Grid:
    """The grid on which already quantised logits lie: `logit = (q - zero_point) * scale`, q in 0 ... 2**bits - 1."""

    scale: float
    zero_point: float
    bits: int = 8


@attrs.frozen(kw_only=True, eq=False)
class TeacherBlock:
    """A teacher's logits for one example's target tokens under teacher forcing.

    Attributes:
        id: The example's id.
        logits_TV: float32; row i is the distribution of target token i, an entry of -inf being masked. Fewer rows than
            target tokens are allowed (recorded logits may be short); the soft loss then covers the rows there are.
        grid: The grid on which the logits lie exactly, where they were quantised before kdkit saw them.
    """

    id: str
    logits_TV: FloatArray
    grid: Grid | None = None


@attrs.frozen(kw_only=True, eq=False)
class EntriesBlock:
    """Some entries of a teacher's distributions for one example's target tokens, and the mass of all others.

    Attributes:
        id: The example's id.
        ids_TK: int64, the entries, none twice in a row; -1 where a row has fewer than K.
        logp_TK: float64, their log-probabilities at the temperature; -inf where there is no entry.
        log_rest_T: float64, the logarithm of the mass of all other entries.
        temperature: The only temperature at which these are known.
        vocab_size: Width V of the distributions.
    """

    id: str
    ids_TK: npt.NDArray[np.int64]
    logp_TK: npt.NDArray[np.float64]
    log_rest_T: npt.NDArray[np.float64]
    temperature: float
    vocab_size: int


@attrs.frozen(kw_only=True, eq=False)
class KnownLogits:
    """What is known of logits that a teacher has from elsewhere.

    Attributes:
        in_words: Whose they are and what is known of them, for people.
        temperature: The only temperature at which they are known.
        entries: How many entries of each token are known at least, the largest ones; None for all.
        error_at: Called with another temperature, says how far off probabilities would be there, as a clause.
    """

    in_words: str
    temperature: float
    entries: int | None
    error_at: Callable[[float], str]


@attrs.frozen(kw_only=True, eq=False)
class OutputHead:
    """A linear output head: `logits_TV = states_TD @ weight_VD.T + bias_V`.

    Attributes:
        weight_VD: float32.
        bias_V: float32; None where there is none.
    """

    weight_VD: FloatArray
    bias_V: FloatArray | None = None


@attrs.frozen(kw_only=True, eq=False)
class StateBlock:
    """A teacher's hidden states for one example's target tokens, before its linear head.

    Attributes:
        id: The example's id.
        states_TD: float32; row i, put through the `OutputHead`, gives the logits of target token i. Whatever else the
            model does to its last hidden states (T5's factor d_model ** -0.5) has been done to them.
    """

    id: str
    states_TD: FloatArray


@attrs.frozen(kw_only=True, eq=False)
class RecordedLogits:
    """Logits that came with a row of a data set.

    Attributes:
        id: The example's id.
        tokens: How many target tokens there are logits for.
        read: Called with a number of rows R, gives the first min(R, tokens) rows, float32 `[R, V]`, and their grid.
    """

    id: str
    tokens: int
    read: Callable[[int], tuple[FloatArray, Grid | None]]
