"""`from_teacher`: which of a teacher's layers a student is made of, named or chosen by a measure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from attrs import validators

from kdkit.api.options import at_least_one, one_of, option
from kdkit.api.values import MEASURES, KeptLayers, Measuring, Pruning
from kdkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kdkit.api.values import Importance

BY, TOKENS = "loss", 1000


def _some_layer(_instance: object, _field: object, layers: tuple[int, ...]) -> None:
    if not layers:
        raise ValueError("must name at least one layer")


_some_layers = validators.optional(validators.and_(_some_layer, validators.deep_iterable(validators.ge(0))))


def layers_option(whose: str) -> Any:
    """The layers that are kept, by their numbers."""
    return option(f"{whose} to keep, counted from 0, in order; or give `keep`.", default=None, check=_some_layers)


def by_option() -> Any:
    """What chooses the layers."""
    return option(
        "What chooses the layers to keep: loss (the teacher's hard loss without each of them, on training rows), "
        "influence (how much each of them changes the states), or spacing (evenly spaced, first and last kept).",
        default=BY,
        check=one_of(*MEASURES),
        neutral=BY,
    )


def count_option(help_text: str) -> Any:
    """How many layers are kept."""
    return option(help_text, default=None, check=validators.optional(at_least_one))


def tokens_option() -> Any:
    """On how much it is measured."""
    return option(
        "With `keep`: label tokens of training rows on which layers are measured, about.",
        default=TOKENS,
        check=at_least_one,
        neutral=TOKENS,
    )


class Layers(ABC):
    """Some of a teacher's layers."""

    stacks: ClassVar[tuple[str, ...]]
    """The options that name layers, each of its own stack, in the order in which the stacks compute."""

    by: str
    tokens: int

    def __attrs_post_init__(self) -> None:
        named = [stack for stack in self.stacks if getattr(self, stack) is not None]
        all_named = " and ".join(f"`{stack}`" for stack in self.stacks)
        if (self.keep is not None) == bool(named):
            raise UsageError(f"give {all_named}, or `keep`: how many layers a measure chooses")
        if named and len(named) < len(self.stacks):
            raise UsageError(f"give {all_named}: {named[0]} alone says nothing of the others")
        if named and (self.by, self.tokens) != (BY, TOKENS):
            raise UsageError(f"by and tokens choose layers, and {named[0]} names them; give `keep` instead, or neither")

    @property
    @abstractmethod
    def keep(self) -> Any:
        """How many layers are kept, as the option has it; None where they are named."""

    @abstractmethod
    def _wanted(self, stack: str) -> int | None:
        """How many layers of a stack a measure is to keep; None for all."""

    @property
    def named(self) -> dict[str, tuple[int, ...]] | None:
        """The layers of each stack; None where they are still to be chosen."""
        return {stack: getattr(self, stack) for stack in self.stacks} if self.keep is None else None

    @property
    @abstractmethod
    def keep_in_words(self) -> str:
        """How many layers are kept: "20 layers"."""

    def wanted(self, counts: Mapping[str, int]) -> dict[str, int]:
        """How many layers of each stack a measure is to keep.

        Args:
            counts: How many the teacher has.

        Raises:
            UsageError: It has not so many.
        """
        found = {}
        for stack, there in counts.items():
            wanted = self._wanted(stack)
            side = stack.removesuffix("layers").replace("_", " ")
            if wanted is not None and wanted > there:
                raise UsageError(
                    f"from_teacher.keep asks for {wanted} {side}layers, but the teacher has {there}; set it to {there} "
                    "or less"
                )
            found[stack] = there if wanted is None else wanted
        return found

    def measuring(self, counts: Mapping[str, int]) -> Measuring | None:
        """What has to be measured of a teacher; None where nothing has.

        Raises:
            UsageError: The teacher has not as many layers as are to be kept.
        """
        if self.keep is None or self.by == "spacing":
            return None
        stacks = tuple(stack for stack, wanted in self.wanted(counts).items() if wanted < counts[stack])
        return Measuring(by=self.by, tokens=self.tokens, stacks=stacks) if stacks else None

    def pruning(self, counts: Mapping[str, int], scores: Importance | None) -> Pruning:
        """The layers to keep: those with the highest scores, and of equal ones the first.

        Args:
            counts: How many layers each stack of the teacher has.
            scores: What was measured of them; None where nothing had to be.

        Raises:
            UsageError: More layers cannot be left out than are to be kept.
        """
        layers = []
        for stack, wanted in self.wanted(counts).items():
            measured = None if scores is None else scores.layers.get(stack)
            kept = evenly(counts[stack], wanted) if measured is None else _highest(stack, measured, wanted)
            layers.append(KeptLayers(stack=stack, count=counts[stack], kept=kept, scores=measured))
        if scores is None:
            return Pruning(by=self.by, layers=tuple(layers))
        return Pruning(by=self.by, rows=scores.rows, tokens=scores.tokens, loss=scores.loss, layers=tuple(layers))


def evenly(count: int, wanted: int) -> tuple[int, ...]:
    """So many of the layers, evenly spaced, the first and the last among them."""
    return tuple(round(place * (count - 1) / max(wanted - 1, 1)) for place in range(wanted))


def _highest(stack: str, scores: Sequence[float | None], wanted: int) -> tuple[int, ...]:
    fixed = [layer for layer, score in enumerate(scores) if score is None]
    others = sorted((-score, layer) for layer, score in enumerate(scores) if score is not None)
    if len(fixed) > wanted:
        raise UsageError(
            f"from_teacher.keep asks for {wanted} {stack}, but of this teacher {fixed} cannot be left out; set it to "
            f"{len(fixed)} or more"
        )
    return tuple(sorted([*fixed, *(layer for _, layer in others)][:wanted]))
