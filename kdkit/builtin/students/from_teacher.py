"""`from_teacher`: which of a teacher's layers a student is made of, named or chosen by a measure."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
from attrs import validators

from kdkit.api.options import at_least_one, one_of, option
from kdkit.api.values import MEASURES, KeptLayers, Measuring, Pruning
from kdkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kdkit.api.values import Importance, Width

BY, TOKENS = "greedy", 1000
NEUTRAL = "loss"
"""What stands there where no layers are chosen; digests leave it out."""


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
        "What chooses the layers to keep: greedy (the teacher's hard loss on training rows as one layer after another "
        "is left out, measured again after each), loss (the same without each of them, measured once), "
        "influence (how much each of them changes the states), or spacing (evenly spaced, first and last kept).",
        default=attrs.Factory(lambda self: NEUTRAL if self.keep is None else BY, takes_self=True),
        check=one_of(*MEASURES),
        neutral=NEUTRAL,
        usual=BY,
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
        if self.keep is not None and named:
            raise UsageError(
                f"`keep` says how many layers a measure chooses, and `{named[0]}` names them; leave one of them out"
            )
        if not (self.keep or named or self.width):
            raise UsageError(f"give {all_named}, or `keep`: how many layers a measure chooses")
        if named and len(named) < len(self.stacks):
            raise UsageError(f"give {all_named}: {named[0]} alone says nothing of the others")
        if self.keep is None and self.by != NEUTRAL:
            raise UsageError("by chooses layers for `keep`, which is not given; leave it out")
        if self.keep is None and self.width is None and self.tokens != TOKENS:
            raise UsageError("tokens says on how much is measured, and with the layers named nothing is; leave it out")

    @property
    @abstractmethod
    def keep(self) -> Any:
        """How many layers are kept, as the option has it; None where they are named."""

    @abstractmethod
    def _wanted(self, stack: str) -> int | None:
        """How many layers of a stack a measure is to keep; None for all."""

    @property
    def width(self) -> Width | None:
        """How wide each layer is; None for as wide as the teacher's."""
        return None

    @property
    def chooses(self) -> bool:
        """Whether anything is to be chosen by a measure."""
        return self.keep is not None or self.width is not None

    def named(self, counts: Mapping[str, int]) -> dict[str, tuple[int, ...]] | None:
        """The layers of each stack; None where they are to be chosen."""
        if self.keep is not None:
            return None
        given = {stack: getattr(self, stack) for stack in self.stacks}
        return {stack: given[stack] or tuple(range(counts[stack])) for stack in self.stacks}

    @property
    def in_words(self) -> str:
        """What is to be chosen, and by what: the end of a sentence; "" where nothing is."""
        found = [] if self.keep is None else [f"{self._keep_in_words}, chosen by {MEASURES[self.by]}"]
        if self.width is not None:
            asked = {"heads": self.width.num_attention_heads, "channels": self.width.intermediate_size}
            fewer = [what for what, count in asked.items() if count is not None]
            found.append(f"{' and '.join(fewer)} chosen by activation norm")
        return f"{'; '.join(found)} once the teacher is there" if found else ""

    @property
    @abstractmethod
    def _keep_in_words(self) -> str:
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
        stacks: tuple[str, ...] = ()
        if self.keep is not None and self.by != "spacing":
            stacks = tuple(stack for stack, wanted in self.wanted(counts).items() if wanted < counts[stack])
        wanted = tuple(self.wanted(counts)[stack] for stack in stacks) if self.by == "greedy" else ()
        if not stacks and self.width is None:
            return None
        return Measuring(by=self.by, tokens=self.tokens, stacks=stacks, wanted=wanted, has_width=self.width is not None)

    def pruning(self, counts: Mapping[str, int], scores: Importance | None) -> Pruning:
        """The layers to keep: those with the highest scores, and of equal ones the first.

        Args:
            counts: How many layers each stack of the teacher has.
            scores: What was measured of them; None where nothing had to be.

        Raises:
            UsageError: More layers cannot be left out than are to be kept.
        """
        named, layers = self.named(counts), []
        for stack, wanted in self.wanted(counts).items():
            if named is not None:
                layers.append(KeptLayers(stack=stack, count=counts[stack], kept=named[stack]))
                continue
            measured = None if scores is None else scores.layers.get(stack)
            kept = evenly(counts[stack], wanted) if measured is None else _highest(stack, measured, wanted)
            layers.append(KeptLayers(stack=stack, count=counts[stack], kept=kept, scores=measured))
        by = self.by if named is None else ""
        if scores is None:
            return Pruning(by=by, layers=tuple(layers))
        return Pruning(by=by, rows=scores.rows, tokens=scores.tokens, loss=scores.loss, layers=tuple(layers))


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
