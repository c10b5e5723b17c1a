"""Rows for decoder-only models: prompt and completion tokenized as one text, and where the completion begins.

A tokenizer splits a text otherwise than its halves, and what a model meets in real text is the whole. So both are
tokenized together; a token that reaches over the boundary belongs to the completion. After the completion comes the
token that ends texts, unless the limit cuts the completion: then it does not end there.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.values import Example
from kdkit.data.blocks import blocks, text_tokens
from kdkit.data.chats import ChatTemplate, Refused
from kdkit.data.encoded_rows import EncodedRows, GrowingRows
from kdkit.data.reading import GrowingReading, Mark, Reading
from kdkit.data.rendered import marked_tokens, rendered_ids, shared
from kdkit.data.tokens import chunks, control_words, shorten_by_cuts
from kdkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.options import TokenLimits
    from kdkit.data.chats import Turn

PROBE = "x = 1"


def read_sequences(examples: Iterable[Example], tokenizer: Tokenizer, limits: TokenLimits) -> Reading:
    """Token ids of every example, within the limits: `source_ids` are what is read first, `target_ids` the labels.

    A prompt that is too long is shortened by its `cuts`, in their order, then at its beginning: the completion follows
    its end. Every row has at least one token before its labels, since the first of them is judged by the last of these.
    A text becomes rows of blocks, and a conversation a row for each of the assistant's turns.

    Raises:
        UsageError: The tokenizer has no token that ends a text, or no chat template for a conversation.
    """
    growing, reader = GrowingReading(), _Reader.of(tokenizer, limits)
    for form, rows in groupby(examples, key=lambda row: row.form):
        if form == "pair":
            reader.pairs(rows, growing)
        elif form == "text":
            reader.texts(rows, growing)
        else:
            reader.chats(rows, growing)
    return growing.done()


def encode_sequences(examples: Iterable[Example], tokenizer: Tokenizer, limits: TokenLimits) -> EncodedRows:
    """The rows of `read_sequences` alone."""
    return read_sequences(examples, tokenizer, limits).rows


def encode_prompts(examples: Iterable[Example], tokenizer: Tokenizer, limits: TokenLimits) -> EncodedRows:
    """What a model reads when it has to write: the prompts, tokenized alone as whoever uses it does.

    After a conversation it writes the assistant's next turn; a text it continues.
    """
    reader, growing = _Reader.of(tokenizer, limits), GrowingRows()
    template = ChatTemplate.of(tokenizer) if any(row.form == "chat" for row in examples) else None
    for chunk in chunks(examples, limits, keep="tail"):
        fitting = reader.fitting(chunk)
        prompts = [
            rendered_ids(template.opened(row.target), tokenizer)[0]
            if template is not None and row.form == "chat"
            else plain_ids(tokenizer, [row.target if row.form == "text" else row.source])[0]
            for row in fitting
        ]
        sources = [reader.begun(prompt) for prompt in prompts]
        growing.add_lists([example.id for example in fitting], sources, [()] * len(fitting))
    return growing.done()


def completion_ids(texts: Sequence[str], tokenizer: Tokenizer) -> list[list[int]]:
    """The labels of whole completions, each alone."""
    end = ending(tokenizer)
    rows = [Example(id="", source="", target=text) for text in texts]
    return [[*half.completion, end] for half in _halves(rows, tokenizer)]


def beginning(tokenizer: Tokenizer) -> tuple[int, ...]:
    """What the tokenizer puts before each text: the token that begins texts, or nothing."""
    whole, bare = tokenizer([PROBE], verbose=False)["input_ids"][0], plain_ids(tokenizer, [PROBE])[0]
    places = range(len(whole) - len(bare) + 1)
    return next((tuple(whole[:place]) for place in places if whole[place : place + len(bare)] == bare), ())


def ending(tokenizer: Tokenizer) -> int:
    """The token that ends a text.

    Raises:
        UsageError: The tokenizer has none.
    """
    end = tokenizer.eos_token_id
    if end is None:
        raise UsageError(
            "the tokenizer has no token that ends a text (eos_token), so a model would never learn to stop; set one in "
            "its tokenizer_config.json"
        )
    return end


def plain_ids(tokenizer: Tokenizer, texts: Sequence[str], **options: Any) -> list[list[int]]:
    """The tokens of texts, without those that begin and end them."""
    ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=False, verbose=False, **options)["input_ids"]
    return ids


@attrs.frozen(kw_only=True)
class _Reader:
    """Reads examples of each form with one tokenizer.

    Attributes:
        tokenizer: The tokenizer.
        limits: The limits.
        end: The token that ends texts.
        start: What begins every row.
        first: What begins a row that would be empty otherwise: blocks, and rows without a prompt.
    """

    tokenizer: Tokenizer
    limits: TokenLimits
    end: int
    start: tuple[int, ...]
    first: tuple[int, ...]

    @classmethod
    def of(cls, tokenizer: Tokenizer, limits: TokenLimits) -> _Reader:
        """A reader; refuses a tokenizer without an end."""
        end, start = ending(tokenizer), beginning(tokenizer)
        begins = getattr(tokenizer, "bos_token_id", None)
        first = start or ((end if begins is None else begins),)
        return cls(tokenizer=tokenizer, limits=limits, end=end, start=start, first=first)

    def pairs(self, examples: Iterable[Example], growing: GrowingReading) -> None:
        """Add prompts with their completions."""
        for chunk in chunks(examples, self.limits, keep="tail"):
            fitting = self.fitting(chunk)
            halves = list(_halves(fitting, self.tokenizer))
            labels = [[*half.completion, self.end] for half in halves]
            marks = [
                self._mark(half.prompt, label, half.straddles)
                | (Mark.SHORTENED if len(row.source) != len(whole.source) else 0)
                for half, label, row, whole in zip(halves, labels, fitting, chunk, strict=True)
            ]
            growing.add(
                [example.id for example in fitting],
                [self.begun(half.prompt) for half in halves],
                [label[: self.limits.max_target] for label in labels],
                bytes(marks),
            )

    def texts(self, examples: Iterable[Example], growing: GrowingReading) -> None:
        """Add the blocks of texts."""
        for row in examples:
            (tokens,) = text_tokens([row.target], self.tokenizer)
            cut = blocks(tokens, end=self.end, begins=len(self.first), limits=self.limits)
            growing.add_parts(
                [
                    (
                        f"{row.id}#{number}",
                        (*self.first, *block.read),
                        block.labels,
                        Mark.STOPS if block.ends else 0,
                    )
                    for number, block in enumerate(cut, 1)
                ]
            )

    def chats(self, examples: Iterable[Example], growing: GrowingReading) -> None:
        """Add the assistant's turns of conversations."""
        template = ChatTemplate.of(self.tokenizer)
        for row in examples:
            parts = []
            for turn in template.turns(row.target):
                if isinstance(turn, Refused):
                    growing.refuse(turn.reason)
                else:
                    parts.append((f"{row.id}#{turn.number}", *self._turn(turn)))
            growing.add_parts(parts)

    def _turn(self, turn: Turn) -> tuple[tuple[int, ...], list[int], int]:
        """What is read before a turn, its labels and its mark."""
        ids, places = rendered_ids(turn.full, self.tokenizer)
        if places:
            size = _ended(places, turn.boundary)
            straddles = size < len(ids) and places[size][0] < turn.boundary
        else:
            alone = attrs.evolve(turn.full, text=turn.full.text[: turn.boundary])
            size, straddles = shared(ids, rendered_ids(alone, self.tokenizer)[0]), False
        labels = self._stopped(ids[size:])
        mark = self._mark(ids[:size], labels, straddles)
        if turn.marked is not None and places:
            is_marked = marked_tokens(turn.marked, places)
            stop = size + len(labels) - 1  # some templates mark the stop, and some do not: it is a label in any case
            if any(is_marked[:size]) or not all(is_marked[size:stop]):
                mark |= Mark.DIFFERS
        return self.begun(ids[:size]), labels[: self.limits.max_target], mark

    def _stopped(self, ids: list[int]) -> list[int]:
        """A turn up to the token that ends it.

        That is the one that ends texts; in a template that writes another, the special token after which nothing but
        white space follows. A template that writes none leaves it to the next message: then it is added.
        """
        if self.end in ids:
            return ids[: ids.index(self.end) + 1]
        special = frozenset(getattr(self.tokenizer, "added_tokens_decoder", ()))
        last = max((place for place, each in enumerate(ids) if each in special), default=None)
        if last is not None and not "".join(self.tokenizer.batch_decode([ids[last + 1 :]])).strip():
            return ids[: last + 1]
        return [*ids, self.end]

    def _mark(self, prompt: Sequence[int], labels: Sequence[int], straddles: bool) -> int:  # noqa: FBT001
        """The mark of a prompt and its whole labels, which end with a stop."""
        return (
            (Mark.SHORTENED if len(self._written(prompt)) > self._room else 0)
            | (Mark.CUT if len(labels) > self.limits.max_target else Mark.STOPS)
            | (Mark.STRADDLES if straddles else 0)
        )

    @property
    def _room(self) -> int:
        """How many tokens of a prompt are read beside what begins it."""
        return max(self.limits.max_source - len(self.start), 0)

    def _written(self, prompt: Sequence[int]) -> Sequence[int]:
        """A prompt without what begins texts, which it may spell, as chat templates do."""
        return prompt[len(self.start) :] if tuple(prompt[: len(self.start)]) == self.start else prompt

    def begun(self, prompt: Sequence[int]) -> tuple[int, ...]:
        """A prompt with what begins texts before it, once, cut at its beginning, and never empty."""
        written, room = self._written(prompt), self._room
        return (*self.start, *(written[-room:] if room else ())) or self.first

    def fitting(self, chunk: Sequence[Example]) -> list[Example]:
        """Rows whose sources are shortened by their cuts where they are too long."""
        room = self.limits.max_source - len(self.start)

        def ids_of(text: str) -> list[int]:
            return plain_ids(self.tokenizer, [text])[0]

        return [
            attrs.evolve(row, source=shorten_by_cuts(row, ids_of, self.tokenizer, room), cuts=())
            if row.cuts and len(ids_of(row.source)) > room
            else row
            for row in chunk
        ]


