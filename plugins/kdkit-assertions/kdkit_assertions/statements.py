"""Statements of Java and Python: where each ends, and how it is spelt without needless white space.

A text is cut into tokens first (words, literals, punctuation; white space and comments part them), and everything else
looks at tokens. So a `;` within a string literal, a comment, brackets or a lambda's body never ends a statement. Any
text is accepted: what is opened and never closed takes the rest of its line (a literal) or text (a bracket, a text
block, a comment) with it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Language: TypeAlias = Literal["java", "python"]

_COMMENT = {"java": r"//[^\n]*|/\*.*?(?:\*/|\Z)", "python": r"\#[^\n]*|\\\r?\n"}
_LONG_QUOTES = {"java": ('"""',), "python": ('"""', "'''")}


def _token_pattern(language: Language) -> re.Pattern[str]:
    # A backslash protects the next character, in raw strings too; one at the very end protects nothing.
    literals = [rf"{quotes}(?:\\.|(?!{quotes})[^\\])*+(?:{quotes}|\\?\Z)" for quotes in _LONG_QUOTES[language]]
    literals += [rf"{quote}(?:\\.|[^\\\n{quote}])*+(?:{quote}|(?=\n)|\\?\Z)" for quote in ('"', "'")]
    return re.compile(
        rf"""
        (?P<comment>{_COMMENT[language]})
        |(?P<literal>{"|".join(literals)})
        |(?P<word>[\w$]+)
        |(?P<newline>\n)
        |(?P<blank>[^\S\n]+)
        |(?P<mark>\+\+|--|.)
        """,
        re.DOTALL | re.VERBOSE,
    )


_TOKENS = {"java": _token_pattern("java"), "python": _token_pattern("python")}


class Token(NamedTuple):
    """A word, literal or punctuation mark of a text.

    Attributes:
        kind: "word" (numbers included), "literal", "mark", or "newline" within a Python block.
        text: As it stands.
        spaced: Whether white space or a comment stands before it.
        depth: How many brackets it stands in, itself not counted.
        indent: Characters before it on its line; None where it is not the first there.
    """

    kind: str
    text: str
    spaced: bool = False
    depth: int = 0
    indent: int | None = None


_NEWLINE = Token("newline", "\n")


def tokens_of(text: str, language: Language) -> Iterator[Token]:
    """The tokens of a text, in order, without its comments and white space."""
    depth = 0
    spaced = False
    indent: int | None = 0
    for match in _TOKENS[language].finditer(text):
        kind, piece = str(match.lastgroup), match.group()
        if kind in {"comment", "newline", "blank"}:
            spaced = True
            if kind == "newline":
                indent = 0
            elif kind == "blank" and indent is not None:
                indent += len(piece)
            continue
        if piece in (")", "]", "}"):
            depth = max(depth - 1, 0)
        yield Token(kind, piece, spaced, depth, indent)
        if piece in ("(", "[", "{"):
            depth += 1
        spaced, indent = False, None


def split_statements(text: str, language: Language) -> list[str]:
    """The statements of a text, each as `spell` writes it.

    A Java statement ends with a `;` outside brackets; a Python one with such a `;` or a newline outside brackets, but
    a line that ends with `:` takes the lines below it that are indented deeper. The `;` is not part of a statement, the
    last one need not be closed, and one without tokens is none.
    """
    statements: list[list[Token]] = [[]]
    indent = 0
    in_block = False
    for token in tokens_of(text, language):
        current = statements[-1]
        ends = token.depth == 0 and token.text == ";"
        if language == "python" and token.depth == 0 and token.indent is not None and current:
            in_block = (in_block or current[-1].text == ":") and token.indent > indent
            if in_block:
                current.append(_NEWLINE)
            else:
                statements.append([])
        if ends and in_block:
            statements[-1].append(_NEWLINE)
        elif ends:
            statements.append([])
        else:
            if not statements[-1] and token.indent is not None:
                indent = token.indent
            statements[-1].append(token)
    return [spelling for statement in statements if (spelling := spell(statement))]


def spell(tokens: Sequence[Token]) -> str:
    """Tokens as text in the one spelling that all texts of the same tokens share.

    White space is one blank where it parts two words or literals (`return x`) or two signs that would be another sign
    together (`+ +`), a newline between the lines of a Python block, and nothing everywhere else. Literals stay as they
    are.
    """
    written: list[str] = []
    before = _NEWLINE
    for token in tokens:
        if token.kind == "newline" and (before.kind == "newline" or before.text == ":"):
            continue
        if token.spaced and before.kind != "newline" and _needs_blank(before, token):
            written.append(" ")
        written.append(token.text)
        before = token
    return "".join(written).rstrip("\n") if before.kind == "newline" else "".join(written)


def language_of(truth: str) -> Language:
    """The language of a ground truth: Java where it ends with `;`, as Java statements must, else Python."""
    return "java" if truth.rstrip().endswith(";") else "python"


def _needs_blank(left: Token, right: Token) -> bool:
    if "mark" in {left.kind, right.kind}:
        return left.text[-1] == right.text[0] and right.text[0] in "+-"
    return True
