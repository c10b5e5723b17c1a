"""Rows for decoder-only models: prompt and completion tokenized as one text, and where the completion begins.

A tokenizer splits a text otherwise than its halves, and what a model meets in real text is the whole. So both are
tokenized together; a token that reaches over the boundary belongs to the completion. After the completion comes the
token that ends texts, unless the limit cuts the completion: then it does not end there.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

import attrs

from kdkit.api.values import Example
from kdkit.data.blocks import blocks, check_room, text_tokens
from kdkit.data.chats import ChatTemplate, Refused
from kdkit.data.encoded_rows import EncodedRows, GrowingRows
from kdkit.data.halves import ended, halves, plain_ids, reaches_over
from kdkit.data.reading import GrowingReading, Mark, Reading
from kdkit.data.rendered import marked_tokens, rendered_ids, shared, special_words
from kdkit.data.text_ends import beginning, document_end, ending
from kdkit.data.tokens import chunks, shorten_by_cuts
from kdkit.errors import UsageError

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable, Sequence

    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.options import TokenLimits
    from kdkit.data.chats import Turn


def read_sequences(
    examples: Iterable[Example], tokenizer: Tokenizer, limits: TokenLimits, *, stops: frozenset[int] = frozenset()
) -> Reading:
    """Token ids of every example, within the limits: `source_ids` are what is read first, `target_ids` the labels.

    A prompt that is too long is shortened by its `cuts`, in their order, then at its beginning: the completion follows
    its end. Every row has at least one token before its labels, since the first of them is judged by the last of these.
    A text becomes rows of blocks, and a conversation a row for each of the assistant's turns.

    Args:
        examples: The rows.
        tokenizer: The tokenizer.
        limits: The limits.
        stops: All tokens at which the model stops; beside the one that ends texts, a model may have others.

    Raises:
        UsageError: The tokenizer has no token that ends a text, or no chat template for a conversation, or the limits
            leave the blocks of a text nothing to learn.
    """
    growing, reader = GrowingReading(), _Reader.of(tokenizer, limits, stops)
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

    After a conversation it writes the assistant's next turn; a text it continues, read as in training.

    Raises:
        UsageError: The tokenizer has no token that ends a text, or its chat template refuses a conversation.
    """
    reader, growing = _Reader.of(tokenizer, limits), GrowingRows()
    template = ChatTemplate.of(tokenizer) if any(row.form == "chat" for row in examples) else None
    for chunk in chunks(examples, limits, keep="tail"):
        fitting = reader.fitting(chunk)
        sources = [reader.prompt(row, template) for row in fitting]
        growing.add_lists([example.id for example in fitting], sources, [()] * len(fitting))
    return growing.done()


def completion_ids(texts: Sequence[str], tokenizer: Tokenizer) -> list[list[int]]:
    """The labels of whole completions, each alone."""
    end = ending(tokenizer)
    rows = [Example(id="", source="", target=text) for text in texts]
    return [[*half.completion, end] for half in halves(rows, tokenizer, special_words(tokenizer))]


