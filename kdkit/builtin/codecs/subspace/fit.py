"""Fits codec `subspace` to a sample: which coordinates to store, and how wide each of them is.

The coordinates are those in which equal errors cost equally much. Two logit vectors that differ by a small e have a
divergence at temperature t of about e' F e / 2, with F the Fisher information of the softmax there, the covariance of
an entry that is drawn from it, over t**2. So a hidden state's error is measured by

    G = sum over t in (1, 2) of E[W' (diag p - p p') W] / t**2  +  W' W / (4 V)      p = softmax(logits / t), W centred

with the mean over a sample. The last term, the same for every entry, is for tokens that the sample never thinks of, and
for high temperatures. Coordinates in which G is the plain sum of squares are turned to the sample's principal axes.

Letters: N sample tokens, V vocabulary, D hidden, R coordinates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from kdkit.builtin.codecs.subspace.coder import MOST_CLASS_FREQUENCY, Coder, whole_frequencies
from kdkit.builtin.codecs.subspace.layout import CLASSES, NEUTRAL_CLASS, TABLES, scales_of, sigma_of
from kdkit.builtin.codecs.subspace.state import Encoder

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt

    from kdkit.api.values import FloatArray
    from kdkit.builtin.codecs.subspace.layout import IntArray

    Float64Array: TypeAlias = npt.NDArray[np.float64]

TEMPERATURES = (1.0, 2.0)
UNIFORM_SHARE = 0.25
# Tokens whose softmax is taken; a mean over more changes nothing that matters.
METRIC_TOKENS = 1024
FOLDS = 4
# Of the largest: what rounding to float32 leaves of a singular value of 0, squared; and of an eigenvalue of G.
NO_SINGULAR_VALUE = 1e-12
NO_EIGENVALUE = 1e-9
CHUNK = 2**24
# Rounding of logits of magnitude 1 to float32, and of sums over them.
ROUNDING = 2.0**-20
# Real coordinates have somewhat heavier tails than a bell curve's; Student's t with so many degrees fits them.
DEGREES = 12
# Logits so far below the largest are masked.
MASKED = 2.0**14
RADIUS_IN_SIGMAS = 10
# The mean square of what rounding to the nearest whole number does.
NEAREST_SQUARE = 1 / 12


@attrs.frozen(kw_only=True, eq=False)
class Axes:
    """Coordinates of hidden states, the logits of a unit of each, and the logits where all are 0."""

    encoder: Encoder
    basis_RV: FloatArray
    offset_V: FloatArray


def learn_axes(weight_VD: FloatArray, bias_V: FloatArray | None, states_ND: FloatArray) -> Axes:
    """The axes for a linear head and a sample of at least one state."""
    import numpy as np

    # Softmax does not see a constant of a row, and so no part of W that all entries share.
    weight_VD = weight_VD - weight_VD.mean(axis=0, dtype=np.float64).astype(np.float32)
    bias_V = np.zeros(len(weight_VD), np.float32) if bias_V is None else bias_V
    center_D = states_ND.mean(axis=0, dtype=np.float64).astype(np.float32)
    uniform_V = np.full(len(weight_VD), 1 / len(weight_VD))
    space_DR = _row_space(_gram(weight_VD, uniform_V))
    metric_RR = space_DR.T @ _metric(weight_VD, bias_V, states_ND) @ space_DR
    values_R, vectors_RR = np.linalg.eigh(metric_RR)
    root_R = np.sqrt(np.maximum(values_R, NO_EIGENVALUE * values_R.max(initial=0)))
    whiten_DR = space_DR @ (vectors_RR * root_R)
    turn_RR = _principal((states_ND - center_D) @ whiten_DR)
    inverse_RD = turn_RR.T @ (vectors_RR / root_R).T @ space_DR.T
    basis_RV = inverse_RD.astype(np.float32) @ weight_VD.T
    offset_V = weight_VD @ center_D + bias_V
    # Of a bias that masks entries the mean would be so large that float32 rounds all others to it.
    ordinary_V = offset_V >= offset_V.max() - MASKED
    return Axes(
        encoder=Encoder(center_D=center_D, projection_DR=(whiten_DR @ turn_RR).astype(np.float32)),
        basis_RV=basis_RV,
        offset_V=offset_V - offset_V[ordinary_V].mean(dtype=np.float64).astype(np.float32),
    )


def learn_coder(coordinates_NR: FloatArray, step: float, numbers_NR: IntArray | None = None) -> Coder:
    """The entropy coder for coordinates like these, which belong to their own principal axes.

    A sample is narrower along its own principal axes than what comes later, most of all along the last ones: so each
    quarter's spread is taken along the axes of the other three.

    Args:
        coordinates_NR: The sample's.
        step: The quantisation step.
        numbers_NR: What they are rounded to, where that is not the nearest whole numbers of steps.
    """
    import numpy as np

    units_NR = coordinates_NR.astype(np.float64) / step
    squares_R = np.zeros(units_NR.shape[1])
    for fold in np.array_split(np.arange(len(units_NR)), FOLDS):
        others_NR = np.delete(units_NR, fold, axis=0)
        if len(fold) and len(others_NR):
            squares_R += ((units_NR[fold] @ _principal(others_NR - others_NR.mean(axis=0))) ** 2).sum(axis=0)
    # As if one more token were a step away in every coordinate: a sample of one token has no spread.
    spread_R = (squares_R + 1) / (len(units_NR) + 1)
    if numbers_NR is None:
        numbers_NR = np.rint(units_NR).astype(np.int64)
    else:  # a coordinate's error is wider than that of the nearest number, which a scale leaves out
        spread_R += np.maximum(np.square(numbers_NR - units_NR).mean(axis=0) - NEAREST_SQUARE, 0)
    scales_R = scales_of(np.sqrt(spread_R))
    tables = [_table(place) for place in range(TABLES)]
    coder = Coder(
        scales_R=scales_R,
        radii=np.array([len(table) // 2 - 1 for table in tables], np.uint16),
        frequencies=np.concatenate(tables),
        class_frequencies_C=_class_frequencies(np.array([NEUTRAL_CLASS])),
    )
    classes_N = coder.classes(numbers_NR)
    return attrs.evolve(coder, class_frequencies_C=_class_frequencies(classes_N))


def metric_length(errors_NV: FloatArray, logits_NV: FloatArray) -> Float64Array:
    """The length of each row of logit errors by the metric at the row's own logits: what a divergence feels of them."""
    import numpy as np

    squares_N = UNIFORM_SHARE * errors_NV.var(axis=1, dtype=np.float64)
    for temperature in TEMPERATURES:
        probability_NV = _softmax(logits_NV, temperature)
        mean_N1 = (probability_NV * errors_NV).sum(axis=1, keepdims=True, dtype=np.float64)
        squares_N += (probability_NV * (errors_NV - mean_N1) ** 2).sum(axis=1) / temperature**2
    lengths_N: Float64Array = np.sqrt(squares_N)
    return lengths_N


