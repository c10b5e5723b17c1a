"""Gradient checkpointing and compilation, which save memory or time during training.

Both are contexts, and leave the module as it was. Within them they work while the module is in training mode alone:
what is generated or measured between two epochs goes the plain way, with its cache.
"""

from __future__ import annotations

import functools
import logging
import warnings
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

import torch

from kdkit.api.interfaces import LeanModel
from kdkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from kdkit.api.interfaces import TextModel
    from kdkit.api.options import Training


CACHE_SAID = "incompatible with gradient checkpointing"


def lean(model: TextModel, options: Training) -> AbstractContextManager[None]:
    """Make a model take as little memory or time as the options say, while the context lasts.

    Raises:
        UsageError: They ask for what the model cannot do.
    """
    wanted = [name for name in ("gradient_checkpointing", "compile", "packing") if getattr(options, name)]
    if not wanted:
        return nullcontext()
    if not isinstance(model, LeanModel):
        raise UsageError(
            f"{wanted[0]} = true, but a {type(model).__name__} does not let kdkit change how it is "
            "computed; set it to false"
        )
    return model.lean(options)


@contextmanager
def recomputed(module: Any) -> Iterator[None]:
    """Keep the inputs of each layer only, and run the layer again for its gradient, with the noise it had.

    Raises:
        UsageError: The model's class does not support it.
    """
    if not module.supports_gradient_checkpointing:
        raise UsageError(
            f"gradient_checkpointing = true, but transformers' {type(module).__name__} does not support it; "
            "set it to false; to save memory use smaller micro-batches with more accumulation"
        )
    with warnings.catch_warnings():
        # Newer releases call it activation checkpointing, and will have both names until version 6.
        warnings.filterwarnings("ignore", r".gradient_checkpointing_enable.", FutureWarning)
        module.gradient_checkpointing_enable({"use_reentrant": False})
    # Some encoders hear of a cache from their configuration alone, and say that they give up what they never have.
    logger = logging.getLogger("transformers.utils.generic")
    logger.addFilter(_says_more)
    try:
        yield
    finally:
        logger.removeFilter(_says_more)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r".gradient_checkpointing_disable.", FutureWarning)
            module.gradient_checkpointing_disable()
        if hasattr(module, "_require_grads_hook"):  # which enabling may set, for adapters, and disabling forget
            module.disable_input_require_grads()


def _says_more(record: logging.LogRecord) -> bool:
    return CACHE_SAID not in record.getMessage()


@contextmanager
def compiled(module: Any) -> Iterator[None]:
    """Compile all of a model but its output head, for all lengths and numbers of rows at once.

    Raises:
        UsageError: The model has no encoder and decoder, or no decoder, that can be compiled apart from its head.
    """
    with ExitStack() as stack:
        for part in _parts(module):
            stack.enter_context(_compiled_in_training(part))
        yield


def _parts(module: Any) -> tuple[torch.nn.Module, ...]:
    """What is compiled: encoder and decoder; of a decoder-only model, what is before its head."""
    if module.config.is_encoder_decoder:
        return _encoder_and_decoder(module)
    body = module.base_model
    if body is module or any(module.get_output_embeddings() is each for each in body.modules()):
        raise UsageError(
            f"compile = true, but {type(module).__name__} has no part separate from its output head, which is what "
            "kdkit compiles; set it to false"
        )
    return (body,)


def _encoder_and_decoder(module: Any) -> tuple[torch.nn.Module, torch.nn.Module]:
    encoder, decoder, head = module.get_encoder(), module.get_decoder(), module.get_output_embeddings()
    inner = [part for part in (encoder, decoder) if isinstance(part, torch.nn.Module) and part is not module]
    if len(inner) < 2 or encoder is decoder or any(head is each for part in inner for each in part.modules()):
        raise UsageError(
            f"compile = true, but {type(module).__name__} has no encoder and decoder separate from its output "
            "head, which are the parts that kdkit compiles; set it to false"
        )
    return encoder, decoder


@contextmanager
def _compiled_in_training(part: torch.nn.Module) -> Iterator[None]:
    """Replace the plain forward pass with a compiled one, inside the module's hooks."""
    plain = part.forward
    # Past a limit of its own, torch continues without compiling: there is no end of compilations.
    quick = _refusing(torch.compile(plain, dynamic=True))

    @functools.wraps(plain)  # generation looks at its arguments
    def forward(*arguments: Any, **named: Any) -> Any:
        return (quick if part.training else plain)(*arguments, **named)

    part.forward = forward
    try:
        yield
    finally:
        del part.forward


def _refusing(compiled: Callable[..., Any]) -> Callable[..., Any]:
    """Say in a sentence that compiling fails; errors of the model itself pass through."""
    from torch._dynamo.exc import TorchDynamoException  # torch has no public name for it

    def run(*arguments: Any, **named: Any) -> Any:
        try:
            return compiled(*arguments, **named)
        except TorchDynamoException as error:
            said = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise UsageError(
                f"compile = true, but torch.compile fails here ({said[:200]}); install what it needs (on the "
                "CPU a C++ compiler), or set it to false"
            ) from error

    return run
