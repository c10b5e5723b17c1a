"""An output head from a sample of its logits: the space that they lie in, and proof that others lie there too.

Letters: N sample tokens, V vocabulary, R dimensions of the space.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.builtin.codecs.subspace.fit import chunks, metric_length
from kdkit.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from kdkit.api.values import FloatArray
    from kdkit.builtin.codecs.subspace.fit import Float64Array

# Every fourth token is kept out of the estimate, to judge it by.
HELD_OUT = 4
# What lies outside of the space may be half as long as the error of rounding, on average.
LONGEST_RESIDUAL = 0.5
# The residual by which the space is chosen weighs all entries alike; where that misjudges it, a closer one is tried.
CLOSER = (1.0, 0.25, 0.0625, 0.01)


@attrs.frozen(kw_only=True, eq=False)
class EstimatedHead:
    """A head, and the states that give the sample's logits, but for a constant of each row."""

    weight_VR: FloatArray
    states_NR: FloatArray


def estimate_head(logits_NV: FloatArray, *, step: float) -> EstimatedHead:
    """The smallest space in which logits lie that it was not made from.

    Args:
        logits_NV: The sample; it is centred in place.
        step: The quantisation step: nearer than about this the space need not be.

    Raises:
        UsageError: There is no such space: the logits are no linear function of few numbers, or the sample is small.
    """
    import numpy as np

    count = len(logits_NV)
    if count < 2:
        raise UsageError(
            f"subspace learns its space from logits of at least 2 tokens, and got {count}; "
            "give it more, or take another codec"
        )
    for part in chunks(count, logits_NV.shape[1]):
        logits_NV[part] -= logits_NV[part].mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
    held_N = np.arange(count) % HELD_OUT == HELD_OUT - 1 if count >= HELD_OUT else np.arange(count) == count - 1
    fitted_FV = logits_NV[~held_N]
    squares_F, vectors_FF, inner_NF = _decompose(logits_NV, held_N)
    coordinates_HF = inner_NF[held_N] @ vectors_FF / np.sqrt(squares_F)
    total_H1 = np.square(logits_NV[held_N]).sum(axis=1, keepdims=True, dtype=np.float64)
    # Mean square of a held-out logit outside of the space of the first 0, 1, 2 ... dimensions.
    outside = np.maximum(total_H1 - np.cumsum(coordinates_HF**2, axis=1), 0).mean(axis=0) / logits_NV.shape[1]
    outside = np.append(total_H1.mean() / logits_NV.shape[1], outside)
    allowed = LONGEST_RESIDUAL**2 * step**2 / 12 * np.maximum(np.arange(len(outside)), 1)
    residual = limit = 0.0
    for closeness in CLOSER:
        enough = np.flatnonzero(outside <= closeness * allowed)
        rank = int(enough[0]) if len(enough) else len(outside) - 1
        weight_VR = _weight(fitted_FV, vectors_FF[:, :rank] / np.sqrt(squares_F[:rank]))
        residual = _residual(logits_NV[held_N], weight_VR)
        limit = max(LONGEST_RESIDUAL * step * float(np.sqrt(max(rank, 1) / 12)), _rounding(logits_NV))
        if residual <= limit:
            return EstimatedHead(weight_VR=weight_VR, states_NR=_states(logits_NV, weight_VR))
        if not len(enough):
            break
    raise UsageError(
        f"these logits are no linear function of few numbers: a space of {rank} dimensions, learnt from "
        f"{int((~held_N).sum())} tokens, misses others by {residual:.3g}, where step = {step:g} allows {limit:.3g}. A "
        "soft-capped head or logits rounded to 16 bits do that, and so does a sample of fewer tokens than the "
        'teacher has hidden dimensions; take more tokens, a larger step, or the codec "u8-lz4"'
    )


def _decompose(logits_NV: FloatArray, held_N: npt.NDArray[np.bool_]) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Squared singular values, largest first; the left vectors of the fitted rows; products of all rows with them."""
    import numpy as np

    inner_NF = np.zeros((len(logits_NV), int((~held_N).sum())))
    # Slices are added up in float64, so that what rounds is the product of one slice only.
    for part in chunks(logits_NV.shape[1], 4096):
        inner_NF += logits_NV[:, part] @ logits_NV[~held_N, part].T
    squares_F, vectors_FF = np.linalg.eigh(inner_NF[~held_N])
    kept_F = squares_F > 1e-12 * max(squares_F.max(initial=0), np.finfo(np.float32).tiny)
    return squares_F[kept_F][::-1], vectors_FF[:, kept_F][:, ::-1], inner_NF


def _weight(fitted_FV: FloatArray, combination_FR: Float64Array) -> FloatArray:
    import numpy as np

    weight_VR = np.empty((fitted_FV.shape[1], combination_FR.shape[1]), np.float32)
    for part in chunks(fitted_FV.shape[1], fitted_FV.shape[0]):
        weight_VR[part] = fitted_FV[:, part].T.astype(np.float64) @ combination_FR
    return weight_VR


def _states(logits_NV: FloatArray, weight_VR: FloatArray) -> FloatArray:
    """Least squares; the columns are nearly, but after rounding not quite, orthonormal."""
    import numpy as np

    gram_RR = weight_VR.T.astype(np.float64) @ weight_VR
    states_NR: FloatArray = ((logits_NV @ weight_VR) @ np.linalg.pinv(gram_RR)).astype(np.float32)
    return states_NR


def _residual(logits_HV: FloatArray, weight_VR: FloatArray) -> float:
    """Root mean square length, by the metric, of what the space misses of some logits."""
    import numpy as np

    squares = 0.0
    for part in chunks(len(logits_HV), logits_HV.shape[1]):
        errors_HV = logits_HV[part] - _states(logits_HV[part], weight_VR) @ weight_VR.T
        squares += float((metric_length(errors_HV, logits_HV[part]) ** 2).sum())
    return float(np.sqrt(squares / len(logits_HV)))


def _rounding(logits_NV: FloatArray) -> float:
    """What float32 makes of logits so large."""
    import numpy as np

    return float(2.0**-20 * np.abs(logits_NV).max(initial=0))