def allowed_length(rank: int, step: float, largest_T: npt.NDArray[np.floating[Any]]) -> Float64Array:
    """How far outside of a space each row may lie to be encoded, by the metric: as far as rounding takes it anyway.

    Args:
        rank: Dimensions of the space.
        step: The quantisation step.
        largest_T: The largest magnitude of each row's logits.
    """
    import numpy as np

    return np.maximum(step_length(rank, step), rounding_length(largest_T))


def step_length(rank: int, step: float) -> float:
    """The root mean square length of what rounding the coordinates to multiples of the step does."""
    return float(step * (max(rank, 1) / 12) ** 0.5)


def rounding_length(largest_T: npt.NDArray[np.floating[Any]]) -> Float64Array:
    """The length of what float32 does to rows of logits so large, and to sums over them."""
    lengths_T: Float64Array = ROUNDING * largest_T.astype("float64")
    return lengths_T


def longest_of(errors_N: npt.NDArray[np.floating[Any]]) -> Float64Array:
    """The greatest length that rows can have whose errors are no larger than these."""
    import numpy as np

    # Nothing varies by more than the square of its magnitude.
    share = UNIFORM_SHARE + sum(temperature**-2 for temperature in TEMPERATURES)
    lengths_N: Float64Array = errors_N.astype(np.float64) * np.sqrt(share)
    return lengths_N


