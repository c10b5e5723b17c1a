"""The tails of rows: logits far below their row's maximum, of which only the mass is kept.

Letters: T target tokens, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.errors import DamagedData

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from kdkit.api.values import FloatArray


def tail_levels(logits_TV: FloatArray, kept_TV: npt.NDArray[np.bool_]) -> FloatArray:
    """The logarithm of the mean exponential of each row's logits that are not kept, float32 `[T, 1]`; 0 where none is.

    Taken by all of them, it gives them the mass that they had, at temperature 1.
    """
    import numpy as np

    levels_T1 = np.zeros((len(logits_TV), 1), np.float32)
    for row, (logits_V, kept_V) in enumerate(zip(logits_TV, kept_TV, strict=True)):
        tail_X = logits_V[~kept_V].astype(np.float64)
        if tail_X.size:
            highest = tail_X.max()
            levels_T1[row] = highest + np.log(np.exp(tail_X - highest).mean())
    return levels_T1


def check_tails(levels_T1: FloatArray) -> None:
    """Levels that no encoder writes would decode to infinities.

    Raises:
        DamagedData: One is not finite.
    """
    import numpy as np

    if not np.isfinite(levels_T1).all():
        raise DamagedData("the level of a row's clipped logits is infinite or no number, which kdkit does not write")
