"""kdkit: knowledge distillation for language models, from cached teacher logits."""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from kdkit.losses import distillation_loss
    from kdkit.pipeline.run import run
    from kdkit.pipeline.sweep import run_sweep
    from kdkit.recipe import load_recipe
    from kdkit.sweeps.reading import load_sweep

__all__ = ["__version__", "distillation_loss", "load_recipe", "load_sweep", "run", "run_sweep"]
_LAZY = {
    "distillation_loss": "kdkit.losses",
    "load_recipe": "kdkit.recipe",
    "load_sweep": "kdkit.sweeps.reading",
    "run": "kdkit.pipeline.run",
    "run_sweep": "kdkit.pipeline.sweep",
}


def __getattr__(name: str) -> Any:
    """Public functions are imported when first used, so that `import kdkit` stays light."""
    if name == "__version__":
        return importlib.metadata.version("kdkit")
    if name not in _LAZY:
        raise AttributeError(f"module 'kdkit' has no attribute {name!r}")
    return getattr(importlib.import_module(_LAZY[name]), name)
