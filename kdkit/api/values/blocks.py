"""A teacher's answer for one example, on its way into a cache.

Letters: T target, V vocabulary, D hidden.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

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
