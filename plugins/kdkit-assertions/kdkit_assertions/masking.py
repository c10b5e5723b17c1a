"""Tests with their assertions masked, in place, in the author's own layout.

A test with many assertions makes several rows: windows of consecutive assertions, as even as they can be. In the text
of a window its assertions are `<ASSERT_0>`, `<ASSERT_1>`, ... (of a `with raises(E):` only the line that opens it; what
should raise stays), those before it are taken out, and the text ends with its last assertion (with the test, for the
last window).
"""

from __future__ import annotations

import ast
import textwrap
from typing import TYPE_CHECKING

import attrs

from kdkit_assertions.checks import assertions, blocks, is_assertion

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kdkit_assertions.mining import Function, Parsed


@attrs.frozen(kw_only=True, eq=False)
class MaskedTest:
    """A test with a window of its assertions masked.

    Attributes:
        text: The test, dedented.
        assertions: The masked assertions, in the order of their placeholders.
    """

    text: str
    assertions: tuple[ast.stmt, ...]


def masked_windows(parsed: Parsed, function: Function, *, at_most: int) -> Iterator[MaskedTest]:
    """The windows of a test.

    Args:
        parsed: The module that it stands in.
        function: The test.
        at_most: Assertions a window at most.
    """
    found = list(assertions(function.body))
    ends = _even_ends(len(found), at_most)
    alone = _alone(function.body)
    first = min((decorator.lineno for decorator in function.decorator_list), default=function.lineno)
    for start, end in zip([0, *ends], ends, strict=False):
        last = function if end == len(found) else found[end - 1]
        edits = [
            _removal(parsed, node, alone=node in alone)
            if number < start
            else _placeholder(parsed, node, number - start)
            for number, node in enumerate(found[:end])
        ]
        text = _edited(parsed, first, last.end_lineno or last.lineno, edits)
        yield MaskedTest(text=text, assertions=tuple(found[start:end]))


def _even_ends(count: int, at_most: int) -> list[int]:
    windows = -(-count // at_most)
    return [count * (window + 1) // windows for window in range(windows)]


def _alone(body: list[ast.stmt]) -> set[ast.stmt]:
    """The first assertion of each block that would be empty without its assertions."""
    found = {body[0]} if body and all(map(is_assertion, body)) else set()
    for node in body:
        if not is_assertion(node):
            for block in blocks(node):
                found |= _alone(block)
    return found


@attrs.frozen
class _Edit:
    """Replace what lies between two places, each a line (from 1) and a character column, by a text."""

    line: int
    column: int
    end_line: int
    end_column: int
    text: str


def _span(parsed: Parsed, node: ast.stmt, text: str) -> _Edit:
    """An edit of a whole assertion, with a comment that ends its line, which may tell what was asserted."""
    line, column = node.lineno, parsed.column(node.lineno, node.col_offset)
    if isinstance(node, ast.With | ast.AsyncWith):
        end_line, end_column = _end_of_opening(parsed, node)
    else:
        end_line = node.end_lineno or node.lineno
        end_column = parsed.column(end_line, node.end_col_offset or 0)
    rest = parsed.lines[end_line - 1][end_column:]
    if rest.lstrip().startswith("#"):
        end_column += len(rest.rstrip("\n"))
    return _Edit(line, column, end_line, end_column, text)


def _end_of_opening(parsed: Parsed, node: ast.With | ast.AsyncWith) -> tuple[int, int]:
    """The line of the colon after the last item, and the column after it: brackets and comments may come before."""
    item = node.items[-1].optional_vars or node.items[-1].context_expr
    line = item.end_lineno or item.lineno
    column = parsed.column(line, item.end_col_offset or 0)
    while (colon := parsed.lines[line - 1][column:].partition("#")[0].find(":")) < 0:
        line, column = line + 1, 0
    return line, column + colon + 1


def _placeholder(parsed: Parsed, node: ast.stmt, number: int) -> _Edit:
    return _span(parsed, node, f"<ASSERT_{number}>")


def _removal(parsed: Parsed, node: ast.stmt, *, alone: bool) -> _Edit:
    """Take an assertion out, with its lines where it has them to itself; what is left stays Python."""
    if isinstance(node, ast.With | ast.AsyncWith):
        return _span(parsed, node, "with ...:")
    edit = _span(parsed, node, "pass")
    before = parsed.lines[edit.line - 1][: edit.column]
    after = parsed.lines[edit.end_line - 1][edit.end_column :]
    if alone or before.strip() or after.strip():
        return edit
    return _Edit(edit.line, 0, edit.end_line + 1, 0, "")


def _edited(parsed: Parsed, first: int, last: int, edits: Sequence[_Edit]) -> str:
    pieces: list[str] = []
    line, column = first, 0
    for edit in edits:
        pieces += [*_between(parsed, line, column, edit.line, edit.column), edit.text]
        line, column = edit.end_line, edit.end_column
    pieces += _between(parsed, line, column, last + 1, 0)
    return textwrap.dedent("".join(pieces)).strip("\n")


def _between(parsed: Parsed, line: int, column: int, end_line: int, end_column: int) -> list[str]:
    if line > end_line or (line == end_line and column >= end_column):
        return []
    if line == end_line:
        return [parsed.lines[line - 1][column:end_column]]
    tail = [parsed.lines[end_line - 1][:end_column]] if end_column else []
    return [parsed.lines[line - 1][column:], *parsed.lines[line : end_line - 1], *tail]
