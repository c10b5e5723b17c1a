"""New encoder-decoders: from a configuration, or from some layers of another model."""

from __future__ import annotations

import copy
import re
import warnings
from typing import TYPE_CHECKING, Any

import torch

from kdkit.api.values import ModelSize
from kdkit.errors import UsageError
from kdkit.models.heads import logit_width
from kdkit.models.loading import quiet
from kdkit.models.seq2seq import count_parameters

if TYPE_CHECKING:
    from collections.abc import Sequence

LAYER_FIELDS = (("num_layers", "num_decoder_layers"), ("encoder_layers", "decoder_layers"))
LAYER_NAME = re.compile(r"\b(encoder|decoder)\.(block|layers)\.(\d+)\.")


def new_model(config: Any, *, seed: int) -> Any:
    """A model of a configuration, with initial weights drawn from the seed.

    Raises:
        UsageError: There is no model of such numbers (a width that its heads do not divide, say).
    """
    with quiet(), torch.random.fork_rng():
        torch.manual_seed(seed)
        return _from_config(config)


def size_of(config: Any) -> ModelSize:
    """Parameters and vocabulary of a configuration; nothing is allocated.

    Raises:
        UsageError: There is no model of such numbers.
    """
    with quiet(), torch.device("meta"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Initializing zero-element tensors")  # said below, as an error
        module = _from_config(config)
    empty = next((name for name, parameter in module.named_parameters() if not parameter.numel()), None)
    if empty is not None:
        raise UsageError(f"config makes a {config.model_type} model whose {empty} is empty; no width in it may be 0")
    return ModelSize(
        parameters=count_parameters(module),
        vocab_size=logit_width(module),
        source_vocab_size=int(module.get_input_embeddings().weight.shape[0]),
    )


def _from_config(config: Any) -> Any:
    """A model, with no other thread in transformers: call it within `quiet`."""
    from transformers import AutoModelForSeq2SeqLM

    try:
        return AutoModelForSeq2SeqLM.from_config(config, trust_remote_code=False)
    except (ValueError, RuntimeError, ArithmeticError, TypeError) as error:
        raise UsageError(f"config makes no {config.model_type} model: {error}") from error


def config_with_layers(config: Any, encoder_layers: Sequence[int], decoder_layers: Sequence[int]) -> Any:
    """The configuration of a model that keeps only these layers.

    Raises:
        UsageError: A layer does not exist, or the model type's layer counts are not known to kdkit.
    """
    for fields in LAYER_FIELDS:
        if all(hasattr(config, field) for field in fields):
            break
    else:
        raise UsageError(f"from_teacher does not know how a {config.model_type} model counts its layers")
    chosen = copy.deepcopy(config)
    for field, side, layers in zip(fields, ("encoder", "decoder"), (encoder_layers, decoder_layers), strict=True):
        there = getattr(config, field)
        beyond = [layer for layer in layers if layer >= there]
        if beyond:
            raise UsageError(
                f"from_teacher.{side}_layers names layer {beyond[0]}, "
                f"but the teacher's {side} has layers 0 to {there - 1}"
            )
        setattr(chosen, field, len(layers))
    return chosen


def keep_layers(teacher: Any, encoder_layers: Sequence[int], decoder_layers: Sequence[int], *, seed: int) -> Any:
    """A model of some of the teacher's layers, with the teacher's weights in them.

    Layer j of the student is layer `encoder_layers[j]` (`decoder_layers[j]`) of the teacher; embeddings, head and norms
    are the teacher's. What only the first layer holds (T5's relative position bias) always comes from the teacher's
    first layer. Source: Shleifer and Rush, "Pre-trained Summarization Distillation" (2020).
    """
    student = new_model(config_with_layers(teacher.config, encoder_layers, decoder_layers), seed=seed)
    chosen = {"encoder": encoder_layers, "decoder": decoder_layers}
    source = teacher.state_dict()

    def teacher_name(name: str) -> str:
        def renamed(match: re.Match[str]) -> str:
            side, container, index = match.groups()
            return f"{side}.{container}.{chosen[side][int(index)]}."

        moved = LAYER_NAME.sub(renamed, name)
        return moved if moved in source else name

    student.load_state_dict({name: source[teacher_name(name)] for name in student.state_dict()})
    return student
