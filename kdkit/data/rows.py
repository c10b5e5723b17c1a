"""Which rows a stage works on, as text and as token ids."""

from __future__ import annotations

from functools import cached_property, partial
from typing import TYPE_CHECKING

import attrs

from kdkit.data.long_rows import longest
from kdkit.data.splitting import drawn_places, taken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.api.interfaces import ModelKind, Tokenizer
    from kdkit.api.options import TokenLimits
    from kdkit.api.values import Drop, EncodedExample, Example
    from kdkit.data.encoded_rows import EncodedRows
    from kdkit.data.parts import Parts
    from kdkit.data.reading import Reading
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

    def read(self, examples: Sequence[Example], tokenizer: Tokenizer, *, task: Task | None = None) -> Reading:
        """What is read of examples: token ids, and what became of each row.

        Args:
            examples: The rows.
            tokenizer: Encodes them.
            task: Advanced as rows are encoded.
        """
        from kdkit.data.reading import GrowingReading, Reading  # with NumPy, which a recipe does without

        growing = GrowingReading()
        for start in range(0, len(examples), _PART):
            part = examples[start : start + _PART]
            growing.join(Reading.of(self.kind.encode(part, tokenizer, self.limits)), len(part))
            if task is not None:
                task.advance(len(part))
        return growing.done()

    def encode(self, examples: Sequence[Example], tokenizer: Tokenizer) -> EncodedRows:
        """The rows of `read` alone."""
        return self.read(examples, tokenizer).rows

    def prompts(self, examples: Sequence[Example], tokenizer: Tokenizer) -> Sequence[EncodedExample]:
        """What a model reads to write a text after each example, which needs no target."""
        pairs = [attrs.evolve(each, form="pair", target="") for each in examples]
        return self.kind.prompts(self.encode(pairs, tokenizer), examples, tokenizer, self.limits)

    def target_ids(self, texts: Sequence[str], tokenizer: Tokenizer) -> list[list[int]]:
        """The labels of whole targets, whatever the limits."""
        return self.kind.target_ids(texts, tokenizer)

    def whole(self, example: Example, tokenizer: Tokenizer) -> Sequence[EncodedExample]:
        """The rows that an example would be if labels had no limit."""
        most = _TOKENS_A_CHARACTER * len(example.target)
        return self.kind.encode([example], tokenizer, attrs.evolve(self.limits, max_target=most))

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
        chosen: The examples that they are read from.
        reading: What is read of these.
        tokenizer: The tokenizer that made it.
        encoding: How.
    """

    chosen: Sequence[Example]
    reading: Reading
    tokenizer: Tokenizer
    encoding: Encoding

    @property
    def encoded(self) -> EncodedRows:
        """The rows as ids."""
        return self.reading.rows

    @cached_property
    def examples(self) -> Sequence[Example]:
        """The rows as text: of a text its blocks, of a conversation its turns."""
        return self._parts or self.chosen

    @cached_property
    def _parts(self) -> Parts | None:
        from kdkit.data.parts import Parts

        if self.reading.origins_R is None:
            return None
        return Parts(
            examples=self.chosen,
            reading=self.reading,
            tokenizer=self.tokenizer,
            whole=partial(self.encoding.whole, tokenizer=self.tokenizer),
        )

    @cached_property
    def documents(self) -> tuple[str, ...]:
        """Which document each row belongs to, by its id; a row that was not cut out of another is its own.

        Rows of one document are alike, so what resamples rows resamples documents.
        """
        if self._parts is not None:
            return tuple(self._parts.documents)
        return tuple(example.id if example.document is None else example.document for example in self.chosen)

    @property
    def left_out(self) -> tuple[Drop, ...]:
        """What of the examples is not read, and why."""
        return self.reading.refused.drops(self.chosen)

    @cached_property
    def prompts(self) -> Sequence[EncodedExample]:
        """What a model reads to write a text for each row; before a block or a turn, what was read in training."""
        if self._parts is not None:
            return self.encoded
        return self.encoding.kind.prompts(self.encoded, self.chosen, self.tokenizer, self.encoding.limits)

    @property
    def are_blocks(self) -> bool:
        """Whether these are blocks of texts: no prompt comes before them, and most do not end."""
        return bool(self.chosen) and self.chosen[0].form == "text"

    @property
    def limits(self) -> TokenLimits:
        """How long their sources and targets may be: of blocks, each as long as a block."""
        limits = self.encoding.limits
        if not self.are_blocks:
            return limits
        return attrs.evolve(limits, max_source=limits.max_length, max_target=limits.max_length)

    def first(self, count: int) -> Rows:
        """The rows that are read of the first so many examples; 0 for all."""
        return self if not count or count >= len(self.chosen) else self._of(range(count))

    def drawn(self, count: int) -> Rows:
        """The rows that are read of so many of the examples, drawn as `kdkit.data.splitting.drawn` does; 0 for all."""
        if not count or count >= len(self.chosen):
            return self
        return self._of(drawn_places(self.chosen, count))

    def _of(self, places: Sequence[int]) -> Rows:
        """The rows that are read of some of the examples, by their indices."""
        import numpy as np

        reading = self.reading.of_examples(np.array(places, np.int64))
        return attrs.evolve(self, chosen=taken(self.chosen, places), reading=reading)


def rows_of(examples: Sequence[Example], tokenizer: Tokenizer, encoding: Encoding, *, at_most: int = 0) -> Rows:
    """What is read of the first `at_most` examples (0 for all)."""
    chosen = examples[:at_most] if at_most else examples
    return Rows(chosen=chosen, reading=encoding.read(chosen, tokenizer), tokenizer=tokenizer, encoding=encoding)


def more_of(rows: int, others: int) -> int:
    """The greater of two limits, where 0 is none."""
    return max(rows, others) if rows and others else 0
