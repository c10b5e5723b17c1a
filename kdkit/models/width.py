"""Makes a decoder-only model of Llama's shape narrower: fewer attention heads, fewer feed-forward channels.

The hidden size stays, and with it embeddings, norms and head. Heads go with the keys and values that they share, a
group at a time. What goes is as if the layer after it (`o_proj`, `down_proj`) had zeros for it.

Source of the measure: Muralidharan et al., "Compact Language Models via Pruning and Knowledge Distillation" (2024),
section 2.2: what a head or a channel gives, by its norm.

Letters: W tokens, G groups of heads, C channels.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import attrs
import torch

from kdkit.api.values import KeptWidth, Width, bits_of
from kdkit.errors import UsageError
from kdkit.models.layers import Stack
from kdkit.models.making import looked_at, new_model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kdkit.api.values import EncodedExample, Importance
    from kdkit.models.open_model import HFModel
    from kdkit.system.progress import Progress

ATTENTION, FEED_FORWARD = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")
"""The linear layers by whose names Llama's shape is known."""


@attrs.frozen(kw_only=True)
class Shape:
    """How wide a model's layers are.

    Attributes:
        heads: Attention heads.
        groups: Keys and values that they share, num_key_value_heads.
        head_size: Numbers of a head.
        channels: Feed-forward channels.
    """

    heads: int
    groups: int
    head_size: int
    channels: int

    @classmethod
    def of(cls, config: Any) -> Shape:
        """That of a configuration.

        Raises:
            UsageError: Its layers do not have Llama's shape.
        """
        for layer in Stack.of(looked_at(config), "layers").layers:
            for names in (ATTENTION, FEED_FORWARD):
                if len(_holders(layer, names)) != 1:
                    raise UsageError(
                        f"from_teacher.width needs layers of Llama's shape ({', '.join((*ATTENTION, *FEED_FORWARD))}), "
                        f"and a {config.model_type} model has others; leave width out"
                    )
        heads = config.num_attention_heads
        groups = getattr(config, "num_key_value_heads", None) or heads
        (queries,) = {_part(layer, "q_proj").out_features for layer in Stack.of(looked_at(config), "layers").layers}
        return cls(heads=heads, groups=groups, head_size=queries // heads, channels=config.intermediate_size)


def config_of_width(config: Any, width: Width) -> Any:
    """The configuration of the same model, but narrower.

    Raises:
        UsageError: The width is not one that such a model can be made of, or the model has another shape than Llama's.
    """
    shape = Shape.of(config)
    heads = shape.heads if width.num_attention_heads is None else width.num_attention_heads
    channels = shape.channels if width.intermediate_size is None else width.intermediate_size
    for name, asked, there in (
        ("num_attention_heads", heads, shape.heads),
        ("intermediate_size", channels, shape.channels),
    ):
        if asked > there:
            raise UsageError(
                f"from_teacher.width.{name} is {asked}, but the teacher has {there}; set it to {there} or less"
            )
    shared = shape.heads // shape.groups
    if heads % shared:
        raise UsageError(
            f"from_teacher.width.num_attention_heads is {heads}, but in this teacher {shared} heads share keys and "
            f"values; set it to a multiple of {shared}"
        )
    narrow = copy.deepcopy(config)
    narrow.head_dim = shape.head_size
    narrow.num_attention_heads, narrow.intermediate_size = heads, channels
    if hasattr(config, "num_key_value_heads"):
        narrow.num_key_value_heads = heads // shared
    narrow = type(narrow).from_dict(narrow.to_dict())
    _check_narrow(config, narrow, shape, heads // shared, channels)
    return narrow


def choose_width(config: Any, width: Width, layers: Sequence[int], importance: Importance) -> KeptWidth:
    """The heads and channels of the layers that were kept: those of the highest norms, and of equal ones the first.

    Args:
        config: The teacher's, with these layers alone.
        width: How many to keep.
        layers: Which of the teacher's layers were kept.
        importance: What was measured of the teacher.

    Raises:
        UsageError: See `config_of_width`.
    """
    theirs, ours = Shape.of(config), Shape.of(config_of_width(config, width))
    assert importance.heads is not None and importance.channels is not None, "they are measured"  # noqa: PT018
    return KeptWidth(
        width=Width(num_attention_heads=ours.heads, intermediate_size=ours.channels),
        teacher=Width(num_attention_heads=theirs.heads, intermediate_size=theirs.channels),
        heads=tuple(_highest(importance.heads[layer], ours.groups) for layer in layers),
        channels=tuple(bits_of(_highest(importance.channels[layer], ours.channels)) for layer in layers),
    )


def _highest(norms: Sequence[float], count: int) -> tuple[int, ...]:
    order = sorted(range(len(norms)), key=lambda place: -norms[place])
    return tuple(sorted(order[:count]))


def keep_width(module: Any, kept: KeptWidth, *, seed: int) -> Any:
    """A model of some of the groups and channels of each layer, with their weights."""
    shape = Shape.of(module.config)
    narrow = new_model(config_of_width(module.config, kept.width), seed=seed)
    weights, prefix = module.state_dict(), Stack.of(module, "layers").prefix
    for index, layer in enumerate(Stack.of(module, "layers").layers):
        for name, tensor in layer.state_dict().items():
            part, kind = name.split(".")[-2:] if "." in name else ("", name)
            sliced = _axes(shape, part, kept.heads[index], kept.channels_of(index))
            for axis, places in sliced.items():
                if axis < tensor.dim() and not (kind == "bias" and axis):
                    tensor = tensor.index_select(axis, torch.tensor(places, device=tensor.device))  # noqa: PLW2901
            weights[f"{prefix}{index}.{name}"] = tensor
    narrow.load_state_dict(weights)
    return narrow


def width_norms(
    model: HFModel, rows: Sequence[EncodedExample], progress: Progress
) -> tuple[tuple[tuple[float, ...], ...], tuple[tuple[float, ...], ...]]:
    """The norm of what each group of heads, and each channel, gives over all tokens of the rows; of each layer.

    Rows go one at a time, without padding.
    """
    layers, shape = Stack.of(model.module, "layers").layers, Shape.of(model.module.config)
    heads = [torch.zeros(shape.groups, dtype=torch.float64) for _ in layers]
    channels = [torch.zeros(shape.channels, dtype=torch.float64) for _ in layers]

    def add(sums_P: torch.Tensor) -> Any:
        def hook(_: object, arguments: tuple[torch.Tensor, ...]) -> None:
            squares_X = arguments[0].double().pow(2).flatten(0, -2).sum(0).cpu()
            sums_P.add_(squares_X.reshape(len(sums_P), -1).sum(1))

        return hook

    hooks = [
        _part(layer, name).register_forward_pre_hook(add(sums[index]))
        for index, layer in enumerate(layers)
        for name, sums in (("o_proj", heads), ("down_proj", channels))
    ]
    try:
        with progress.task("rank heads and channels", total=len(rows), unit="rows") as task:
            for row in rows:
                model.logits(model.collated([row]))
                task.advance()
    finally:
        for hook in hooks:
            hook.remove()
    return _rounded(heads), _rounded(channels)


def _rounded(sums: Sequence[torch.Tensor]) -> tuple[tuple[float, ...], ...]:
    """Norms of sums of squares, with as many digits as a measure deserves."""
    return tuple(tuple(float(f"{value:.6g}") for value in each.sqrt().tolist()) for each in sums)


def _holders(layer: torch.nn.Module, names: Sequence[str]) -> list[torch.nn.Module]:
    """The modules of a layer that have linear layers of all these names."""
    return [
        part
        for part in layer.modules()
        if all(isinstance(getattr(part, name, None), torch.nn.Linear) for name in names)
    ]


def _part(layer: torch.nn.Module, name: str) -> torch.nn.Linear:
    (holder,) = _holders(layer, ATTENTION if name in ATTENTION else FEED_FORWARD)
    part: torch.nn.Linear = getattr(holder, name)
    return part


def _axes(shape: Shape, part: str, groups: Sequence[int], channels: Sequence[int]) -> dict[int, list[int]]:
    """Which entries of which axis of a linear layer's weights stay, where not all do."""
    if part in {"gate_proj", "up_proj"}:
        return {0: list(channels)}
    if part == "down_proj":
        return {1: list(channels)}
    if part not in ATTENTION:
        return {}
    size = shape.head_size * (1 if part in {"k_proj", "v_proj"} else shape.heads // shape.groups)
    entries = [group * size + place for group in groups for place in range(size)]
    return {1 if part == "o_proj" else 0: entries}


def _check_narrow(config: Any, narrow: Any, shape: Shape, groups: int, channels: int) -> None:
    """Refuse a model in which anything but these linear layers depends on the width."""
    theirs, ours = looked_at(config).state_dict(), looked_at(narrow).state_dict()
    every: Mapping[str, Any] = {**theirs, **ours}
    for name in every:
        part = name.split(".")[-2] if name.count(".") else ""
        expected = list(theirs[name].shape) if name in theirs else None
        for axis, places in _axes(shape, part, range(groups), range(channels)).items():
            if expected is not None and axis < len(expected):
                expected[axis] = len(places)
        if name not in ours or list(ours[name].shape) != expected:
            raise UsageError(
                f"from_teacher.width cannot make a {config.model_type} model narrower: the size of {name} depends on "
                "its width; leave width out"
            )