@attrs.frozen
class _Half:
    """The tokens of a row's prompt and of its completion, and whether the first of the latter begins in the former."""

    prompt: list[int]
    completion: list[int]
    straddles: bool = False


def _halves(rows: Sequence[Example], tokenizer: Tokenizer) -> Iterator[_Half]:
    """The tokens of each row's prompt and of its completion."""
    if not rows:
        return  # transformers makes an error of no texts
    wholes = [row.source + row.target for row in rows]
    if getattr(tokenizer, "is_fast", True):
        made = tokenizer(wholes, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        ids = made["input_ids"]
        offsets = made["offset_mapping"]
        sizes = [_ended(places, len(row.source)) for row, places in zip(rows, offsets, strict=True)]
        firsts = [places[size][0] if size < len(places) else None for places, size in zip(offsets, sizes, strict=True)]
    else:  # which cannot say where a token lies: what both have in common is the prompt's
        ids, alone = plain_ids(tokenizer, wholes), plain_ids(tokenizer, [row.source for row in rows])
        sizes, firsts = [shared(*each) for each in zip(ids, alone, strict=True)], [None] * len(rows)
    words = control_words(tokenizer)
    for row, both, size, first in zip(rows, ids, sizes, firsts, strict=True):
        if any(word in row.target for word in words):  # text is text: a completion that spells an end has none there
            (prompt,), (completion,) = (
                plain_ids(tokenizer, [row.source]),
                plain_ids(tokenizer, [row.target], split_special_tokens=True),
            )
            yield _Half(prompt, completion)
        else:
            yield _Half(both[:size], both[size:], straddles=first is not None and first < len(row.source))


def _ended(places: Sequence[tuple[int, int]], boundary: int) -> int:
    """How many of the first tokens end before the boundary, given where each begins and ends."""
    return next((place for place, (_, end) in enumerate(places) if end > boundary), len(places))
