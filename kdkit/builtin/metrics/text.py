"""The `text` metric suite: how similar two texts are, for any kind of text.

All three metrics see the texts with line ends written as newlines and white space cut off at both ends; nothing else
is changed. They lie between 0 and 1, and are 1 for equal texts.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

import attrs
import cydifflib

from kdkit.system.wording import trim

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kdkit.api.values import Example

# A token is a run of letters, digits and underscores, or one character that is neither of these nor white space.
_TOKEN = re.compile(r"\w+|[^\w\s]")


@attrs.frozen(kw_only=True)
class Text:
    """Exact match, token F1 and character similarity, each a value a row."""

    def score(
        self,
        generated: Sequence[str],
        references: Sequence[str],
        examples: Sequence[Example],  # noqa: ARG002 - part of the protocol; this suite looks at the texts alone
    ) -> Mapping[str, Sequence[float | None]]:
        """`exact_match`, `f1` and `similarity` of every row."""
        pairs = [(trim(reference), trim(text)) for reference, text in zip(references, generated, strict=True)]
        return {
            "exact_match": [float(reference == text) for reference, text in pairs],
            "f1": [token_f1(reference, text) for reference, text in pairs],
            "similarity": [similarity(reference, text) for reference, text in pairs],
        }


def token_f1(reference: str, generated: str) -> float:
    """Harmonic mean of precision and recall over the multisets of tokens.

    A token is a run of letters, digits and underscores, or one other character that is not white space. Two texts
    without tokens have F1 1; where one has none it is 0.
    """
    reference_tokens = Counter(_TOKEN.findall(reference))
    generated_tokens = Counter(_TOKEN.findall(generated))
    total = reference_tokens.total() + generated_tokens.total()
    if total == 0:
        return 1.0
    return 2 * (reference_tokens & generated_tokens).total() / total


def similarity(reference: str, generated: str) -> float:
    """Ratcliff-Obershelp ratio of the characters: `difflib.SequenceMatcher.ratio` without its junk heuristic.

    The heuristic ("autojunk") ignores frequent characters in texts of 200 characters and more, which makes the ratio
    of two programs nearly random. Without it the time grows with the product of the lengths and more, so the matcher
    is cydifflib's, which gives the same ratios.
    """
    if reference == generated:
        return 1.0
    return float(cydifflib.SequenceMatcher(None, reference, generated, autojunk=False).ratio())
