"""Types of NumPy arrays; they have a module of their own because only this one imports NumPy when it is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

FloatArray: TypeAlias = npt.NDArray[np.float32]

CodecState: TypeAlias = Mapping[str, npt.NDArray[np.generic]]
"""The state that a `FittedCodec` learns: arrays by name."""
