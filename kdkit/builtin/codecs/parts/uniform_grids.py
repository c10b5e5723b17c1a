"""Fits, checks, applies and undoes the even grids of logits at 8 and 4 bits.

All arithmetic is float32, one operation after another, so that NumPy and torch give the same bits.

Letters: T target tokens, V vocabulary, R grids (a grid a row, or one for all rows).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.errors import DamagedData, UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from kdkit.api.values import FloatArray, Grid, TeacherBlock

# The smallest normal float32: dividing by less loses all precision.
SMALLEST_SCALE = 2.0**-126
LARGEST_FLOAT32 = 3.4028234e38
# Of the largest logit: by how much a logit may be off by float32's rounding, as the codecs' bounds say.
_ROUNDING = 2.0**-21


def own_grid(logits_TV: FloatArray, rows: int, *, steps: int) -> tuple[FloatArray, FloatArray]:
    """Scale and zero point `[R, 1]` from the extremes of each row, or of the array, so many steps apart.

    The extremes are float32; scale and zero point are computed from them in float64, as Python does with its floats,
    and rounded to float32 once, as NumPy does when it combines a Python float with a float32 array.
    """
    import numpy as np

    if rows == 0:
        return np.empty((0, 1), np.float32), np.empty((0, 1), np.float32)
    logits_RX = logits_TV.reshape(rows, -1)
    low_R1 = logits_RX.min(axis=1, keepdims=True).astype(np.float64)
    high_R1 = logits_RX.max(axis=1, keepdims=True).astype(np.float64)
    scale_R1 = np.where(high_R1 == low_R1, 1.0, np.maximum((high_R1 - low_R1) / steps, SMALLEST_SCALE))
    return scale_R1.astype(np.float32), (-low_R1 / scale_R1).astype(np.float32)


def given_grid(grid: Grid, rows: int, example: str, *, top: int) -> tuple[FloatArray, FloatArray]:
    """The grid that came with the block, as often as it is needed.

    Raises:
        UsageError: It is not a grid.
    """
    import numpy as np

    reach = (abs(grid.zero_point) + top) * grid.scale
    if not (grid.scale >= SMALLEST_SCALE and reach <= LARGEST_FLOAT32 and grid.bits >= 1):
        raise UsageError(
            f"the grid of example {example!r} (scale {grid.scale}, zero point {grid.zero_point}, {grid.bits} "
            "bits) cannot be used: the scale must be positive, and all its logits finite"
        )
    return np.full((rows, 1), grid.scale, np.float32), np.full((rows, 1), grid.zero_point, np.float32)


def check_on_grid(
    logits_TV: FloatArray,
    q_TV: npt.NDArray[np.uint8],
    scale_R1: FloatArray,
    zero_point_R1: FloatArray,
    block: TeacherBlock,
) -> None:
    """Refuse logits off their grid by more than rounding: the codec would spoil them silently.

    Raises:
        UsageError: One is.
    """
    import numpy as np

    if logits_TV.size == 0:
        return
    distance_TV = np.abs(dequantise(q_TV, scale_R1, zero_point_R1) - logits_TV)
    allowed = float(scale_R1[0, 0]) / 64 + 2.0**-20 * float(np.abs(logits_TV).max())
    if distance_TV.max() > allowed:
        token, entry = (int(i) for i in np.unravel_index(distance_TV.argmax(), distance_TV.shape))
        raise UsageError(
            f"the logit {logits_TV[token, entry]:g} at target token {token}, vocabulary entry {entry} of "
            f"example {block.id!r} does not lie on its grid ({block.grid}); the teacher must return the grid "
            "of its logits, or none"
        )


def quantise(
    logits_TV: FloatArray, scale_R1: FloatArray, zero_point_R1: FloatArray, *, top: int
) -> npt.NDArray[np.uint8]:
    """The nearest codes, 0 to `top`."""
    import numpy as np

    q_TV = logits_TV / scale_R1
    q_TV += zero_point_R1
    np.rint(q_TV, out=q_TV)
    np.clip(q_TV, 0, top, out=q_TV)
    return q_TV.astype(np.uint8)


def dequantise(
    q_TV: npt.NDArray[np.uint8], scale_R1: FloatArray, zero_point_R1: FloatArray, *, first: int = 0
) -> FloatArray:
    """Logits of codes; `first` is the code of the grid's lowest point."""
    import numpy as np

    logits_TV = q_TV.astype(np.float32)
    if first:
        logits_TV -= first
    logits_TV -= zero_point_R1
    logits_TV *= scale_R1
    return logits_TV


def check_fine_enough(
    logits_TV: FloatArray,
    q_TV: npt.NDArray[np.uint8],
    scale_R1: FloatArray,
    zero_point_R1: FloatArray,
    *,
    first: int,
    step: float,
    example: str,
) -> None:
    """Refuse logits whose distance from 0 is so large that the zero point's rounding swallows what is between them.

    Args:
        logits_TV: What was quantised.
        q_TV: Their codes; those below `first` stand for logits that are not on the grid.
        scale_R1: The grids' scales.
        zero_point_R1: And their zero points.
        first: The code of the grid's lowest point.
        step: The widest step that the codec's options allow.
        example: The example's id.

    Raises:
        UsageError: A logit comes back further off than such a step.
    """
    import numpy as np

    farthest = float((np.abs(zero_point_R1) * scale_R1).max(initial=0))
    if farthest * _ROUNDING <= step / 2:
        return
    with np.errstate(invalid="ignore", over="ignore"):
        error_TV = np.abs(dequantise(q_TV, scale_R1, zero_point_R1, first=first) - logits_TV)
    on_grid_TV = q_TV >= first
    error_TV[~on_grid_TV] = 0
    if error_TV.max() > step:
        token = int(error_TV.max(axis=1).argmax())
        kept = logits_TV[token][on_grid_TV[token]].astype(float)
        raise UsageError(
            f"the logits of target token {token} of example {example!r} span {kept.max() - kept.min():.4g} around "
            f"{kept.max():.4g}, so far from 0 that float32 is too coarse for a grid: they would come back up to "
            f"{error_TV.max():.3g} off, where a step of at most {step:.3g} is allowed; subtract each row's largest "
            'logit, which changes no probability, or use the codec "float"'
        )


def check_grids(grids_2R1: FloatArray, *, top: int) -> None:
    """Scales and zero points that no encoder writes would decode to infinities; `top` is the highest code.

    Raises:
        DamagedData: There is one.
    """
    import numpy as np

    scale_R1, zero_point_R1 = grids_2R1.astype(np.float64)
    with np.errstate(invalid="ignore"):
        reach_R1 = (np.abs(zero_point_R1) + top) * scale_R1
    if not np.all((scale_R1 >= SMALLEST_SCALE) & (reach_R1 <= LARGEST_FLOAT32)):
        raise DamagedData("a quantisation grid is not one that an even-grid codec writes")
