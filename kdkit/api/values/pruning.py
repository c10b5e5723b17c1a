"""Which parts of a teacher a student is made of, where a measure chooses them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
from attrs import validators

from kdkit.api.option import at_least_one, option
from kdkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

MEASURES = {
    "loss": "drop-one loss",
    "greedy": "the loss as one layer after another is left out",
    "influence": "block influence",
    "spacing": "even spacing",
}
"""How layers may be chosen, and what that is called."""


def layers_in_words(stack: str, layers: Sequence[int]) -> str:
    """Some layers of a stack: "decoder layers 0, 1 and 5"."""
    *others, last = map(str, layers)
    named = f"{', '.join(others)} and {last}" if others else last
    return f"{stack.removesuffix('layers').replace('_', ' ')}layer{'s' if others else ''} {named}"


@attrs.frozen(kw_only=True)
class Measuring:
    """How the parts of a teacher are to be measured.

    Attributes:
        by: A measure in `MEASURES`.
        tokens: Label tokens of training rows to measure on, about.
        stacks: The stacks whose layers are measured.
        wanted: How many layers of each of them are kept, which "greedy" has to know.
        has_width: Whether heads and channels are measured too.
    """

    by: str
    tokens: int
    stacks: tuple[str, ...]
    wanted: tuple[int, ...] = ()
    has_width: bool = False


@attrs.frozen(kw_only=True)
class Importance:
    """How much each part of a teacher matters.

    Attributes:
        rows: Training rows that this was measured on.
        tokens: Their label tokens.
        loss: The whole teacher's hard loss on them; None where it was not measured.
        layers: Of each stack that was measured, a number for each layer: the higher, the more it matters. None for a
            layer that cannot be left out: no configuration has the others without it.
        heads: Of each layer, the norm of what each group of heads with common keys gives; None where it was not
            measured.
        channels: The same of each feed-forward channel.
    """

    rows: int
    tokens: int
    loss: float | None = None
    layers: dict[str, tuple[float | None, ...]]
    heads: tuple[tuple[float, ...], ...] | None = None
    channels: tuple[tuple[float, ...], ...] | None = None


@attrs.frozen(kw_only=True)
class KeptLayers:
    """The layers of a stack that were kept.

    Attributes:
        stack: The stack's name, as the student's options have it: "encoder_layers".
        count: How many layers the teacher has there.
        kept: Those that the student is made of, from 0, in order.
        scores: What was measured of each of the teacher's layers (see `Importance`); None where nothing was.
    """

    stack: str
    count: int
    kept: tuple[int, ...]
    scores: tuple[float | None, ...] | None = None

    def in_words(self) -> str:
        """The layers that were kept: "layers 0, 1 and 5 of 6"."""
        if len(self.kept) == self.count:
            return f"all {self.count} {self.stack.replace('_', ' ')}"
        return f"{layers_in_words(self.stack, self.kept)} of {self.count}"


@attrs.frozen(kw_only=True)
class Width:
    """How wide each layer of a student is, in the words of transformers' configurations."""

    num_attention_heads: int | None = option(
        "Attention heads of each layer to keep, with the keys and values that they share; by default all.",
        default=None,
        check=validators.optional(at_least_one),
    )
    intermediate_size: int | None = option(
        "Feed-forward channels of each layer to keep; by default all.",
        default=None,
        check=validators.optional(at_least_one),
    )

    def __attrs_post_init__(self) -> None:
        if self.num_attention_heads is None and self.intermediate_size is None:
            raise UsageError("give num_attention_heads, intermediate_size, or both")


@attrs.frozen(kw_only=True)
class KeptWidth:
    """The attention heads and the feed-forward channels that were kept.

    Attributes:
        width: How many of both.
        teacher: How many the teacher has.
        heads: Of each layer of the student, the groups of heads with common keys that were kept, from 0.
        channels: Of each layer, the channels that were kept: the bits of a number in hexadecimal digits, the lowest
            for channel 0.
    """

    width: Width
    teacher: Width
    heads: tuple[tuple[int, ...], ...]
    channels: tuple[str, ...]

    def channels_of(self, layer: int) -> list[int]:
        """The channels of a layer, in order."""
        bits = int(self.channels[layer], 16)
        return [place for place in range(bits.bit_length()) if bits >> place & 1]

    def in_words(self) -> str:
        """How much was kept of what is not whole: "6 of 9 heads and 1,024 of 1,536 feed-forward channels"."""
        pairs = (
            (self.width.num_attention_heads, self.teacher.num_attention_heads, "heads"),
            (self.width.intermediate_size, self.teacher.intermediate_size, "feed-forward channels"),
        )
        fewer = [pair for pair in pairs if pair[0] != pair[1]] or pairs
        return " and ".join(f"{kept:,} of {there:,} {what}" for kept, there, what in fewer)


def bits_of(places: Sequence[int]) -> str:
    """Places as the bits of a number, in hexadecimal digits."""
    return f"{sum(1 << place for place in places):x}"


@attrs.frozen(kw_only=True)
class Pruning:
    """The parts of a teacher that a student is made of, and why these.

    Attributes:
        by: The measure that chose layers (see `MEASURES`); "" where none did.
        rows: Training rows that it was measured on; 0 where nothing was measured.
        tokens: Their label tokens.
        loss: The whole teacher's hard loss on them, in nats; None where it was not measured.
        layers: The layers of each stack.
        width: The heads and channels of these layers; None where all were kept.
    """

    by: str
    rows: int = 0
    tokens: int = 0
    loss: float | None = None
    layers: tuple[KeptLayers, ...]
    width: KeptWidth | None = None

    @property
    def kept(self) -> dict[str, tuple[int, ...]]:
        """The layers that were kept, by stack."""
        return {stack.stack: stack.kept for stack in self.layers}

    def in_words(self) -> str:
        """What was kept, by which measure, and of what: the end of a sentence."""
        kept = ", ".join(stack.in_words() for stack in self.layers)
        on = f" on {self.tokens:,} tokens of training rows" if self.tokens else ""
        chosen = f", chosen by {MEASURES[self.by]}" if self.by else ""
        width = "" if self.width is None else f", in each of them {self.width.in_words()}, chosen by activation norm"
        return f"{kept}{chosen}{width}{on}"
