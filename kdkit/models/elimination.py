"""Leaves a teacher's layers out one after another, the least harmful first.

Of two layers that make up for each other, either may be left out, and not both: so what is left is measured again
after each. A layer is measured again only if it may be the next one: what it adds to the loss is taken to grow, or to
stay, as others go ("lazy" greedy; Minoux, 1978).
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING

from kdkit.errors import UsageError
from kdkit.models.lacking import Without, finite, hard_loss, is_alike, unchanged, without
from kdkit.models.layers import Stack
from kdkit.models.without_layers import Recorded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.api.values import Measuring, TokenBatch
    from kdkit.models.open_model import HFModel
    from kdkit.system.progress import Progress, Task

APART = 1 + 1e-9
"""By what factor losses are made to rise where, against all expectation, one falls as a layer goes."""


def eliminated(
    model: HFModel, stacks: Sequence[str], batches: Sequence[TokenBatch], measuring: Measuring, progress: Progress
) -> tuple[float, dict[str, tuple[float | None, ...]]]:
    """The hard loss of the whole model; and of each layer the loss once it was left out, as one after another was.

    Of a layer that is kept it is the loss without it as well, as that was measured last.
    """
    labels = sum(len(batch.places) for batch in batches)
    whole, scores = math.nan, {}
    counts = [len(Stack.of(model.module, stack).layers) for stack in measuring.stacks]
    gone = sum(count - wanted for count, wanted in zip(counts, measuring.wanted, strict=True))
    with progress.task("leave out layers", total=gone, unit="layers") as task:
        for stack, wanted in zip(measuring.stacks, measuring.wanted, strict=True):
            with unchanged(model):
                left = _Left(model=model, stacks=stacks, stack=stack, batches=batches, task=task)
            whole = left.loss / labels
            while len(left.places) > wanted:
                with unchanged(model):
                    if not left.leave_out():
                        break
            scores[stack] = tuple(None if each is None else finite(each / labels) for each in left.scores())
    return whole, scores


class _Left:
    """A model of which one layer of a stack after another is left out."""

    def __init__(
        self, *, model: HFModel, stacks: Sequence[str], stack: str, batches: Sequence[TokenBatch], task: Task
    ) -> None:
        """With all its layers."""
        self._model, self._stacks, self._stack, self._batches, self._task = model, stacks, stack, batches, task
        self._is_alike: bool | None = None
        self._out: dict[int, float] = {}
        self.places = list(range(len(Stack.of(model.module, stack).layers)))
        self._added: dict[int, float] = dict.fromkeys(self.places, -math.inf)
        self._last: dict[int, float] = {}
        self._measured = 0
        self._record()

    def leave_out(self) -> bool:
        """Leave out the layer that adds least to the loss; whether there was one that may be left out.

        Raises:
            UsageError: None ever is.
        """
        fresh = set()
        while self._added:
            layer = min(self._added, key=lambda each: (self._added[each], each))
            if layer in fresh:
                break
            fresh.add(layer)
            try:
                loss = self._loss_without(layer)
            except UsageError as error:  # it is not a model without it
                del self._added[layer]
                if not (self._added or self._out):
                    raise UsageError(f"no layer can be left out alone: {error}") from error
                continue
            self._last[layer], self._added[layer] = loss, loss - self.loss
        if not self._added:
            return False
        self._out[layer] = max(self._last[layer], max(self._out.values(), default=0.0) * APART)
        self._model = self._without(layer).model
        self.places.remove(layer)
        del self._added[layer]
        self._record()
        self._task.advance()
        return True

    def scores(self) -> list[float | None]:
        """The sums of losses by layer: of those left out in rising order, of others above; None for fixed ones."""
        highest = max(self._out.values(), default=0.0)
        kept = {layer: max(self._last[layer], highest * APART) for layer in self._added}
        return [self._out.get(layer, kept.get(layer)) for layer in range(len(self._out) + len(self.places))]

    def _record(self) -> None:
        self._recorded, losses = [], []
        for batch in self._batches:
            recorded = Recorded()
            with recorded.recording(self._model.module, self._stacks):
                losses.append(hard_loss(self._model, batch))
            self._recorded.append(recorded)
        self.loss = finite(math.fsum(losses))

    def _without(self, layer: int) -> Without:
        counts = {stack: len(Stack.of(self._model.module, stack).layers) for stack in self._stacks}
        return without(self._model, counts, self._stack, self.places.index(layer))

    def _late(self, other: Without) -> Without:
        """Without a late layer after which another one computes; the other, where no such layer may be left out."""
        for layer in reversed(self.places[:-1]):
            with suppress(UsageError):
                return self._without(layer)
        return other

    def _loss_without(self, layer: int) -> float:
        each, losses = self._without(layer), []
        if self._is_alike is None:
            self._is_alike = is_alike(self._late(each), self._recorded[0], self._batches[0])
        for batch, recorded in zip(self._batches, self._recorded, strict=True):
            with recorded.given_again(each.model.module, each.below if self._is_alike else {}):
                losses.append(hard_loss(each.model, batch))
        self._measured += 1
        self._task.advance(0, measured=str(self._measured))
        return finite(math.fsum(losses))
