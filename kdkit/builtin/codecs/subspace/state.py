"""The state that the records of a cache with codec `subspace` share, as arrays and back.

Letters: V vocabulary, D hidden, R coordinates, C classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit.builtin.codecs.subspace.coder import MOST_CLASS_FREQUENCY, TOTAL, WIDEST_TABLE, Coder
from kdkit.builtin.codecs.subspace.layout import CLASSES, PLACES, TABLES
from kdkit.errors import DamagedData

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from kdkit.api.interfaces.codecs import CodecState
    from kdkit.api.values import FloatArray

    Arrays = dict[str, npt.NDArray[np.generic]]

# Name: kinds of number, and the letters of its shape; 1 stands for itself, F for any length.
SHARED = {
    "basis": (("float16", "float32"), "RV"),
    "offset": (("float32",), "V"),
    "step": (("float64",), "1"),
    "scales": (("uint8",), "R"),
    "radii": (("uint16",), "K"),
    "frequencies": (("uint32",), "F"),
    "class_frequencies": (("uint32",), "C"),
}
OF_A_HEAD = {
    "center": (("float32",), "D"),
    "projection": (("float32",), "DR"),
}


@attrs.frozen(kw_only=True, eq=False)
class Encoder:
    """From hidden states to coordinates: `(states - center_D) @ projection_DR`."""

    center_D: FloatArray
    projection_DR: FloatArray

    def coordinates(self, states_TD: FloatArray) -> FloatArray:
        """The coordinates `[T, R]` of hidden states."""
        import numpy as np

        coordinates_TR: FloatArray = np.matmul(states_TD - self.center_D, self.projection_DR, dtype=np.float32)
        return coordinates_TR


@attrs.frozen(kw_only=True, eq=False)
class State:
    """A learnt state.

    Attributes:
        basis_RV: float16 or float32, the logits of a unit of each coordinate.
        offset_V: float32, the logits where all coordinates are 0.
        step: What a whole number of the coder stands for.
        coder: The entropy coder.
        encoder: None where the state was learnt from logits.
    """

    basis_RV: npt.NDArray[np.floating[Any]]
    offset_V: FloatArray
    step: float
    coder: Coder
    encoder: Encoder | None

    @property
    def vocab_size(self) -> int:
        """Width of the logits."""
        return int(self.basis_RV.shape[1])

    @property
    def rank(self) -> int:
        """How many coordinates a token has, R."""
        return int(self.basis_RV.shape[0])

    def arrays(self) -> Arrays:
        """The state as a cache keeps it."""
        import numpy as np

        arrays: Arrays = {
            "basis": self.basis_RV,
            "offset": self.offset_V,
            "step": np.array([self.step], np.float64),
            "scales": self.coder.scales_R,
            "radii": self.coder.radii,
            "frequencies": self.coder.frequencies,
            "class_frequencies": self.coder.class_frequencies_C,
        }
        if self.encoder is not None:
            arrays |= {"center": self.encoder.center_D, "projection": self.encoder.projection_DR}
        return arrays


def read_state(arrays: CodecState) -> State:
    """The state that a cache kept.

    Raises:
        DamagedData: It is none that `fit` or `fit_head` gives; the message says what is wrong with it.
    """
    import numpy as np

    wanted = SHARED | (OF_A_HEAD if OF_A_HEAD.keys() & arrays.keys() else {})
    if wanted.keys() != arrays.keys():
        raise DamagedData(
            f"the state has the arrays {', '.join(sorted(arrays)) or 'none'}; subspace needs "
            f"{', '.join(sorted(wanted))}"
        )
    _check_shapes(arrays, wanted)
    step = float(arrays["step"][0])
    if not (np.isfinite(step) and step > 0):
        raise DamagedData(f'"step" is {step:g} in the state; it must be above 0')
    for name in ("basis", "offset", "center", "projection"):
        if name in wanted and arrays[name].size and not np.isfinite(arrays[name]).all():
            raise DamagedData(f'"{name}" in the state has values that are not finite')
    encoder = None
    if "center" in wanted:
        encoder = Encoder(center_D=_plain(arrays["center"]), projection_DR=_plain(arrays["projection"]))
    return State(
        basis_RV=_plain(arrays["basis"]),
        offset_V=_plain(arrays["offset"]),
        step=step,
        coder=_read_coder(arrays),
        encoder=encoder,
    )


def _plain(array: npt.NDArray[np.generic]) -> npt.NDArray[Any]:
    import numpy as np

    return np.ascontiguousarray(array)


def _check_shapes(arrays: CodecState, wanted: dict[str, tuple[tuple[str, ...], str]]) -> None:
    sizes = {"1": 1, "K": TABLES, "C": CLASSES}
    for name, (kinds, letters) in wanted.items():
        array = arrays[name]
        if array.dtype.name not in kinds or array.ndim != len(letters):
            raise DamagedData(
                f'"{name}" in the state is {array.dtype.name} {list(array.shape)}; {" or ".join(kinds)} with '
                f"{len(letters)} dimensions expected"
            )
        for letter, size in zip(letters, array.shape, strict=True):
            if sizes.setdefault(letter, size) != size:
                raise DamagedData(f'"{name}" in the state has shape {list(array.shape)}; {sizes[letter]} expected')
    if sizes["V"] < 1:
        raise DamagedData('"basis" in the state has no entries')


def _read_coder(arrays: CodecState) -> Coder:
    import numpy as np

    scales_R, radii = _plain(arrays["scales"]), _plain(arrays["radii"])
    frequencies, classes_C = _plain(arrays["frequencies"]), _plain(arrays["class_frequencies"])
    if scales_R.max(initial=0) >= PLACES:
        raise DamagedData(f'"scales" in the state has {scales_R.max()}, but the largest possible is {PLACES - 1}')
    widths = 2 * radii.astype(np.int64) + 2
    if widths.max() > WIDEST_TABLE or widths.sum() != len(frequencies):
        raise DamagedData('"radii" in the state do not match its "frequencies"')
    sums = np.add.reduceat(frequencies.astype(np.int64), np.cumsum(widths) - widths)
    if (sums != TOTAL).any() or frequencies.min() < 1:
        raise DamagedData('"frequencies" in the state hold a table that does not sum to 2^24, or with an entry of 0')
    if classes_C.sum(dtype=np.int64) != TOTAL or classes_C.min() < 1 or classes_C.max() > MOST_CLASS_FREQUENCY:
        raise DamagedData('"class_frequencies" in the state are not between 1 and 2^22, or do not sum to 2^24')
    return Coder(scales_R=scales_R, radii=radii, frequencies=frequencies, class_frequencies_C=classes_C)
