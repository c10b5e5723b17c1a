"""A teacher without some of its layers, as the student of the others would be: the same weights, none of them copied.

What a layer computes may depend on its number, its neighbours, or what an earlier layer has left for it. So nothing is
skipped in the teacher's forward pass; the student's own class is made of the teacher's weights.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from kdkit.errors import UsageError
from kdkit.models.layers import Stack, config_with_layers, names_in
from kdkit.models.making import empty_model

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


def of_layers(teacher: Any, kept: Mapping[str, Sequence[int]]) -> Any:
    """The student of some layers, in evaluation mode, whose weights and buffers are the teacher's own tensors.

    Raises:
        UsageError: No configuration has such layers in this order, or they need a tensor that the teacher lacks.
    """
    student = empty_model(config_with_layers(teacher.config, kept)).eval()
    theirs, names = dict(teacher.named_modules()), names_in(teacher, kept)
    for name, part in student.named_modules():
        sources = [table for its in names(name) if its in theirs for table in _tables(theirs[its])]
        for table in _tables(part):
            for key, mine in list(table.items()):
                if not isinstance(mine, torch.Tensor):
                    continue
                its = next((each[key] for each in sources if isinstance(each.get(key), torch.Tensor)), None)
                if its is None or its.shape != mine.shape:
                    raise UsageError(
                        f"a {teacher.config.model_type} model of fewer layers has another {name}.{key}, so its layers "
                        'cannot be left out one at a time; name the layers to keep, or set by = "influence"'
                    )
                table[key] = its
    return student


def _tables(part: torch.nn.Module) -> tuple[dict[str, Any], ...]:
    """Where a module keeps its tensors: parameters, buffers, and attributes that are neither."""
    own = vars(part)
    return own["_parameters"], own["_buffers"], own


class Recorded:
    """What each layer of a model gives in a forward pass, given again by models that begin with the same layers."""

    def __init__(self) -> None:
        """Nothing is noted yet."""
        self._given: dict[tuple[str, int], tuple[torch.Tensor, Any]] = {}

    @contextmanager
    def recording(self, model: Any, stacks: Sequence[str]) -> Iterator[None]:
        """Within the block note what the layers of these stacks take and give."""

        def note(place: tuple[str, int]) -> Any:
            return lambda _, arguments, named, given: self._given.update({place: (taken(arguments, named), given)})

        hooks = [
            layer.register_forward_hook(note((stack, index)), with_kwargs=True)
            for stack in stacks
            for index, layer in enumerate(Stack.of(model, stack).layers)
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def of(self, stack: str) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The states that each layer of a stack took and gave."""
        for (each, _), (took, given) in sorted(self._given.items(), key=lambda entry: entry[0]):
            if each == stack:
                yield took, given if isinstance(given, torch.Tensor) else given[0]

    @contextmanager
    def given_again(self, model: Any, counts: Mapping[str, int]) -> Iterator[None]:
        """Within the block so many first layers of each stack give what was noted of the same states.

        A layer that is given other states computes: without a layer LED pads to another length.
        """

        def again(layer: torch.nn.Module, place: tuple[str, int]) -> Any:
            own, (took, given) = layer.forward, self._given[place]

            def forward(*arguments: Any, **named: Any) -> Any:
                states = taken(arguments, named)
                same = states is took or torch.equal(states, took)
                return given if same else own(*arguments, **named)

            return forward

        layers = [
            (layer, (stack, index))
            for stack, count in counts.items()
            for index, layer in enumerate(list(Stack.of(model, stack).layers)[:count])
        ]
        for layer, place in layers:
            vars(layer)["forward"] = again(layer, place)
        try:
            yield
        finally:
            for layer, _ in layers:
                del vars(layer)["forward"]


def taken(arguments: Sequence[Any], named: Mapping[str, Any]) -> torch.Tensor:
    """The states that go into a layer: the first tensor of numbers among its arguments."""
    given = (*arguments, *named.values())
    return next(each for each in given if isinstance(each, torch.Tensor) and each.is_floating_point())
