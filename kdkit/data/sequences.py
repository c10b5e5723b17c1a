"""Rows for decoder-only models: prompt and completion tokenized as one text, and where the completion begins.

A tokenizer splits a text otherwise than its halves, and what a model meets in real text is the whole. So both are
tokenized together; a token that reaches over the boundary belongs to the completion. After the completion comes the
token that ends texts, unless the limit cuts the completion: then it does not end there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.values import Example
from kdkit.data.encoded_rows import EncodedRows, GrowingRows
from kdkit.data.tokens import chunks, control_words, shorten_by_cuts
from kdkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.options import TokenLimits

PROBE = "x = 1"


def encode_sequences(examples: Iterable[Example], tokenizer: Tokenizer, limits: TokenLimits) -> EncodedRows:
    """Token ids of every example, within the limits: `source_ids` are the prompt's, `target_ids` the labels.

    A prompt that is too long is shortened by its `cuts`, in their order, then at its beginning: the completion follows
    its end. Every prompt has at least one token, since the first label is judged by the last of them.

    Raises:
        UsageError: The tokenizer has no token that ends a text.
    """
    end, start = ending(tokenizer), beginning(tokenizer)
    growing = GrowingRows()
    for chunk in chunks(examples, limits, keep="tail"):
        fitting = _fitting(chunk, tokenizer, limits, start)
        halves = list(_halves(fitting, tokenizer))
        growing.add_lists(
            [example.id for example in fitting],
            [_begun(prompt, tokenizer, limits, start) for prompt, _ in halves],
            [[*completion, end][: limits.max_target] for _, completion in halves],
        )
    return growing.done()


def encode_prompts(examples: Iterable[Example], tokenizer: Tokenizer, limits: TokenLimits) -> EncodedRows:
    """What a model reads when it has to write a completion: the prompts, tokenized alone as whoever uses it does."""
    start, growing = beginning(tokenizer), GrowingRows()
    for chunk in chunks(examples, limits, keep="tail"):
        fitting = _fitting(chunk, tokenizer, limits, start)
        prompts = plain_ids(tokenizer, [each.source for each in fitting])
        sources = [_begun(prompt, tokenizer, limits, start) for prompt in prompts]
        growing.add_lists([example.id for example in fitting], sources, [()] * len(fitting))
    return growing.done()


def completion_ids(texts: Sequence[str], tokenizer: Tokenizer) -> list[list[int]]:
    """The labels of whole completions, each alone."""
    end = ending(tokenizer)
    return [[*ids, end] for _, ids in _halves([Example(id="", source="", target=text) for text in texts], tokenizer)]


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


def _begun(prompt: Sequence[int], tokenizer: Tokenizer, limits: TokenLimits, start: tuple[int, ...]) -> tuple[int, ...]:
    """A prompt with what begins texts before it, cut at its beginning, and never empty.

    A prompt that spells what begins texts has it once all the same.
    """
    written = prompt[len(start) :] if tuple(prompt[: len(start)]) == start else prompt  # as chat templates begin
    room = max(limits.max_source - len(start), 0)
    ids = (*start, *(written[-room:] if room else ()))
    if ids:
        return ids
    first = getattr(tokenizer, "bos_token_id", None)
    return (ending(tokenizer) if first is None else first,)


def _fitting(
    chunk: Sequence[Example], tokenizer: Tokenizer, limits: TokenLimits, start: tuple[int, ...]
) -> list[Example]:
    """Rows whose sources are shortened by their cuts where they are too long."""

    def ids_of(text: str) -> list[int]:
        return plain_ids(tokenizer, [text])[0]

    room = limits.max_source - len(start)
    return [
        attrs.evolve(row, source=shorten_by_cuts(row, ids_of, tokenizer, room), cuts=())
        if row.cuts and len(ids_of(row.source)) > room
        else row
        for row in chunk
    ]


def _halves(rows: Sequence[Example], tokenizer: Tokenizer) -> Iterator[tuple[list[int], list[int]]]:
    """The tokens of each row's prompt and of its completion."""
    if not rows:
        return  # transformers makes an error of no texts
    wholes = [row.source + row.target for row in rows]
    if getattr(tokenizer, "is_fast", True):
        made = tokenizer(wholes, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        ids = made["input_ids"]
        sizes = [_ended(places, len(row.source)) for row, places in zip(rows, made["offset_mapping"], strict=True)]
    else:  # which cannot say where a token lies: what both have in common is the prompt's
        ids, alone = plain_ids(tokenizer, wholes), plain_ids(tokenizer, [row.source for row in rows])
        sizes = [_shared(*each) for each in zip(ids, alone, strict=True)]
    words = control_words(tokenizer)
    for row, both, size in zip(rows, ids, sizes, strict=True):
        if any(word in row.target for word in words):  # text is text: a completion that spells an end has none there
            (prompt,), (completion,) = (
                plain_ids(tokenizer, [row.source]),
                plain_ids(tokenizer, [row.target], split_special_tokens=True),
            )
            yield prompt, completion
        else:
            yield both[:size], both[size:]


def _ended(places: Sequence[tuple[int, int]], boundary: int) -> int:
    """How many of the first tokens end before the boundary, given where each begins and ends."""
    return next((place for place, (_, end) in enumerate(places) if end > boundary), len(places))


def _shared(one: Sequence[int], other: Sequence[int]) -> int:
    """How many of the first tokens two texts share."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (mine, its) in pairs if mine != its), min(len(one), len(other)))
