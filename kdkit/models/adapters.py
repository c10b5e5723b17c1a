"""LoRA adapters: put beside a model's linear layers, added to their weights, or saved apart, by the library peft.

The layers of peft take the places of the model's own within the module, whose class stays: what else is done with a
model (its head, generation, compilation) is done as before. The output head gets none. Codecs and losses know the
teacher's logits by its head, and one that is shared with the embeddings would be two layers with one adapter.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import torch

from kdkit.errors import UsageError
from kdkit.models.quiet import quiet
from kdkit.system.files import write_json
from kdkit.system.reading import read_json
from kdkit.system.wording import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from kdkit.api.lora import Lora

NAME = "default"
"""What peft calls an adapter that has no name."""
PREFIX = "base_model.model."
"""What peft puts before the names of layers in an adapter's file."""
ADAPTER_CONFIG, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


def check_lora(module: Any, lora: Lora) -> None:
    """Refuse adapters that a model cannot have.

    Args:
        module: The model; weights are not needed (see `kdkit.models.looked_at`).
        lora: Which adapters.

    Raises:
        UsageError: peft is not installed; or no linear layer has a name that is asked for, or the output head has it.
    """
    _peft()
    _places(module, lora)


def count_adapters(module: Any, lora: Lora) -> int:
    """How many parameters a model's adapters have; the model needs no weights, and is not changed."""
    widths = (module.get_submodule(place).weight.shape for place in _places(module, lora))
    return sum(lora.rank * (into + out) for into, out in widths)


def add_adapters(module: Any, lora: Lora, *, seed: int) -> None:
    """Put adapters beside a model's linear layers, and freeze all else. At first they change nothing.

    Args:
        module: The model, which is changed.
        lora: Which adapters.
        seed: Seed of their first matrices; the second are 0.

    Raises:
        UsageError: As `check_lora`.
    """
    peft, places = _peft(), _places(module, lora)
    config = _config(peft, lora, places)
    with quiet(), _unwarned(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        peft.inject_adapter_in_model(config, module, adapter_name=NAME)
    module.train(module.training)  # the new layers too
    trained = {id(each) for layer in _layers(module).values() for each in _matrices(layer)}
    for each in module.parameters():  # also those of mixtures of experts, which are not in layers
        each.requires_grad_(id(each) in trained)


def merged_weights(module: Any) -> dict[str, torch.Tensor]:
    """The weights of a model with its adapters added to them, by the names that they have in one without; a copy."""
    layers, merged = _layers(module), {}
    for name, tensor in module.state_dict().items():
        place, _, last = name.rpartition(".base_layer.")
        if place in layers:
            with torch.no_grad():
                delta = layers[place].get_delta_weight(NAME) if last == "weight" else 0
                merged[f"{place}.{last}"] = tensor + delta
        elif not any(name.startswith(f"{place}.lora_") for place in _ancestors(name)):
            merged[name] = tensor
    return merged


def save_adapters(module: Any, lora: Lora, folder: Path, *, base: str, dtype: str) -> None:
    """Write a model's adapters in peft's format, which also plain transformers opens where peft is installed.

    Args:
        module: The model.
        lora: Its adapters.
        folder: Where.
        base: The folder, or the hub's name, of the model that they belong to.
        dtype: The type of the numbers that are written.
    """
    from safetensors.torch import save_file

    layers = _layers(module)
    weights = {}
    for name, tensor in module.state_dict().items():
        if any(f"{place}.lora_" in name for place in layers if name.startswith(place)):
            kept = tensor.detach().to("cpu", getattr(torch, dtype)).contiguous()
            weights[PREFIX + name.replace(f".{NAME}.", ".")] = kept
    config = _config(_peft(), lora, sorted(layers))
    config.base_model_name_or_path, config.inference_mode = base, True
    save_file(weights, folder / ADAPTER_WEIGHTS, metadata={"format": "pt"})
    config.save_pretrained(str(folder))
    table = read_json(folder / ADAPTER_CONFIG)
    write_json(folder / ADAPTER_CONFIG, {**table, "target_modules": sorted(layers)})  # peft's order changes
    module.generation_config.save_pretrained(str(folder))  # of which peft knows nothing


def adapters_in(folder: Path, module: Any) -> Any:
    """A model with the adapters of a folder added to its weights.

    Args:
        folder: Holds adapters in peft's format.
        module: Their base, which is changed.
    """
    peft = _peft()
    with quiet(), _unwarned():
        return peft.PeftModel.from_pretrained(module, str(folder)).merge_and_unload()


def _config(peft: Any, lora: Lora, places: list[str]) -> Any:
    return peft.LoraConfig(
        r=lora.rank,
        lora_alpha=lora.scale * lora.rank,
        lora_dropout=lora.dropout,
        target_modules=places,
    )


def _places(module: Any, lora: Lora) -> list[str]:
    """The names of the linear layers that get an adapter."""
    from transformers.pytorch_utils import Conv1D

    head = module.get_output_embeddings()
    linear = {name: each for name, each in module.named_modules() if isinstance(each, (torch.nn.Linear, Conv1D))}
    shared = {id(each.weight) for each in (head, module.get_input_embeddings()) if each is not None}
    fixed = {name for name, each in linear.items() if each is head or id(each.weight) in shared}
    if not lora.targets:
        return sorted(linear.keys() - fixed)
    found = []
    for wanted in lora.targets:
        named = [name for name in linear if f".{name}".endswith(f".{wanted}")]
        if any(name in fixed for name in named) or _is_embedding(module, wanted):
            raise UsageError(
                f'lora.targets names "{wanted}", the output head or the embeddings, which stay as they are: codecs and '
                "losses read hidden states through the head; name other layers, or leave targets out for all of them"
            )
        if not named:
            last = sorted({name.rpartition(".")[2] for name in linear.keys() - fixed})
            raise UsageError(
                f'lora.targets names "{wanted}", but no linear layer of this {module.config.model_type} model is '
                f"called that: they are {', '.join(last)}{did_you_mean(wanted, last)}"
            )
        found += named
    return sorted(set(found))


def _is_embedding(module: Any, wanted: str) -> bool:
    return any(
        isinstance(each, torch.nn.Embedding) and f".{name}".endswith(f".{wanted}")
        for name, each in module.named_modules()
    )


def _layers(module: Any) -> dict[str, Any]:
    """The layers with an adapter, by their names."""
    return {name: each for name, each in module.named_modules() if hasattr(each, "get_delta_weight")}


def _matrices(layer: Any) -> Iterator[torch.nn.Parameter]:
    for each in (layer.lora_A, layer.lora_B):
        yield from each.parameters()


def _ancestors(name: str) -> Iterator[str]:
    parts = name.split(".")
    yield from (".".join(parts[:end]) for end in range(1, len(parts)))


def _peft() -> Any:
    try:
        with quiet(), _unwarned():
            import peft
    except ImportError as error:
        raise UsageError("lora needs the package peft, which is not installed: pip install peft") from error
    return peft


def _unwarned() -> AbstractContextManager[Any]:
    """Without peft's warnings about how it is used."""
    return warnings.catch_warnings(action="ignore")
