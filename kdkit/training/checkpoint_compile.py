"""What a training's options ask of the model itself."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING

from kdkit.api.interfaces import LeanModel
from kdkit.errors import UsageError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from kdkit.api.interfaces import TextModel
    from kdkit.api.options import Training


def lean(model: TextModel, options: Training) -> AbstractContextManager[None]:
    """Make a model take as little memory or time as the options say, while the context lasts.

    Raises:
        UsageError: They ask for what the model cannot do.
    """
    wanted = [name for name in ("gradient_checkpointing", "compile") if getattr(options, name)]
    if not wanted:
        return nullcontext()
    if not isinstance(model, LeanModel):
        raise UsageError(
            f"{wanted[0]} = true, but a {type(model).__name__} leaves how it is computed to itself; set it to false"
        )
    return model.lean(options)
