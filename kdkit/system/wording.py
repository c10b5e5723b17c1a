"""Texts: normalised, shown safely, shortened; the plural of a noun, and a name that may be meant."""

from __future__ import annotations

import textwrap
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Control characters of ASCII, those beyond it (a terminal may take U+009B for the start of a command), and marks that
# let a reader see a text in another order than it has.
_BEYOND = (*range(0x80, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A))
_SHOWN: dict[int, int | str] = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"}
_SHOWN |= {127: 0x2421, **{code: f"\\u{code:04x}" for code in _BEYOND}}


_FIRST, _LONGEST = 3, 60
"""Of many texts in a message, how many are named, and how many characters of each."""


def trim(text: str) -> str:
    """The text with line ends written as newlines and without white space at its ends."""
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def visible(text: str) -> str:
    """Text that no page or terminal can trip over: control characters and what turns text around are shown, not obeyed.

    Those that a keyboard has are pictures, others escapes as in JSON, half characters a question mark.
    """
    return text.replace("\r\n", "\n").translate(_SHOWN).encode("utf-8", "replace").decode("utf-8")


def wrapped(text: str, width: int, indent: int = 2) -> str:
    """Lines of so many columns that end between words; a word that fits none, such as a path, stays in one piece.

    Args:
        text: Sentences, one a line.
        width: The columns.
        indent: How far further lines of a sentence are indented.
    """
    fold = partial(textwrap.fill, width=width, break_long_words=False, break_on_hyphens=False, replace_whitespace=False)
    return "\n".join(fold(line, subsequent_indent=" " * indent) for line in text.split("\n"))


def first_few(texts: Sequence[str]) -> str:
    """The first of many texts, each on one line and cut where it is long: `'a', 'b', 'c', ...`."""
    return ", ".join([*map(quoted, texts[:_FIRST]), *(["..."] if len(texts) > _FIRST else [])])


def quoted(text: str) -> str:
    """A text in a message, on one line and cut where it is long."""
    return repr(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}...")


def rounded(count: float) -> str:
    """Three digits of a count: `33.6 k`, `60.5 M`."""
    return scaled(count, ("", "k", "M", "G"))


def scaled(value: float, units: tuple[str, ...]) -> str:
    """Three digits and the fitting unit of a ladder of thousands."""
    step = 0
    while abs(value) >= 999.5 and step < len(units) - 1:
        value, step = value / 1000, step + 1
    digits = 0 if abs(value) >= 99.95 or value == int(value) else 1 if abs(value) >= 9.995 else 2
    return f"{value:.{digits}f} {units[step]}".rstrip()


def plural(count: int, noun: str) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def first_line(error: BaseException) -> str:
    """The text of a library's error, shortened to what fits into a sentence."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) > 1 and lines[0].endswith(":"):  # a heading without what it heads says nothing
        lines[0] += f" {lines[1]}"
    return (lines[0] if lines else type(error).__name__)[:300]


def did_you_mean(value: object, known: Sequence[object]) -> str:
    """`; did you mean "..."?` if a known name is near, else nothing."""
    if not isinstance(value, str):
        return ""
    near = get_close_matches(value, [name for name in known if isinstance(name, str)], n=1)
    return f'; did you mean "{near[0]}"?' if near else ""


def near_or_all(value: str, known: Sequence[str]) -> str:
    """`; did you mean "..."?` if a known name is near, else every known name."""
    return did_you_mean(value, known) or (f"; available: {', '.join(known)}" if known else ", which has no options")
