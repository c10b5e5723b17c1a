"""Rendered conversations: where their text spells special tokens without meaning them, and their token ids."""

from __future__ import annotations

import json
import re
from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

_PRIVATE = (0xF0000, 0x100000, 0xE000)
"""Where characters begin that stand for nothing; texts seldom have them."""
_NAMES = (("role",), ("type",))
"""Fields that templates compare, and that hold no text of people: of a message, and of what it holds in `_LISTS`."""
_LISTS = ("content", "tool_calls")
_SOUGHT = re.compile(
    r"""\.\s*(?:r?split|startswith|endswith|r?find|replace|[lr]?strip)\(\s*(['"])(.+?)\1"""
    r"""|(['"])([^'"]+)\3\s+(?:not\s+)?in\b"""
)
"""What a template looks for in the text of a message."""


@attrs.frozen(kw_only=True)
class Told:
    """What a chat template receives besides the messages.

    Attributes:
        tools: The tools; None where there are none.
        rest: Whatever else, by name.
    """

    tools: Any
    rest: Mapping[str, Any]

    @classmethod
    def of(cls, conversation: Mapping[str, Any]) -> Told:
        """What a conversation holds."""
        return cls(tools=conversation.get("tools") or None, rest=conversation.get("template") or {})


@attrs.frozen
class Rendered:
    """A rendered text.

    Attributes:
        text: The text.
        plain: Where it spells special tokens without meaning them: begin and end of each place, in order.
    """

    text: str
    plain: tuple[tuple[int, int], ...] = ()


def special_words(tokenizer: Any, but: Collection[str] = ()) -> re.Pattern[str]:
    """Finds a tokenizer's special tokens, as people may spell them; the longest of those that begin alike."""
    added = (token.content for token in getattr(tokenizer, "added_tokens_decoder", {}).values() if token.special)
    found = {*added, *getattr(tokenizer, "all_special_tokens", ())} - {*but}
    words = sorted(found, key=lambda word: (-len(word), word))
    return re.compile("|".join(map(re.escape, filter(None, words))) or r"(?!)")


@attrs.frozen
class SpeltTokens:
    """Hides from a chat template the special tokens that texts of a conversation spell."""

    tokenizer: Any

    @cached_property
    def special(self) -> re.Pattern[str]:
        """Finds them. Those that the template looks for in texts (`<think>`) are meant, save for a text's own ends."""
        sought = [match[2] or match[4] for match in _SOUGHT.finditer(str(self.tokenizer.chat_template))]
        ends = {getattr(self.tokenizer, f"{name}_token", None) for name in ("bos", "eos", "pad")}
        words = special_words(self.tokenizer)
        return special_words(self.tokenizer, but={word for each in sought for word in words.findall(each)} - ends)

    def hidden(self, messages: Any, tools: Any) -> tuple[Any, Any, dict[str, str]]:
        """What a template reads, with a private character for each special token that a text of it spells."""
        found: dict[str, str] = {}

        def look(text: str) -> str:
            found.update(dict.fromkeys(self.special.findall(text), ""))
            return text

        _each_text(messages, look, _NAMES)
        _each_text(tools, look)
        if not found:
            return messages, tools, {}
        whole = json.dumps([messages, tools], ensure_ascii=False)
        base = next((each for each in _PRIVATE if not any(chr(each + i) in whole for i in range(len(found)))), None)
        if base is None:
            return messages, tools, {}
        characters = {word: chr(base + number) for number, word in enumerate(found)}

        def hide(text: str) -> str:
            return self.special.sub(lambda match: characters[match[0]], text)

        spelt = {character: word for word, character in characters.items()}
        return _each_text(messages, hide, _NAMES), _each_text(tools, hide), spelt


def _each_text(value: Any, change: Callable[[str], str], names: Sequence[Sequence[str]] = ()) -> Any:
    """A value with each of its texts changed, keys too; not the words in the fields that `names` has for this level."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_each_text(item, change, names) for item in value]
    if not isinstance(value, dict):
        return value
    kept = names[0] if names else ()
    return {
        change(key): item
        if key in kept and str(item).isidentifier()
        else _each_text(item, change, names[1:] if key in _LISTS else ())
        for key, item in value.items()
    }


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
