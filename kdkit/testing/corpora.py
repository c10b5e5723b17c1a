"""A small data set to try teachers and students on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from kdkit.api.values import Corpus
    from kdkit.system.progress import Progress

_WORDS = ("red", "green", "blue", "old", "new", "cat", "dog", "bird")


def synthetic_corpus(rows: int = 12) -> Corpus:
    """Rows of a few words whose target is what their source counts; the same at every call.

    Args:
        rows: Training rows; a third as many are held out.
    """
    from kdkit.api.values import Corpus, Example

    def example(number: int) -> Example:
        words = [_WORDS[(number * step + step) % len(_WORDS)] for step in range(1, 3 + number % 4)]
        return Example(id=f"row{number}", source=f"count {' '.join(words)}", target=f"{len(words)} words")

    count = rows + max(rows // 3, 1)
    examples = tuple(map(example, range(count)))
    return Corpus(train=examples[:rows], validation=examples[rows:])


@attrs.frozen(kw_only=True)
class Given:
    """A data set of a corpus that is there."""

    corpus: Corpus

    def load(self, progress: Progress) -> Corpus:  # noqa: ARG002 - a data set's
        """The corpus."""
        return self.corpus
