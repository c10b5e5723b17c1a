"""Rows as the models read them, to be looked at: which of their tokens are labels, and what became of all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import attrs

from kdkit.api.values import SPLITS
from kdkit.data.reading import Mark
from kdkit.store.rows import rows_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.values import Corpus, Drop
    from kdkit.data.rows import Rows
    from kdkit.recipe import Recipe

SENTENCES = {
    Mark.STOPS: "ends with a stop",
    Mark.SHORTENED: "what is read was too long and lost a part",
    Mark.CUT: "the labels were too many and lost their end",
    Mark.STRADDLES: "the first label begins in the prompt",
    Mark.DIFFERS: "the chat template marks other tokens as the assistant's",
    Mark.OPENED: "the chat template opens an answer otherwise",
    Mark.LACKS_TOOLS: "the chat template leaves out its tools or calls",
}


@attrs.frozen(kw_only=True)
class ShownRow:
    """A row as a model reads it.

    Attributes:
        id: Its id.
        read: What is read before the labels, as text with special tokens.
        labels: The labels, likewise.
        read_tokens: The tokens of `read`, as the tokenizer calls them.
        label_tokens: Those of `labels`.
        remarks: What became of it.
    """

    id: str
    read: str
    labels: str
    read_tokens: tuple[str, ...]
    label_tokens: tuple[str, ...]
    remarks: tuple[str, ...]


@attrs.frozen(kw_only=True)
class ShownRows:
    """Some training rows, and counts of all rows.

    Attributes:
        rows: Rows, from all over the training rows.
        counts: For each split with rows: see `kdkit.data.reading.Reading.counts`.
        left_out: Parts of rows that are not read, and why.
    """

    rows: tuple[ShownRow, ...]
    counts: dict[str, dict[str, int]]
    left_out: tuple[Drop, ...]


def shown_rows(recipe: Recipe, corpus: Corpus, count: int) -> ShownRows:
    """So many training rows, evenly from first to last, and the counts of all splits."""
    tokenizer = recipe.teacher.load_tokenizer(corpus)
    read = {split: rows_of(corpus.split(split), tokenizer, recipe.encoding) for split in SPLITS if corpus.split(split)}
    train = read["train"]
    size = len(train.encoded)
    places = [number * size // count for number in range(min(count, size))] if count < size else list(range(size))
    return ShownRows(
        rows=tuple(_shown(train, place, tokenizer) for place in places),
        counts={split: rows.reading.counts() for split, rows in read.items()},
        left_out=tuple(drop for rows in read.values() for drop in rows.left_out),
    )


def _shown(rows: Rows, place: int, tokenizer: Tokenizer) -> ShownRow:
    row, mark = rows.encoded[place], int(rows.reading.marks_R[place])

    def text(ids: Sequence[int]) -> str:
        if not ids:
            return ""
        return tokenizer.batch_decode([list(ids)], skip_special_tokens=False, clean_up_tokenization_spaces=False)[0]

    def tokens(ids: Sequence[int]) -> tuple[str, ...]:
        return tuple(cast(Any, tokenizer).convert_ids_to_tokens(list(ids)))

    return ShownRow(
        id=row.id,
        read=text(row.source_ids),
        labels=text(row.target_ids),
        read_tokens=tokens(row.source_ids),
        label_tokens=tokens(row.target_ids),
        remarks=tuple(sentence for each, sentence in SENTENCES.items() if mark & each),
    )
