"""Estimates an output head from a sample of its logits: the space they lie in, and proof that others do too.

Letters: N sample tokens, V vocabulary, R dimensions of the space.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.builtin.codecs.subspace.fit import (
    allowed_length,
    chunks,
    metric_length,
    rounding_length,
    step_length,
)
from kdkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt

    from kdkit.api.values import FloatArray
    from kdkit.builtin.codecs.subspace.fit import Float64Array

# Every fourth token is kept out of the estimate, to judge it by.
HELD_OUT = 4
# Of what encoding allows, how far outside of the space every held-out token may lie: in some direction a later one may
# be so many times as wide as all of them, and many there are.
NEAR = 1 / 64
# The same where no space is so near, because the logits are rounded; then the furthest may lie so many times as far as
# their root mean square, for of heavier tails than that a later token has no bound.
NEAR_ENOUGH, HEAVIEST = 1 / 2, 4.0
# The mean square by which a space is chosen weighs all entries and tokens alike; where that misjudges it, a closer one
# is tried.
NEAR_SHARE, CLOSER = 1e-4, (0.25, 0.0625, 0.015, 0.0025)


@attrs.frozen(kw_only=True, eq=False)
class EstimatedHead:
    """A head, and the states that give the sample's logits, but for a constant of each row."""

    weight_VR: FloatArray
    states_NR: FloatArray


@attrs.frozen(kw_only=True, eq=False)
class _Candidate:
    """A space that may be chosen, and what of a token may lie outside of it, of what encoding allows."""

    rank: int
    share: float


def estimate_head(logits_NV: FloatArray, *, step: float) -> EstimatedHead:
    """The smallest space in which logits lie that it was not made from, each of them by far.

    Args:
        logits_NV: The sample; it is centred in place.
        step: The quantisation step: nearer than about this the space need not be.

    Raises:
        UsageError: There is no such space: the logits are not a linear function of few numbers, or the sample is small.
    """
    import numpy as np

    count = len(logits_NV)
    if count < 2:
        raise UsageError(
            f"subspace learns its space from the logits of at least 2 tokens, but got {count}; give more, or "
            "use another codec"
        )
    largest_N = np.abs(logits_NV).max(axis=1)
    for part in chunks(count, logits_NV.shape[1]):
        logits_NV[part] -= logits_NV[part].mean(axis=1, keepdims=True, dtype=np.float64).astype(np.float32)
    held_N = np.arange(count) % HELD_OUT == HELD_OUT - 1 if count >= HELD_OUT else np.arange(count) == count - 1
    fitted_FV, held_HV = logits_NV[~held_N], logits_NV[held_N]
    squares_F, vectors_FF, inner_NF = _decompose(logits_NV, held_N)
    outside = _outside(held_HV, inner_NF[held_N] @ vectors_FF / np.sqrt(squares_F))
    sentence = ""
    for candidate in _candidates(outside, len(fitted_FV), step):
        rank = candidate.rank
        weight_VR = _weight(fitted_FV, vectors_FF[:, :rank] / np.sqrt(squares_F[:rank]))
        lengths_H = _lengths_outside(held_HV, weight_VR)
        allowed_H = allowed_length(rank, step, largest_N[held_N])
        worst = int((lengths_H / allowed_H).argmax())
        limit = max(candidate.share * step_length(rank, step), rounding_length(largest_N[held_N])[worst])
        mean = float(np.sqrt((lengths_H**2).mean()))
        bound = limit
        if candidate.share == NEAR_ENOUGH:
            bound = min(limit, max(HEAVIEST * mean, NEAR * limit))
        if lengths_H[worst] <= bound:
            return EstimatedHead(weight_VR=weight_VR, states_NR=_states(logits_NV, weight_VR))
        allowed = f"step = {step:g} allows {limit:.3g}; the average is {mean:.3g}"
        if lengths_H[worst] <= limit:
            allowed = f"with an average of {mean:.3g} only {bound:.3g} is allowed"
        sentence = (
            f"a space of {rank} dimensions, learnt from {len(fitted_FV)} tokens, misses one of {len(held_HV)} "
            f"others by {lengths_H[worst]:.3g}, but {allowed}"
        )
    raise UsageError(
        f"these logits are not a linear function of few numbers: {sentence}. Possible causes: a soft-capped "
        "head, logits rounded to 16 bits, or a sample of fewer tokens than the teacher has hidden "
        'dimensions; use more tokens, a larger step, or the codec "u8-lz4"'
    )


def _outside(held_HV: FloatArray, coordinates_HF: Float64Array) -> Float64Array:
    """The mean square of a held-out logit outside of the space of the first 0, 1, 2 ... dimensions."""
    import numpy as np

    total_H = np.zeros(len(held_HV))
    for part in chunks(*held_HV.shape):
        total_H[part] = np.square(held_HV[part], dtype=np.float64).sum(axis=1)
    outside = np.maximum(total_H[:, None] - np.cumsum(coordinates_HF**2, axis=1), 0).mean(axis=0)
    mean_squares: Float64Array = np.append(total_H.mean(), outside) / held_HV.shape[1]
    return mean_squares


def _candidates(outside: Float64Array, fitted: int, step: float) -> Iterator[_Candidate]:
    """Spaces in the order in which they are tried: near ones, if there are any, and then those near enough."""
    import numpy as np

    most = len(outside) - 1
    allowed = NEAR_ENOUGH**2 * step**2 / 12 * np.maximum(np.arange(len(outside)), 1)

    def within(share: float) -> int | None:
        enough = np.flatnonzero(outside <= share * allowed)
        return int(enough[0]) if len(enough) else None

    near = within(NEAR_SHARE)
    ranks = {rank for rank in (near, most if most < fitted else None) if rank is not None}
    yield from (_Candidate(rank=rank, share=NEAR) for rank in sorted(ranks))
    yield from (
        _Candidate(rank=rank if rank is not None else most, share=NEAR_ENOUGH)
        for rank in dict.fromkeys(map(within, CLOSER))
    )


def _decompose(logits_NV: FloatArray, held_N: npt.NDArray[np.bool_]) -> tuple[Float64Array, Float64Array, Float64Array]:
    """Squared singular values, largest first; the left vectors of the fitted rows; products of all rows with them."""
    import numpy as np

    inner_NF = np.zeros((len(logits_NV), int((~held_N).sum())))
    # In float64: squares hide what is a thousand times narrower than the widest direction below float32's rounding.
    for part in chunks(logits_NV.shape[1], 8192):
        slice_NV = logits_NV[:, part].astype(np.float64)
        inner_NF += slice_NV @ slice_NV[~held_N].T
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


def _lengths_outside(logits_HV: FloatArray, weight_VR: FloatArray) -> Float64Array:
    """The length of what the space misses of each row, by the metric."""
    import numpy as np

    lengths_H = np.zeros(len(logits_HV))
    for part in chunks(len(logits_HV), logits_HV.shape[1]):
        errors_HV = logits_HV[part] - _states(logits_HV[part], weight_VR) @ weight_VR.T
        lengths_H[part] = metric_length(errors_HV, logits_HV[part])
    return lengths_H
