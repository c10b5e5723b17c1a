"""Makes models from a configuration, with weights or without."""

from __future__ import annotations

import copy
import functools
import warnings
from typing import Any

import attrs
import torch

from kdkit.api.values import ModelSize
from kdkit.errors import UsageError
from kdkit.models.auto import auto_of
from kdkit.models.heads import logit_width
from kdkit.models.open_model import count_parameters
from kdkit.models.quiet import quiet


def new_model(config: Any, *, seed: int) -> Any:
    """A model of a configuration, with initial weights drawn from the seed.

    Raises:
        UsageError: The numbers do not make a model (a width that its heads do not divide, say).
    """
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(seed)
        return _from_config(config)


def empty_model(config: Any) -> Any:
    """A model of a configuration whose weights have shapes but no numbers: nothing is allocated.

    Raises:
        UsageError: The numbers do not make a model.
    """
    with quiet(), torch.device("meta"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")  # said below, as an error
        module = _from_config(config)
    empty = next((name for name, parameter in module.named_parameters() if not parameter.numel()), None)
    if empty is not None:
        raise UsageError(
            f"config makes a {config.model_type} model whose {empty} is empty; set every width in it above 0"
        )
    return module


def looked_at(config: Any) -> Any:
    """A model as `empty_model` makes it, made once for a configuration: to be looked at, never changed.

    A run asks several times for the sizes and the layers of the same two models.

    Raises:
        UsageError: The numbers do not make a model.
    """
    return _made_once(
        _Written(text=f"{type(config).__qualname__} {config.to_json_string(use_diff=False)}", config=config)
    )


@attrs.frozen(kw_only=True)
class _Written:
    """A configuration, known by what it says."""

    text: str
    config: Any = attrs.field(eq=False)


@functools.lru_cache(maxsize=8)
def _made_once(written: _Written) -> Any:
    return empty_model(copy.deepcopy(written.config))


def size_of(config: Any) -> ModelSize:
    """Parameters and vocabulary of a configuration; nothing is allocated.

    Raises:
        UsageError: The numbers do not make a model.
    """
    module = looked_at(config)
    return ModelSize(
        parameters=count_parameters(module),
        vocab_size=logit_width(module),
        source_vocab_size=int(module.get_input_embeddings().weight.shape[0]),
    )


def _from_config(config: Any) -> Any:
    """A new model; call within `quiet`, so that no other thread is in transformers."""
    try:
        return auto_of(config).loader.from_config(config, trust_remote_code=False)
    except Exception as error:  # whatever a class of transformers trips over in a configuration
        raise UsageError(f"config does not make a {config.model_type} model: {error}") from error
