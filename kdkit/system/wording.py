"""Texts: what is compared of one, and the plural of a noun."""

from __future__ import annotations


def trim(text: str) -> str:
    """The text with line ends written as newlines and without white space at its ends."""
    return text.replace("\r\n", "\n").replace("\r", "\n").strip()


def millions(count: int) -> str:
    """`60.5 M`."""
    return f"{count / 1e6:.1f} M"


def plural(count: int, noun: str) -> str:
    """`1 row`, `2,000 rows`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
