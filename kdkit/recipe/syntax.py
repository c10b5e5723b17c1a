"""What is wrong with a file that is not TOML: where, and what was probably meant."""

from __future__ import annotations

import re
import tomllib
from typing import TYPE_CHECKING

from kdkit.system.parsing import Beyond, parse_toml

if TYPE_CHECKING:
    from pathlib import Path

_NOTHING = frozenset({"none", "null", "nil"})
_TRUTHS = frozenset({"true", "false"})
_MOST_LINES = 2000
"""Beyond so many lines, a fault that shows at a file's end is not looked for."""


def syntax_error(path: Path, text: str, message: str) -> str:
    """A sentence with the place.

    Args:
        path: The file.
        text: What it holds.
        message: What the parser of TOML says.
    """
    if path.suffix != ".toml":
        return f"{path}:1:1: is not a recipe, which is a TOML file; `kdkit init {path}` writes one for a file of rows"
    match = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", message, re.DOTALL)
    if match is None:
        return f"{path}:1:1: is not valid TOML: {message}"
    sentence, lines = f"{match[1][:1].lower()}{match[1][1:]}", text.split("\n")
    if not match[2] and not sentence.startswith("cannot"):  # as a key that comes twice, which is whole
        return f"{path}:{_open_at(lines)}:1: is not valid TOML: what begins here is not closed: {sentence}"
    line, column = (int(match[2]), int(match[3])) if match[2] else (len(lines), len(lines[-1]) + 1)
    rest = lines[line - 1][column - 1 :] if line <= len(lines) else ""
    return f"{path}:{line}:{column}: is not valid TOML: {sentence}{_meant(sentence, rest)}"


def _open_at(lines: list[str]) -> int:
    """The line from which on a document does not end: the first after the longest beginning that is whole."""
    if len(lines) > _MOST_LINES:
        return len(lines)
    for count in range(len(lines), -1, -1):
        try:
            parse_toml("\n".join(lines[:count]))
        except (tomllib.TOMLDecodeError, Beyond):
            continue
        return min(count + 1, len(lines))
    return 1


def _meant(sentence: str, rest: str) -> str:
    """What was probably meant by what follows the place; empty where nothing is near."""
    if sentence.startswith("expected '='") and rest.startswith(":"):
        return "; write key = value"
    found = re.match(r"[A-Za-z_][\w./-]*", rest)
    if sentence != "invalid value" or found is None:
        return ""
    word = found[0]
    if word.lower() in _NOTHING:
        return "; leave the key out where it has no value"
    return f"; write {word.lower()}" if word.lower() in _TRUTHS else f'; text stands in quotes: "{word}"'
