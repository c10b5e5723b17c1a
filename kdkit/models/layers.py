"""Makes students from some of a teacher's layers: their configuration, and the teacher's weights in them.

What a configuration says of single layers (attention windows, kinds of attention, which blocks are mixtures of
experts) must go with them. So a student's layers are compared with the teacher's, both made without data: layers of
the same names, shapes and settings compute the same.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import attrs
import torch

from kdkit.errors import UsageError
from kdkit.models.config_fields import config_of_side
from kdkit.models.making import looked_at, new_model

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

COUNTS = {
    "encoder_layers": ("num_encoder_layers", "encoder_layers", "num_layers"),
    "decoder_layers": ("num_decoder_layers", "decoder_layers"),
    "layers": ("num_hidden_layers",),
}
"""The stacks that a model may have, by the options that name layers of them; and the fields that count them."""
OF_EACH_LAYER = ("attention_window", "layer_types", "no_rope_layers", "attention_layers", "mlp_layer_types")
"""Fields that may be a list with an entry a layer: of LED's encoder, of either side of T5Gemma, of SmolLM3."""
INDICES = ("mlp_only_layers", "attn_layer_indices")
"""Fields that may be a list of the layers that are of another kind: of Qwen's mixtures of experts, of Bamba."""

WHERE_IT_IS = ("layer_idx", "layer_id", "seed", "has_relative_attention_bias", "attention_layers")
"""Settings that number the layers. BigBird draws blocks by it, T5's first layer has the bias for all, and GPT-Neo's
know the kinds of all layers."""

SETTINGS = (bool, int, float, str, list, tuple, type(None))


def config_with_layers(config: Any, kept: Mapping[str, Sequence[int]]) -> Any:
    """The configuration of a model that keeps only these layers.

    Args:
        config: The teacher's.
        kept: The layers of each stack, by the stack's name in `COUNTS`.

    Raises:
        UsageError: A layer does not exist, the model type's layer counts are not known to kdkit, or no configuration
            of the type has such layers in this order.
    """
    chosen = copy.deepcopy(config)
    teacher = looked_at(config)
    for side, layers in kept.items():
        holder, field = _count(chosen, side)
        there = getattr(holder, field)
        beyond = [layer for layer in layers if layer >= there]
        if beyond:
            raise UsageError(
                f"from_teacher.{side} names layer {beyond[0]}, "
                f"but the teacher{_owner(side)} has layers 0 to {there - 1}"
            )
        for name in OF_EACH_LAYER:
            own = (getattr(type(holder), "attribute_map", None) or {}).get(name, name)
            is_given = not isinstance(getattr(type(holder), own, None), property)  # Mamba's follow from their number
            value = getattr(holder, name, None)
            if is_given and isinstance(value, (list, tuple)) and (side != "decoder_layers" or holder is not chosen):
                setattr(holder, name, [value[layer] for layer in layers])
        for name in INDICES:
            if isinstance(value := getattr(holder, name, None), list):
                setattr(holder, name, [place for place, layer in enumerate(layers) if layer in value])
        setattr(holder, field, len(layers))
    for side, layers in kept.items():
        chosen = _with_same_layers(chosen, Stack.of(teacher, side), side, layers)
    _check_around(teacher, looked_at(chosen), kept)
    return chosen


def layer_counts(config: Any, stacks: Iterable[str]) -> dict[str, int]:
    """How many layers each stack of a model has.

    Raises:
        UsageError: The model type's layer counts are not known to kdkit.
    """
    counted = {stack: _count(config, stack) for stack in stacks}
    return {stack: int(getattr(holder, field)) for stack, (holder, field) in counted.items()}


def keep_layers(teacher: Any, kept: Mapping[str, Sequence[int]], *, seed: int) -> Any:
    """A model of some of the teacher's layers, with the teacher's weights in them.

    Layer j of a stack of the student is layer `kept[stack][j]` of the teacher; embeddings, head and norms
    are the teacher's. What only the first layer holds (T5's relative position bias) always comes from the teacher's
    first layer. Source: Shleifer and Rush, "Pre-trained Summarization Distillation" (2020).
    """
    student = new_model(config_with_layers(teacher.config, kept), seed=seed)
    source, names = teacher.state_dict(), names_in(teacher, kept)
    own = student.state_dict()
    student.load_state_dict({name: source[next(its for its in names(name) if its in source)] for name in own})
    return student


def names_in(teacher: Any, kept: Mapping[str, Sequence[int]]) -> Callable[[str], tuple[str, ...]]:
    """What parts of a student of some layers are called in its teacher.

    The first name is that of the layer's own part; the second, of what only the first layer has, that of the first's.
    """
    places = {Stack.of(teacher, side).prefix: layers for side, layers in kept.items()}

    def names(name: str) -> tuple[str, ...]:
        for prefix, layers in places.items():
            if name.startswith(prefix):
                index, dot, rest = name.removeprefix(prefix).partition(".")
                return f"{prefix}{layers[int(index)]}{dot}{rest}", name
        return (name,)

    return names


