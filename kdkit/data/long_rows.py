"""Cuts texts that are far too long before they are tokenized, since every character takes time and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs

from kdkit.data.cuts import moved

if TYPE_CHECKING:
    from kdkit.api.options import TokenLimits
    from kdkit.api.values import Example

LONGEST = 1 << 17
"""Characters of a text that are read, whatever the limits are."""
_PER_TOKEN = 128
"""Characters of a token at most, as far as texts of people go; a longer text may be cut too soon, never too late."""


def longest(tokens: int) -> int:
    """How many characters of a text are read to get so many tokens: generous, so that no token is lost."""
    return max(LONGEST, _PER_TOKEN * tokens)


def is_long(example: Example, limits: TokenLimits) -> bool:
    """Whether some of the row's characters are not read."""
    return len(example.source) > longest(limits.max_source) or len(example.target) > longest(limits.max_target)


def shortened(example: Example, limits: TokenLimits, *, keep: Literal["head", "tail"] = "head") -> Example:
    """The row with texts of a length that can be tokenized; text that its `cuts` keep stays.

    Each stretch that may be shortened keeps the end that it would keep; then of the source one end is kept.
    """
    if not is_long(example, limits):
        return example
    most, text, cuts = longest(limits.max_source), example.source, list(example.cuts)
    for index, cut in enumerate(cuts):
        if cut.end - cut.start > most:
            start, end = (cut.start + most, cut.end) if cut.keep == "head" else (cut.start, cut.end - most)
            text = text[:start] + text[end:]
            cuts = [moved(each, [(start, end - start)]) for each in cuts]
            assert cuts[index].end - cuts[index].start == most
    room = most * (len(cuts) + 1)
    excess = max(0, len(text) - room)
    return attrs.evolve(
        example,
        source=text[:room] if keep == "head" else text[excess:],
        cuts=tuple(moved(cut, [(room if keep == "head" else 0, excess)]) for cut in cuts),
        target=example.target[: longest(limits.max_target)],
    )
