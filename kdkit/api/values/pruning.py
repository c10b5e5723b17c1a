"""Which parts of a teacher a student is made of, where a measure chooses them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

MEASURES = {
    "loss": "drop-one loss",
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
    """

    by: str
    tokens: int
    stacks: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Importance:
    """How much each part of a teacher matters.

    Attributes:
        rows: Training rows that this was measured on.
        tokens: Their label tokens.
        loss: The whole teacher's hard loss on them; None where it was not measured.
        layers: Of each stack that was measured, a number for each layer: the higher, the more it matters. None for a
            layer that cannot be left out: no configuration has the others without it.
    """

    rows: int
    tokens: int
    loss: float | None = None
    layers: dict[str, tuple[float | None, ...]]


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
        return f"{layers_in_words(self.stack, self.kept)} of {self.count}"


@attrs.frozen(kw_only=True)
class Pruning:
    """The parts of a teacher that a student is made of, and why these.

    Attributes:
        by: The measure (see `MEASURES`).
        rows: Training rows that it was measured on; 0 where nothing was measured.
        tokens: Their label tokens.
        loss: The whole teacher's hard loss on them, in nats; None where it was not measured.
        layers: The layers of each stack.
    """

    by: str
    rows: int = 0
    tokens: int = 0
    loss: float | None = None
    layers: tuple[KeptLayers, ...]

    def in_words(self) -> str:
        """What was kept, by which measure, and of what: the end of a sentence."""
        kept = ", ".join(stack.in_words() for stack in self.layers)
        on = f" on {self.tokens:,} tokens of training rows" if self.tokens else ""
        return f"{kept}, chosen by {MEASURES[self.by]}{on}"
