"""Rows as the models read them, to be looked at: which of their tokens are labels, and what became of all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import attrs

from kdkit.api.values import SPLITS
from kdkit.data.reading import Mark
from kdkit.data.splitting import drawn
from kdkit.data.written import prompts_of
from kdkit.store.rows import rows_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.values import Corpus, Drop, EncodedExample, SplitName
    from kdkit.data.rows import Rows
    from kdkit.pipeline.prepared import Prepared
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


YET_TO_WRITE = "the teacher has yet to write its target"


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


def shown_rows(prepared: Prepared, count: int) -> ShownRows:
    """So many training rows, evenly from first to last, and the counts of all splits."""
    recipe, corpus = prepared.settled, prepared.corpus
    tokenizer = recipe.teacher.load_tokenizer(corpus)
    splits = {split: corpus.split(split) for split in SPLITS}
    splits["train"] = recipe.with_targets(corpus.train)
    read = {split: rows_of(rows, tokenizer, recipe.encoding) for split, rows in splits.items() if rows}
    if recipe.writing is not None:
        return _of(_to_write(recipe, corpus, count, tokenizer), read)
    train = read["train"]
    size = len(train.encoded)
    places = [number * size // count for number in range(min(count, size))] if count < size else list(range(size))
    return _of(tuple(_shown(train, place, tokenizer) for place in places), read)


def _of(rows: tuple[ShownRow, ...], read: Mapping[SplitName, Rows]) -> ShownRows:
    return ShownRows(
        rows=rows,
        counts={split: rows.reading.counts() for split, rows in read.items()},
        left_out=tuple(drop for rows in read.values() for drop in rows.left_out),
    )


def _to_write(recipe: Recipe, corpus: Corpus, count: int, tokenizer: Tokenizer) -> tuple[ShownRow, ...]:
    """Rows as the teacher reads them, whose targets it has yet to write."""
    chosen = drawn(corpus.train, recipe.training.rows)
    size = len(chosen)
    places = dict.fromkeys(number * size // count for number in range(count))
    prompts = prompts_of([chosen[place] for place in places], tokenizer, recipe.encoding)
    return tuple(_row(row, tokenizer, [YET_TO_WRITE]) for row in prompts)


def _shown(rows: Rows, place: int, tokenizer: Tokenizer) -> ShownRow:
    mark = int(rows.reading.marks_R[place])
    return _row(rows.encoded[place], tokenizer, [sentence for each, sentence in SENTENCES.items() if mark & each])


def _row(row: EncodedExample, tokenizer: Tokenizer, remarks: Sequence[str]) -> ShownRow:
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
        remarks=tuple(remarks),
    )
