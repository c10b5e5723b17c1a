"""Trains only the last layers of a model: all below them stays as it is, and needs no gradient.

Lee, Tang and Lin, "What Would Elsa Do? Freezing Layers During Transformer Fine-Tuning" (2019), find that about a fourth
of the layers reaches nine tenths of the quality of fine-tuning all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdkit.errors import UsageError
from kdkit.models.layers import Stack
from kdkit.models.making import looked_at

if TYPE_CHECKING:
    from collections.abc import Iterator

    import torch


def train_last_layers(module: Any, count: int) -> None:
    """Freeze everything but the last layers of what writes, and the norm after them.

    Args:
        module: A model of transformers: decoder-only, or an encoder-decoder, of which the decoder's layers count.
        count: How many layers.

    Raises:
        UsageError: It has fewer, or it cannot be told which layers they are.
    """
    trained = {id(each) for each in _last(module, count)}
    for parameter in module.parameters():
        parameter.requires_grad_(id(parameter) in trained)


def parameters_of_last_layers(config: Any, count: int) -> int:
    """How many parameters `train_last_layers` trains of a model with this configuration; nothing is allocated.

    Raises:
        UsageError: As of `train_last_layers`.
    """
    return sum(each.numel() for each in _last(looked_at(config), count))


def _last(module: Any, count: int) -> list[torch.nn.Parameter]:
    """The parameters of the last layers and of the norm after them, each once."""
    layers = Stack.of(module, "decoder_layers" if module.config.is_encoder_decoder else "layers").layers
    if count > len(layers):
        where = "decoder" if module.config.is_encoder_decoder else "model"
        raise UsageError(f"fine_tune.layers is {count}, but the {where} has {len(layers)} layers; lower it")
    parts = [*list(layers)[-count:], *_norms_beside(layers, module.get_decoder())]
    return list({id(each): each for part in parts for each in part.parameters()}.values())


def _norms_beside(layers: torch.nn.ModuleList, decoder: torch.nn.Module) -> Iterator[torch.nn.Module]:
    """The norms of a decoder that are neither in a layer nor of its embeddings, and so come after the layers."""
    within = {id(part) for part in layers.modules()}
    for name, part in decoder.named_modules():
        is_norm = "norm" in type(part).__name__.lower() and not list(part.children())
        is_of_embeddings = "emb" in name and name != "embedding_norm"  # LFM2 calls its last norm so
        if is_norm and id(part) not in within and not is_of_embeddings:
            yield part
