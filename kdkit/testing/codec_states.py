"""What the state of every codec that learns must be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.errors import DamagedData

if TYPE_CHECKING:
    from kdkit.api.interfaces import FittedCodec
    from kdkit.api.interfaces.codecs import CodecState


def check_same_state(codec: FittedCodec, one: CodecState, other: CodecState) -> None:
    """Equal samples give equal states."""
    import numpy as np

    assert one.keys() == other.keys(), f"{codec!r} learns other arrays from the same sample"
    for name, array in one.items():
        assert isinstance(array, np.ndarray), f"the state {name!r} of {codec!r} is not a NumPy array"
        same = array.dtype == other[name].dtype and array.tobytes() == other[name].tobytes()
        assert same, f"{codec!r} learns another {name!r} from the same sample"


def check_bad_states(codec: FittedCodec, state: CodecState) -> None:
    """A state with an array that is missing, of another shape or kind, or not finite, is damage."""
    import numpy as np

    def refused(what: str, damaged: CodecState) -> None:
        try:
            codec.bind(damaged)
        except DamagedData:
            return
        except Exception as error:
            raise AssertionError(
                f"{codec!r} meets a state with {what} with {type(error).__name__} instead of DamagedData"
            ) from error
        raise AssertionError(f"{codec!r} binds a state with {what} instead of raising DamagedData")

    refused("no arrays", {})
    for name, array in state.items():
        refused(f"no {name!r}", {key: value for key, value in state.items() if key != name})
        refused(f"one dimension more in {name!r}", {**state, name: array[None]})
        refused(f"complex numbers in {name!r}", {**state, name: array.astype(np.complex64)})
        if array.size and np.issubdtype(array.dtype, np.floating):
            for value in (np.nan, np.inf):
                wrong = array.copy()
                wrong.flat[-1] = value
                refused(f"{value} in {name!r}", {**state, name: wrong})