@attrs.frozen(kw_only=True, eq=False)
class Stack:
    """The layers of an encoder or a decoder.

    Attributes:
        prefix: What the names of their weights begin with in the model's state.
        layers: They.
    """

    prefix: str
    layers: torch.nn.ModuleList

    @classmethod
    def of(cls, module: Any, side: str) -> Stack:
        """The layers of a model, by the name of the stack in `COUNTS`.

        Raises:
            UsageError: It cannot be told which layers they are.
        """
        holder, field = _count(module.config, side)
        part = module.get_encoder() if side == "encoder_layers" else module.get_decoder()
        for name, each in part.named_modules():  # outer lists come before those within a layer
            is_stack = isinstance(each, torch.nn.ModuleList) and len(each) == getattr(holder, field)
            if is_stack and "vision" not in name:
                prefix = next(name for name, other in module.named_modules() if other is each)
                return cls(prefix=f"{prefix}.", layers=each)
        raise _unknown(module.config)

    @property
    def only_first(self) -> set[str]:
        """Names of weights that layer 0 holds and no other: T5's relative position bias is for all layers."""
        others = [name for layer in list(self.layers)[1:] for name in layer.state_dict()]
        return set(self.layers[0].state_dict()) - set(others) if others else set()

    def difference(self, other: Stack, layers: Sequence[int]) -> tuple[int, str] | None:
        """Where another stack's layers differ from these of this one, and in what."""
        first_only = self.only_first
        for place, (mine, its) in enumerate(zip((self.layers[layer] for layer in layers), other.layers, strict=True)):
            names, its_names = set(mine.state_dict()), set(its.state_dict())
            lacks = names - its_names - (first_only if layers[place] == 0 and place else set())
            more = its_names - names - (set() if place else first_only)
            for name in sorted((lacks | more) or _settings(mine, its)):
                return place, name
        return None


def _settings(one: torch.nn.Module, other: torch.nn.Module) -> Iterator[str]:
    """The names of weights and settings in which two layers of the same weights' names differ."""
    parts, state, its_state = dict(other.named_modules()), one.state_dict(), other.state_dict()
    yield from (name for name in state if name in its_state and state[name].shape != its_state[name].shape)
    for name, part in one.named_modules():
        its = parts.get(name)
        if its is None:
            continue
        if type(part) is not type(its):
            yield name
        for key, value in vars(part).items():
            if key.startswith("_") or key in WHERE_IT_IS or not isinstance(value, SETTINGS):
                continue
            if _same_kind(value) != _same_kind(vars(its).get(key)):
                yield f"{name}.{key}".lstrip(".")


def _same_kind(value: Any) -> Any:
    """A list as the tuple that it may have been before it was in a file."""
    return tuple(value) if isinstance(value, list) else value


def _with_same_layers(chosen: Any, theirs: Stack, side: str, layers: Sequence[int]) -> Any:
    """The configuration with a rule for mixtures of experts, if it has one, by which its layers are the teacher's."""
    differences = []
    for candidate in _by_sparse_step(chosen, side, len(layers)):
        found = theirs.difference(Stack.of(looked_at(candidate), side), layers)
        if found is None:
            return candidate
        differences.append(found)
    place, what = differences[0]
    first = list(range(len(layers)))
    other = (
        f"keep kinds of layers in the teacher's order, such as {first}, or give" if first != list(layers) else "give"
    )
    raise UsageError(
        f"from_teacher.{side} = {list(layers)} is not possible: layer {place} of a {chosen.model_type} model "
        f"cannot be as the teacher's layer {layers[place]} ({what}); {other} config"
    )


def _by_sparse_step(config: Any, side: str, count: int) -> Iterator[Any]:
    """The configuration as it is, then with each step at which its sparse layers may stand; read as from a file."""
    yield _reopened(config)
    step, number = f"{side.removesuffix('_layers')}_sparse_step", f"num_sparse_{side}"
    if not hasattr(config, step):
        return
    for places in range(count + 1):
        other = copy.deepcopy(config)
        setattr(other, step, places)
        if hasattr(config, number):  # Switch: what it makes the step of when it is new
            setattr(other, number, count // places if places else 0)
        yield _reopened(other)


def _reopened(config: Any) -> Any:
    try:
        return type(config).from_dict(config.to_dict())
    except AttributeError as error:  # RecurrentGemma's writes what it cannot read
        raise _unknown(config) from error


def _check_around(teacher: Any, student: Any, sides: Iterable[str]) -> None:
    """Refuse a student whose weights outside of layers are not the teacher's."""

    def around(module: Any) -> dict[str, torch.Size]:
        prefixes = tuple(Stack.of(module, side).prefix for side in sides)
        return {name: each.shape for name, each in module.state_dict().items() if not name.startswith(prefixes)}

    theirs, ours = around(teacher), around(student)
    for name in sorted(theirs.keys() | ours.keys()):
        if theirs.get(name) != ours.get(name):
            raise UsageError(
                f"from_teacher cannot keep some layers of this {teacher.config.model_type} model: the size of {name} "
                "depends on how many there are; give config or model"
            )


def _count(config: Any, side: str) -> tuple[Any, str]:
    """Which configuration says how many layers a side has, and in which field."""
    holder = config_of_side(config, side.removesuffix("_layers")) if side != "layers" else config.get_text_config()
    if holder is not config:
        return holder, "num_hidden_layers"
    for field in COUNTS[side]:
        if hasattr(config, field):
            return config, field
    raise _unknown(config)


def _owner(side: str) -> str:
    return "" if side == "layers" else f"'s {side.removesuffix('_layers')}"


def _unknown(config: Any) -> UsageError:
    return UsageError(
        f"kdkit does not know how a {config.model_type} model counts its layers, so none of them can be named; give "
        "config or model"
    )
