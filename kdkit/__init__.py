"""kdkit: knowledge distillation for language models, from cached teacher logits.

The public rooms are this one, for scripts and the entry module of a plugin; `kdkit.api`, for authors of components;
`kdkit.data`, `kdkit.errors`, `kdkit.losses` and `kdkit.testing`. Each lists its names in `__all__`. All else may move.
"""

from __future__ import annotations

import importlib
import importlib.metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kdkit import api, data, errors, losses, testing
    from kdkit.api.hookspecs import hookimpl
    from kdkit.api.options import option
    from kdkit.logits.cache.reader import LogitCache
    from kdkit.losses.mixture import distillation_loss
    from kdkit.pipeline.evaluate import evaluate
    from kdkit.pipeline.predict import predict
    from kdkit.pipeline.run import run
    from kdkit.pipeline.sweep import run_sweep
    from kdkit.plugins.loading import load as load_plugins
    from kdkit.recipe.load import load_recipe
    from kdkit.sweeps.reading import load_sweep

    __version__: str

__all__ = [
    "LogitCache",
    "__version__",
    "api",
    "data",
    "distillation_loss",
    "errors",
    "evaluate",
    "hookimpl",
    "load_plugins",
    "load_recipe",
    "load_sweep",
    "losses",
    "option",
    "predict",
    "run",
    "run_sweep",
    "testing",
]
_ROOMS = {"api", "data", "errors", "losses", "testing"}
_PLACES = {
    "LogitCache": "kdkit.logits.cache:LogitCache",
    "distillation_loss": "kdkit.losses:distillation_loss",
    "evaluate": "kdkit.pipeline.evaluate:evaluate",
    "hookimpl": "kdkit.api.hookspecs:hookimpl",
    "load_plugins": "kdkit.plugins:load",
    "load_recipe": "kdkit.recipe:load_recipe",
    "load_sweep": "kdkit.sweeps.reading:load_sweep",
    "option": "kdkit.api.options:option",
    "predict": "kdkit.pipeline.predict:predict",
    "run": "kdkit.pipeline.run:run",
    "run_sweep": "kdkit.pipeline.sweep:run_sweep",
}


def __getattr__(name: str) -> Any:
    """Public names are imported when first used, so that `import kdkit` stays light."""
    if name == "__version__":
        return importlib.metadata.version("kdkit")
    if name in _ROOMS:
        return importlib.import_module(f"kdkit.{name}")
    if name not in _PLACES:
        raise AttributeError(f"module 'kdkit' has no attribute {name!r}")
    module, _, attribute = _PLACES[name].partition(":")
    return getattr(importlib.import_module(module), attribute)


def __dir__() -> list[str]:
    return __all__
