"""The tails of rows: logits far below their row's maximum, kept only as their mass.

Letters: T target tokens, V vocabulary, R grids, X the logits that one spans.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.errors import DamagedData

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from kdkit.api.values import FloatArray


def reaches_below(logits_RX: FloatArray, distance: float) -> bool:
    """Whether a logit is further than that below the maximum of its row, or of its array."""
    import numpy as np

    low_R, high_R = (extreme(axis=1).astype(np.float64) for extreme in (logits_RX.min, logits_RX.max))
    return bool((high_R - low_R > distance).any())


def tail_levels(logits_TV: FloatArray, kept_TV: npt.NDArray[np.bool_]) -> FloatArray:
    """The logarithm of the mean exponential of each row's logits that are not kept, float32 `[T, 1]`; 0 where none is.

    Taken by all of them, it gives them the mass that they had, at temperature 1. It is -inf where all of them are.
    """
    import numpy as np

    levels_T1 = np.zeros((len(logits_TV), 1), np.float32)
    for row, (logits_V, kept_V) in enumerate(zip(logits_TV, kept_TV, strict=True)):
        tail_X = logits_V[~kept_V].astype(np.float64)
        if tail_X.size:
            highest = tail_X.max()
            levels_T1[row] = highest if np.isneginf(highest) else highest + np.log(np.exp(tail_X - highest).mean())
    return levels_T1


def check_tails(levels_T1: FloatArray) -> None:
    """Levels that no encoder writes would decode to infinities.

    Raises:
        DamagedData: One is infinity, or no number.
    """
    import numpy as np

    if not (levels_T1 < np.inf).all():
        raise DamagedData("the level of a row's clipped logits is infinite or not a number, which kdkit does not write")
