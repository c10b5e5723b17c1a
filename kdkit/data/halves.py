"""Prompts with their completions, tokenized as one text and parted at the boundary."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit.data.rendered import shared

if TYPE_CHECKING:
    import re
    from collections.abc import Sequence

    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.values import Example


@attrs.frozen
class Half:
    """The tokens of a row's prompt and of its completion, and whether the first of the latter begins in the former."""

    prompt: list[int]
    completion: list[int]
    straddles: bool = False


def halves(rows: Sequence[Example], tokenizer: Tokenizer, special: re.Pattern[str]) -> list[Half]:
    """The tokens of each row's prompt and of its completion.

    Text is text: a completion that spells a special token has none there. A prompt may have it, since people write
    their model's template by hand.

    Args:
        rows: The rows.
        tokenizer: The tokenizer.
        special: Finds the special tokens that a text spells.
    """
    made = _together(rows, tokenizer)
    for place, row in enumerate(rows):
        found = [match.span() for match in special.finditer(row.source + row.target)]
        if not any(end > len(row.source) for _, end in found):
            continue
        if any(end <= len(row.source) for _, end in found):
            (prompt,) = plain_ids(tokenizer, [row.source])
            (completion,) = plain_ids(tokenizer, [row.target], split_special_tokens=True)
            made[place] = Half(prompt, completion)
        else:
            (made[place],) = _together([row], tokenizer, split_special_tokens=True)
    return made


def plain_ids(tokenizer: Tokenizer, texts: Sequence[str], **options: Any) -> list[list[int]]:
    """The tokens of texts, without those that begin and end them."""
    ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=False, verbose=False, **options)["input_ids"]
    return ids


def ended(places: Sequence[tuple[int, int]], boundary: int) -> int:
    """How many of the first tokens end before the boundary, given where each begins and ends."""
    return next((place for place, (_, end) in enumerate(places) if end > boundary), len(places))


def reaches_over(
    ids: Sequence[int], places: Sequence[tuple[int, int]], size: int, boundary: int, tokenizer: Tokenizer
) -> bool:
    """Whether the token after the first `size` begins before the boundary."""
    if size == len(ids) or places[size][0] < boundary:
        return size < len(ids)
    if (places[size - 1][1] if size else 0) >= boundary:
        return False
    # Some tokenizers (trim_offsets) leave the white space at a token's beginning out of where it lies.
    return tokenizer.batch_decode([[ids[size]]])[0][:1].isspace()


def _together(rows: Sequence[Example], tokenizer: Tokenizer, **options: Any) -> list[Half]:
    if not rows:
        return []  # transformers makes an error of no texts
    wholes = [row.source + row.target for row in rows]
    if not getattr(tokenizer, "is_fast", True):  # it cannot say where a token lies: what both share is the prompt's
        both, alone = (plain_ids(tokenizer, each, **options) for each in (wholes, [row.source for row in rows]))
        sizes = [shared(*each) for each in zip(both, alone, strict=True)]
        return [Half(ids[:size], ids[size:]) for ids, size in zip(both, sizes, strict=True)]
    made = tokenizer(wholes, add_special_tokens=False, return_offsets_mapping=True, verbose=False, **options)
    found = []
    for row, ids, places in zip(rows, made["input_ids"], made["offset_mapping"], strict=True):
        boundary = len(row.source)
        size = ended(places, boundary)
        found.append(Half(ids[:size], ids[size:], reaches_over(ids, places, size, boundary, tokenizer)))
    return found
