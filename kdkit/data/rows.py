"""Which rows a stage works on, as text and as token ids."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import attrs

from kdkit.data.long_rows import longest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.api.interfaces import ModelKind, Tokenizer
    from kdkit.api.options import TokenLimits
    from kdkit.api.values import EncodedExample, Example
    from kdkit.data.encoded_rows import EncodedRows
    from kdkit.system.progress import Task


_PART = 10_000
"""Rows that are encoded at a time: an encoding may give them as objects."""

_TOKENS_A_CHARACTER = 16
"""More than any tokenizer makes of a character."""


@attrs.frozen(kw_only=True)
class Encoding:
    """How rows become token ids: as a kind of model reads them, within the recipe's limits."""

    kind: ModelKind
    limits: TokenLimits

    def encode(self, examples: Sequence[Example], tokenizer: Tokenizer, *, task: Task | None = None) -> EncodedRows:
        """Token ids of rows.

        Args:
            examples: The rows.
            tokenizer: Encodes them.
            task: Advanced as rows are encoded.
        """
        from kdkit.data.encoded_rows import EncodedRows, GrowingRows  # with NumPy, which a recipe does without

        growing = GrowingRows()
        for start in range(0, len(examples), _PART):
            part = examples[start : start + _PART]
            growing.add(EncodedRows.of(self.kind.encode(part, tokenizer, self.limits)))
            if task is not None:
                task.advance(len(part))
        return growing.done()

    def target_ids(self, texts: Sequence[str], tokenizer: Tokenizer) -> list[list[int]]:
        """The labels of whole targets, whatever the limits."""
        return self.kind.target_ids(texts, tokenizer)

    def label_counts(self, examples: Sequence[Example], tokenizer: Tokenizer) -> list[int]:
        """How many labels each row would have if targets had no limit: more than it has where its own was cut.

        Counted in the row, since after a prompt a target may be other tokens than alone.
        """
        read = longest(self.limits.max_target)
        rows = [attrs.evolve(example, target=example.target[:read]) for example in examples]
        whole = attrs.evolve(self.limits, max_target=_TOKENS_A_CHARACTER * read)
        return [len(row.target_ids) for row in self.kind.encode(rows, tokenizer, whole)]


@attrs.frozen(kw_only=True, eq=False)
class Rows:
    """Some rows of one split, as text and as ids, in one order.

    Attributes:
        examples: The rows as text.
        encoded: The same as ids.
        tokenizer: The tokenizer that made them.
        encoding: How.
    """

    examples: Sequence[Example]
    encoded: EncodedRows
    tokenizer: Tokenizer
    encoding: Encoding

    @cached_property
    def documents(self) -> tuple[str, ...]:
        """Which document each row belongs to, by its id; a row that is no part of another is its own.

        Rows of one document are alike, so what resamples rows resamples documents.
        """
        return tuple(example.id if example.document is None else example.document for example in self.examples)

    @cached_property
    def prompts(self) -> Sequence[EncodedExample]:
        """What a model reads to write a text for each row."""
        return self.encoding.kind.prompts(self.encoded, self.examples, self.tokenizer, self.encoding.limits)


def rows_of(examples: Sequence[Example], tokenizer: Tokenizer, encoding: Encoding, *, at_most: int = 0) -> Rows:
    """The first `at_most` rows (0 for all), encoded."""
    chosen = examples[:at_most] if at_most else examples
    return Rows(examples=chosen, encoded=encoding.encode(chosen, tokenizer), tokenizer=tokenizer, encoding=encoding)


def more_of(rows: int, others: int) -> int:
    """The greater of two limits, where 0 is none."""
    return max(rows, others) if rows and others else 0
