"""The interface for authors of components: hooks, options, interfaces and values, all imported from here.

Every name of `interfaces` and `values` is public. None of this imports torch, and NumPy comes only with the two types
of arrays, so a plugin's modules may import from here and stay quick to load.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdkit.api import interfaces, values
from kdkit.api.hookspecs import Register, hookimpl
from kdkit.api.interfaces import *  # noqa: F403 - all of them, each named in one place
from kdkit.api.options import (
    FineTuning,
    Generation,
    TargetWriting,
    TokenLimits,
    Training,
    at_least_one,
    not_negative,
    one_of,
    option,
    positive,
    share,
)
from kdkit.api.schedules import EachValue, Schedule, value_at, values_of
from kdkit.api.trackers import TRACKING_FOLDER, require_package, tracking_id
from kdkit.api.values import *  # noqa: F403 - the same
from kdkit.api.vocabulary import Vocabulary
from kdkit.system.files import size_text, user_path
from kdkit.system.progress import Progress, Silent, StageShown, Task

if TYPE_CHECKING:
    from kdkit.api.arrays import CodecState, FloatArray

__all__ = [
    "TRACKING_FOLDER",
    "CodecState",
    "EachValue",
    "FineTuning",
    "FloatArray",
    "Generation",
    "Progress",
    "Register",
    "Schedule",
    "Silent",
    "StageShown",
    "TargetWriting",
    "Task",
    "TokenLimits",
    "Training",
    "Vocabulary",
    "at_least_one",
    "hookimpl",
    "not_negative",
    "one_of",
    "option",
    "positive",
    "require_package",
    "share",
    "size_text",
    "tracking_id",
    "user_path",
    "value_at",
    "values_of",
]
__all__ += interfaces.__all__
__all__ += values.__all__


def __getattr__(name: str) -> Any:
    """The types of arrays, which import NumPy, are imported when first used."""
    if name not in {"CodecState", "FloatArray"}:
        raise AttributeError(f"module 'kdkit.api' has no attribute {name!r}")
    from kdkit.api import arrays

    return getattr(arrays, name)


def __dir__() -> list[str]:
    return __all__