def chunks(rows: int, width: int) -> Iterator[slice]:
    """Slices of rows, each of so few that an array of that width stays small."""
    height = max(1, CHUNK // max(width, 1))
    return (slice(start, start + height) for start in range(0, rows, height))


def _metric(weight_VD: FloatArray, bias_V: FloatArray, states_ND: FloatArray) -> Float64Array:
    import numpy as np

    chosen_ND = states_ND[:: -(-len(states_ND) // METRIC_TOKENS)]
    entries, hidden = weight_VD.shape
    metric_DD = np.zeros((hidden, hidden))
    mass_V = np.full(entries, UNIFORM_SHARE / entries)
    for part in chunks(len(chosen_ND), entries):
        logits_NV = chosen_ND[part] @ weight_VD.T + bias_V
        for temperature in TEMPERATURES:
            probability_NV = _softmax(logits_NV, temperature)
            share = 1 / (len(chosen_ND) * temperature**2)
            mass_V += share * probability_NV.sum(axis=0, dtype=np.float64)
            mean_ND = (probability_NV @ weight_VD).astype(np.float64)
            metric_DD -= share * mean_ND.T @ mean_ND
    metric_DD += _gram(weight_VD, mass_V)
    return metric_DD


def _gram(weight_VD: FloatArray, mass_V: Float64Array) -> Float64Array:
    import numpy as np

    gram_DD = np.zeros((weight_VD.shape[1],) * 2)
    for part in chunks(len(weight_VD), weight_VD.shape[1]):
        rows_VD = weight_VD[part].astype(np.float64) * np.sqrt(mass_V[part])[:, None]
        gram_DD += rows_VD.T @ rows_VD
    return gram_DD


def _row_space(gram_DD: Float64Array) -> Float64Array:
    """An orthonormal basis of what a head with this Gram matrix tells apart."""
    import numpy as np

    values_D, vectors_DD = np.linalg.eigh(gram_DD)
    return vectors_DD[:, values_D > NO_SINGULAR_VALUE * max(values_D.max(initial=0), np.finfo(np.float32).tiny)]


def _principal(centred_NR: npt.NDArray[Any]) -> Float64Array:
    """The principal axes, widest first, as columns."""
    import numpy as np

    wide_NR = centred_NR.astype(np.float64)
    vectors_RR: Float64Array = np.linalg.eigh(wide_NR.T @ wide_NR)[1]
    return vectors_RR[:, ::-1]


def _softmax(logits_NV: FloatArray, temperature: float) -> FloatArray:
    import numpy as np

    shifted_NV: FloatArray = logits_NV - logits_NV.max(axis=1, keepdims=True)
    if temperature != 1:
        shifted_NV /= np.float32(temperature)
    np.exp(shifted_NV, out=shifted_NV)
    shifted_NV /= shifted_NV.sum(axis=1, keepdims=True)
    return shifted_NV


def _table(place: int) -> npt.NDArray[np.uint32]:
    """Frequencies of -radius ... radius and of all else, for a rounded number of the spread of that place."""
    import numpy as np

    sigma = float(sigma_of(np.array([place], np.uint8))[0])
    radius = max(2, int(np.ceil(RADIUS_IN_SIGMAS * sigma)))
    fineness = 32
    middles = (np.arange((2 * radius + 1) * fineness) + 0.5) / fineness - radius - 0.5
    width = sigma * np.sqrt((DEGREES - 2) / DEGREES)
    density = (1 + (middles / width) ** 2 / DEGREES) ** (-(DEGREES + 1) / 2)
    inside = density.reshape(-1, fineness).sum(axis=1)
    return whole_frequencies(np.append(inside, 1e-5 * inside.sum()))


def _class_frequencies(classes_N: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.uint32]:
    """Frequencies of the classes; one that the sample lacks is likelier the nearer it is to one that it has."""
    import numpy as np

    counts_C = np.bincount(classes_N, minlength=CLASSES).astype(np.float64)
    places_C = np.arange(CLASSES)
    kernel_CC = 0.1 ** np.abs(places_C[:, None] - places_C)
    spread_CC = 0.7 ** np.abs(places_C[:, None] - places_C)
    weights_C = kernel_CC @ counts_C + 0.05 * spread_CC @ counts_C + 1e-3
    return whole_frequencies(weights_C, most=MOST_CLASS_FREQUENCY)
