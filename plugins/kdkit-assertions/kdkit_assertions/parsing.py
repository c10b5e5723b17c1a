"""Whether a generated text is code at all: Java by tree-sitter's grammar, Python by Python's own parser.

A text without a statement does not count as code.
"""

from __future__ import annotations

import ast
import functools
import textwrap
import warnings
from typing import TYPE_CHECKING

from kdkit_assertions.expectations import Misfit, parse_expectation

if TYPE_CHECKING:
    import tree_sitter

    from kdkit_assertions.statements import Language

_BEFORE, _AFTER = b"class A {\nvoid a() {\n", b"\n}\n}\n"


def parses(text: str, language: Language) -> bool:
    """Whether a text is one or more statements of the language.

    Of Python, the last line of a block's opening may lack its block (`with raises(E):`), and the end of an assertion
    (`== 3`, `is true`, `raises ValueError`) counts as well.
    """
    if not text.strip():
        return False
    return _parses_as_java(text) if language == "java" else _parses_as_python(text)


def _parses_as_java(text: str) -> bool:
    """Put into a method's body, the text leaves nothing that is wrong or missing, and does not get out of there."""
    code = text.encode(errors="replace")
    class_ = _java_parser().parse(_BEFORE + code + _AFTER).root_node
    if class_.has_error or class_.named_child_count != 1:
        return False
    members = class_.named_children[0].child_by_field_name("body")
    if members is None or members.named_child_count != 1:
        return False
    body = members.named_children[0].child_by_field_name("body")
    return (
        body is not None
        and body.end_byte == len(_BEFORE) + len(code) + 2  # the line end and the bracket after it
        and any(child.type not in {"line_comment", "block_comment", ";"} for child in body.named_children)
    )


@functools.cache
def _java_parser() -> tree_sitter.Parser:
    import tree_sitter
    import tree_sitter_java

    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_java.language()))


def _parses_as_python(text: str) -> bool:
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    return (
        _is_python(textwrap.dedent(text))
        or all(_is_python(line) or _is_python(f"{line}\n pass") for line in lines)
        or _is_expectation(text)
    )


def _is_python(text: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes and comparisons that look odd
            return bool(ast.parse(text).body)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the last two: nested too deep for the parser
        return False


def _is_expectation(text: str) -> bool:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            parse_expectation(text)
    except (Misfit, SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