@attrs.frozen(kw_only=True)
class _Reader:
    """Reads examples of each form with one tokenizer.

    Attributes:
        tokenizer: The tokenizer.
        limits: The limits.
        end: The token that ends texts.
        start: What begins every row.
        first: What begins a row that would be empty otherwise: blocks, and rows without a prompt.
        stops: The tokens at which the model stops: `end` is one of them.
        special: Finds the special tokens that a text spells.
    """

    tokenizer: Tokenizer
    limits: TokenLimits
    end: int
    start: tuple[int, ...]
    first: tuple[int, ...]
    stops: frozenset[int]
    special: re.Pattern[str]

    @classmethod
    def of(cls, tokenizer: Tokenizer, limits: TokenLimits, stops: frozenset[int] = frozenset()) -> _Reader:
        """A reader; refuses a tokenizer without an end."""
        end, start = ending(tokenizer), beginning(tokenizer)
        begins = getattr(tokenizer, "bos_token_id", None)
        first = start or ((end if begins is None else begins),)
        return cls(
            tokenizer=tokenizer,
            limits=limits,
            end=end,
            start=start,
            first=first,
            stops=stops | {end},
            special=special_words(tokenizer),
        )

    def pairs(self, examples: Iterable[Example], growing: GrowingReading) -> None:
        """Add prompts with their completions."""
        for chunk in chunks(examples, self.limits, keep="tail"):
            fitting = self.fitting(chunk)
            parted = halves(fitting, self.tokenizer, self.special)
            labels = [[*half.completion, self.end] for half in parted]
            marks = [
                self._mark(half.prompt, label, half.straddles)
                | (Mark.SHORTENED if len(row.source) != len(whole.source) else 0)
                for half, label, row, whole in zip(parted, labels, fitting, chunk, strict=True)
            ]
            growing.add(
                [example.id for example in fitting],
                [self.begun(half.prompt) for half in parted],
                [label[: self.limits.max_target] for label in labels],
                bytes(marks),
            )

    def texts(self, examples: Iterable[Example], growing: GrowingReading) -> None:
        """Add the blocks of texts."""
        first, end = self._around_texts
        check_room(self.limits, begins=len(first))
        for row in examples:
            (tokens,) = text_tokens([row.target], self.tokenizer, self.special)
            cut = blocks(tokens, end=end, begins=len(first), limits=self.limits)
            growing.add_parts(
                [
                    (
                        f"{row.id}#{number}",
                        (*first, *block.read),
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

    def prompt(self, row: Example, template: ChatTemplate | None) -> tuple[int, ...]:
        """What is read where a text is to be written for a row; the template is for conversations."""
        if row.form == "text":
            (tokens,) = text_tokens([row.target], self.tokenizer, self.special)
            first, _ = self._around_texts
            room = max(min(self.limits.max_source, self.limits.max_length) - len(first), 0)
            return (*first, *(tokens.ids_X[-room:].tolist() if room else ()))
        if template is None or row.form != "chat":
            return self.begun(plain_ids(self.tokenizer, [row.source])[0])
        opened = template.opened(row.target)
        if isinstance(opened, str):
            raise UsageError(f"{row.id}: the row cannot be used because {opened}; correct it, or set data.skip_broken")
        return self.begun(rendered_ids(opened, self.tokenizer)[0])

    def _turn(self, turn: Turn) -> tuple[tuple[int, ...], list[int], int]:
        """What is read before a turn, its labels and its mark."""
        ids, places = rendered_ids(turn.full, self.tokenizer)
        if places:
            size = ended(places, turn.boundary)
            straddles = reaches_over(ids, places, size, turn.boundary, self.tokenizer)
        else:
            alone = attrs.evolve(turn.full, text=turn.full.text[: turn.boundary])
            size, straddles = shared(ids, rendered_ids(alone, self.tokenizer)[0]), False
        labels = self._stopped(ids[size:])
        mark = self._mark(ids[:size], labels, straddles)
        mark |= (0 if turn.is_opened else Mark.OPENED) | (Mark.LACKS_TOOLS if turn.lacks_tools else 0)
        if turn.marked is not None and places:
            is_marked = marked_tokens(turn.marked, places)
            stop = size + len(labels) - 1  # some templates mark the stop, and some do not: it is a label in any case
            # Some tokenizers (trim_offsets) give tokens of white space no place: nothing can be said of these.
            is_right = [each or first == last for each, (first, last) in zip(is_marked, places, strict=True)]
            if any(is_marked[:size]) or not all(is_right[size:stop]):
                mark |= Mark.DIFFERS
        return self.begun(ids[:size]), labels[: self.limits.max_target], mark

    def _stopped(self, ids: list[int]) -> list[int]:
        """A turn up to the first token at which the model stops.

        In a template that writes none of these, up to the special token after which nothing but white space follows. A
        template that writes no special token either leaves the stop to the next message: then it is added.
        """
        first = next((place for place, each in enumerate(ids) if each in self.stops), None)
        if first is not None:
            return ids[: first + 1]
        last = max((place for place, each in enumerate(ids) if each in self._special_ids), default=None)
        if last is not None and not "".join(self.tokenizer.batch_decode([ids[last + 1 :]])).strip():
            return ids[: last + 1]
        return [*ids, self.end]

    @property
    def _special_ids(self) -> frozenset[int]:
        """The special tokens: not all that were added are."""
        added = getattr(self.tokenizer, "added_tokens_decoder", {})
        return frozenset(place for place, token in added.items() if token.special)

    def _mark(self, prompt: Sequence[int], labels: Sequence[int], straddles: bool) -> int:  # noqa: FBT001
        """The mark of a prompt and its whole labels, which end with a stop."""
        return (
            (Mark.SHORTENED if len(self._written(prompt)) > self._room else 0)
            | (Mark.CUT if len(labels) > self.limits.max_target else Mark.STOPS)
            | (Mark.STRADDLES if straddles else 0)
        )

    @property
    def _around_texts(self) -> tuple[tuple[int, ...], int]:
        """What begins the blocks of texts, and what ends texts."""
        if not self.limits.document_end:
            return self.first, self.end
        end = document_end(self.tokenizer, self.limits.document_end)
        return self.start or (end,), end

    @property
    def _room(self) -> int:
        """How many tokens of a prompt are read beside what begins it."""
        return max(self.limits.max_source - len(self.start), 0)

    def _written(self, prompt: Sequence[int]) -> Sequence[int]:
        """A prompt without what begins texts, which it may spell, as chat templates do, even twice."""
        while self.start and tuple(prompt[: len(self.start)]) == self.start:
            prompt = prompt[len(self.start) :]
        return prompt

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
