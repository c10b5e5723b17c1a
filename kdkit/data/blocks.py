"""Texts without a prompt, cut into blocks: each of their tokens is learned once, and the end of a text after its last.

With `tokens.max_blocks` this holds for so many blocks from the beginning of a text, and what follows them is not read.

    tokens of a text     t0 t1 t2 t3 t4 t5 t6        then the end
    first block          <s> | t0 t1 t2 t3
    second, overlap 2    <s> t2 t3 | t4 t5
    third                <s> t4 t5 | t6 end          left of the bar is read, right of it are the labels

Letters: X tokens of a text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np

from kdkit.errors import UsageError
from kdkit.system.wording import plural

if TYPE_CHECKING:
    import re
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.options import TokenLimits

PIECE = 1 << 17
"""Characters of a text that are tokenized at a time; a longer one is parted after a line, or at a space."""


@attrs.frozen(eq=False)
class TextTokens:
    """The tokens of a text.

    Attributes:
        ids_X: The tokens, int32.
        within_X: Whether each begins within a character, of which the token before it is another part.
    """

    ids_X: npt.NDArray[np.int32]
    within_X: npt.NDArray[np.bool_]


@attrs.frozen
class Block:
    """A block of a text.

    Attributes:
        read: What is read before the first label; without what begins texts.
        labels: The labels.
        ends: Whether the last of them is the end of the text.
    """

    read: list[int]
    labels: list[int]
    ends: bool


def blocks(tokens: TextTokens, *, end: int, begins: int, limits: TokenLimits) -> Iterator[Block]:
    """The blocks of a text.

    No character is parted. An end that would be left alone reads what precedes it, whatever the overlap is.

    Args:
        tokens: The text's.
        end: The token that ends texts.
        begins: How many tokens begin each block.
        limits: How long a block may be, and how many there may be.
    """
    ids, size = tokens.ids_X.tolist(), len(tokens.ids_X)
    room = limits.max_length - begins
    place = number = 0
    while place <= size and not 0 < limits.max_blocks == number:
        overlap = min(place, limits.overlap if place < size else room - 1)
        stop = min(place + room - overlap, size + 1)
        while place + 1 < stop < size and tokens.within_X[stop]:
            stop -= 1
        ends = stop > size
        yield Block(ids[place - overlap : place], [*ids[place:stop], *([end] if ends else [])], ends)
        place, number = stop, number + 1


def check_room(limits: TokenLimits, *, begins: int) -> None:
    """Refuse limits that leave a block nothing to learn.

    Raises:
        UsageError: Says to which number to set which limit.
    """
    if limits.max_length > begins + limits.overlap:
        return
    each = f"this tokenizer begins each block of a text (data.text) with {plural(begins, 'token')}"
    if limits.max_length > begins:
        advice = f"set tokens.overlap to {limits.max_length - begins - 1} or less, or raise tokens.max_length"
        have = f"tokens.max_length is {limits.max_length} and tokens.overlap {limits.overlap}"
    else:
        advice = f"set it to {begins + limits.overlap + 1} or more"
        have = f"tokens.max_length is {limits.max_length}"
    raise UsageError(f"{have}, but {each}, so none would be left to learn; {advice}")


def text_tokens(texts: Sequence[str], tokenizer: Tokenizer, special: re.Pattern[str]) -> Iterator[TextTokens]:
    """The tokens of texts. One that spells a special token, as `special` finds it, has plain text there."""
    for text in texts:
        spells = special.search(text) is not None
        parts = [_tokens(piece, tokenizer, plain=spells) for piece in pieces(text)]
        yield TextTokens(
            np.concatenate([np.empty(0, np.int32), *(part.ids_X for part in parts)]),
            np.concatenate([np.empty(0, np.bool_), *(part.within_X for part in parts)]),
        )


def pieces(text: str, most: int = PIECE) -> Iterator[str]:
    """A text in pieces that can be tokenized one after the other: parted after a line, or at a space."""
    start = 0
    while len(text) - start > most:
        window = text[start : start + most]
        line, space = window.rfind("\n") + 1, window.rfind(" ")
        stop = start + (line or max(space, 0) or most)
        yield text[start:stop]
        start = stop
    if start < len(text):
        yield text[start:]


def _tokens(piece: str, tokenizer: Tokenizer, *, plain: bool) -> TextTokens:
    options = {"split_special_tokens": True} if plain else {}
    is_fast = bool(getattr(tokenizer, "is_fast", True))
    if is_fast:
        options["return_offsets_mapping"] = True
    made = tokenizer([piece], add_special_tokens=False, verbose=False, **options)
    ids_X = np.asarray(made["input_ids"][0], np.int32)
    within_X = np.zeros(len(ids_X), np.bool_)
    if is_fast and len(ids_X):
        places_X2 = np.asarray(made["offset_mapping"][0], np.int64)
        within_X[1:] = places_X2[1:, 0] < places_X2[:-1, 1]
    return TextTokens(ids_X, within_X)
