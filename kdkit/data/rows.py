"""Which rows a stage works on, as text and as token ids."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.data.tokens import encode

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.options import TokenLimits
    from kdkit.api.values import EncodedExample, Example


@attrs.frozen(kw_only=True, eq=False)
class Rows:
    """Some rows of one split, as text and as ids, in one order."""

    examples: Sequence[Example]
    encoded: Sequence[EncodedExample]


def rows_of(examples: Sequence[Example], tokenizer: Tokenizer, limits: TokenLimits, *, at_most: int = 0) -> Rows:
    """The first `at_most` rows (0 for all), encoded."""
    chosen = examples[:at_most] if at_most else examples
    return Rows(examples=chosen, encoded=encode(chosen, tokenizer, limits))
