"""kdkit: knowledge distillation for language models, from cached teacher logits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdkit.losses import distillation_loss
    from kdkit.pipeline import run
    from kdkit.recipe import load_recipe, load_sweep
    from kdkit.sweeps.run import run_sweep

__all__ = ["__version__", "distillation_loss", "load_recipe", "load_sweep", "run", "run_sweep"]
__version__ = "0.1.0"

_LAZY = {
    "distillation_loss": "kdkit.losses",
    "load_recipe": "kdkit.recipe",
    "load_sweep": "kdkit.recipe",
    "run": "kdkit.pipeline",
    "run_sweep": "kdkit.sweeps.run",
}


def __getattr__(name: str) -> Any:
    """Public functions are imported when first used, so that `import kdkit` stays light."""
    if name not in _LAZY:
        raise AttributeError(f"module 'kdkit' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LAZY[name]), name)
