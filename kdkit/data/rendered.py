"""Rendered conversations: where their text spells special tokens without meaning them, and their token ids."""

from __future__ import annotations

import json
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_PRIVATE = (0xF0000, 0x100000, 0xE000)
"""Where characters begin that stand for nothing; texts seldom have them."""
_NAMES = ("role", "type")
"""Fields of messages that templates compare, and that hold no text of people."""


@attrs.frozen
class Rendered:
    """A rendered text.

    Attributes:
        text: The text.
        plain: Where it spells special tokens without meaning them: begin and end of each place, in order.
    """

    text: str
    plain: tuple[tuple[int, int], ...] = ()


def special_words(tokenizer: Any) -> re.Pattern[str]:
    """Finds a tokenizer's special tokens, as people may spell them; the longest of those that begin alike."""
    added = (token.content for token in getattr(tokenizer, "added_tokens_decoder", {}).values() if token.special)
    words = sorted({*added, *getattr(tokenizer, "all_special_tokens", ())}, key=lambda word: (-len(word), word))
    return re.compile("|".join(map(re.escape, filter(None, words))) or r"(?!)")


@attrs.frozen
class SpeltTokens:
    """Hides from a chat template the special tokens that texts of a conversation spell."""

    tokenizer: Any

    @cached_property
    def _special(self) -> re.Pattern[str]:
        return special_words(self.tokenizer)

    def hidden(self, value: Any) -> tuple[Any, dict[str, str]]:
        """What a template reads, with a private character for each special token that a text of it spells."""
        found = dict.fromkeys(self._spelt(value))
        if not found:
            return value, {}
        whole = json.dumps(value, ensure_ascii=False)
        base = next((each for each in _PRIVATE if not any(chr(each + i) in whole for i in range(len(found)))), None)
        if base is None:
            return value, {}
        characters = {word: chr(base + number) for number, word in enumerate(found)}

        def hide(each: Any) -> Any:
            if isinstance(each, str):
                return self._special.sub(lambda match: characters[match[0]], each)
            if isinstance(each, list):
                return [hide(item) for item in each]
            if isinstance(each, dict):
                return {key: item if key in _NAMES else hide(item) for key, item in each.items()}
            return each

        return hide(value), {character: word for word, character in characters.items()}

    def _spelt(self, value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield from self._special.findall(value)
        elif isinstance(value, list):
            for item in value:
                yield from self._spelt(item)
        elif isinstance(value, dict):
            for key, item in value.items():
                if key not in _NAMES:
                    yield from self._spelt(item)


def rendered_ids(rendered: Rendered, tokenizer: Any) -> tuple[list[int], list[tuple[int, int]]]:
    """The tokens of a rendered text, and from where to where in it each lies; nothing is put around the text.

    What it spells without meaning it is tokenized by itself, as plain text. A slow tokenizer does not say where a token
    lies: of its tokens there are no places.
    """
    ids: list[int] = []
    places: list[tuple[int, int]] = []
    asked = {"return_offsets_mapping": True} if getattr(tokenizer, "is_fast", True) else {}
    start = 0
    for begin, end in (*rendered.plain, (len(rendered.text), len(rendered.text))):
        for text, shift, options in (
            (rendered.text[start:begin], start, {}),
            (rendered.text[begin:end], begin, {"split_special_tokens": True}),
        ):
            if text:
                made = tokenizer([text], add_special_tokens=False, verbose=False, **asked, **options)
                ids += made["input_ids"][0]
                places += [(first + shift, last + shift) for first, last in made["offset_mapping"][0]] if asked else []
        start = end
    return ids, places


def marked_tokens(marked: tuple[int, int], places: Sequence[tuple[int, int]]) -> list[bool]:
    """Which tokens hold characters of a span, given where each token lies."""
    begin, end = marked
    return [first < end and last > begin and last > first for first, last in places]


def restored(text: str, spelt: Mapping[str, str]) -> Rendered:
    """A rendering with the words back that were hidden from the template, and where they are."""
    if not spelt:
        return Rendered(text)
    parts: list[str] = []
    plain: list[tuple[int, int]] = []
    length = 0
    for part in re.split(f"([{''.join(map(re.escape, spelt))}])", text):
        word = spelt.get(part, part)
        if part in spelt:
            plain.append((length, length + len(word)))
        parts.append(word)
        length += len(word)
    return Rendered("".join(parts), tuple(plain))


def shared(one: Sequence[Any], other: Sequence[Any]) -> int:
    """How many of the first items two texts or lists share."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (mine, its) in pairs if mine != its), min(len(one), len(other)))
