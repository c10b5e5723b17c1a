"""Texts put into tests: where a true assertion stood, a generated one is put, and nothing else of the test changes.

Only syntax trees are changed: a text is parsed by itself first, so what it says cannot reach beyond its place. Parsing
a text may end the interpreter (one nested too deep), so this runs in the process of its row, see
`kdkit_assertions.row_worker`.
"""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import attrs

from kdkit_assertions.checks import is_assertion, one_line, oracles
from kdkit_assertions.contexts import LinedTest
from kdkit_assertions.expectations import Misfit, with_expectation
from kdkit_assertions.mining import Function, descendants, tests_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kdkit_assertions.mining import Parsed

REACHED = "_kdkit_reached"
"""The name of what a placed test calls where its assertion stands."""


class NotThere(Exception):
    """The test or assertion that a row was made of is not in the module."""


@attrs.frozen(kw_only=True)
class Row:
    """What identifies a row's assertions.

    Attributes:
        task: "oracle" or "assertion".
        module: The test module.
        test: The test in it: `TestClass.test_name`.
        number: Oracle task: which oracle of the test.
        line: The line of the (first) assertion.
        target: The row's target.
    """

    task: str
    module: str
    test: str
    number: int
    line: int
    target: str


@attrs.frozen(kw_only=True, eq=False)
class Placed:
    """A test that is ready to be compiled.

    Attributes:
        code: Its module: imports from `__future__`, and the test, in its classes where it has any.
        path: The names that lead to it: classes, then the function.
    """

    code: ast.Module
    path: tuple[str, ...]


def place(parsed: Parsed, row: Row, text: str | None) -> Placed:
    """A row's test with a text in place of the true assertion; what comes after it in the test is left out.

    The tree of `parsed` is changed.

    Args:
        parsed: The test module.
        row: The row.
        text: The generated text; None for the true assertion.

    Raises:
        NotThere: The module has no such assertion.
        Misfit: The text is no assertion, or none that fits there.
        SyntaxError: The text is not Python.
    """
    function = _function(parsed, row)
    old, new = _oracle(function, row, text) if row.task == "oracle" else _assertions(function, row, text)
    last = next(index for index, node in enumerate(function.body) if any(part is old[-1] for part in descendants(node)))
    function.body = function.body[: last + 1]
    for node, statements in zip(old, new, strict=True):
        _swap(function, node, [*ast.parse(f"{REACHED}()").body, *statements])
    classes = _classes(parsed.tree.body, function)
    assert classes is not None
    whole: ast.stmt = function
    for owner in reversed(classes):
        owner.body = [*(member for member in owner.body if not _is_test(member) and member is not whole), whole]
        whole = owner
    futures = [node for node in parsed.tree.body if isinstance(node, ast.ImportFrom) and node.module == "__future__"]
    code = ast.fix_missing_locations(ast.Module(body=[*futures, whole], type_ignores=[]))
    return Placed(code=code, path=(*(owner.name for owner in classes), function.name))


def _function(parsed: Parsed, row: Row) -> Function:
    for test in tests_of(parsed):
        if test.id == f"{row.module}::{row.test}":
            return test.node
    raise NotThere(f"{row.module} has no test {row.test}")


def _oracle(function: Function, row: Row, text: str | None) -> tuple[list[ast.stmt], list[list[ast.stmt]]]:
    number = 0
    for found in LinedTest(function, setup=(), module=(), relevant=False).places:
        for index, oracle in enumerate(oracles(found.assertion)):
            if number == row.number:
                if (found.assertion.lineno, oracle.expected) != (row.line, row.target):
                    raise NotThere(f'oracle {number} of {row.module}::{row.test} is not "{row.target}"')
                node = found.assertion
                return [node], [[node] if text is None else with_expectation(node, index, text)]
            number += 1
    raise NotThere(f"{row.module}::{row.test} has no oracle {row.number}")


def _assertions(function: Function, row: Row, text: str | None) -> tuple[list[ast.stmt], list[list[ast.stmt]]]:
    wanted = row.target.split("\n")
    all_ = [found.assertion for found in LinedTest(function, setup=(), module=(), relevant=False).places]
    for start, node in enumerate(all_):
        old = all_[start : start + len(wanted)]
        if node.lineno == row.line and [one_line(one) for one in old] == wanted:
            break
    else:
        raise NotThere(f"{row.module}::{row.test} has no such assertions at line {row.line}")
    if text is None:
        return old, [[one] for one in old]
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    if len(lines) != len(old):
        raise Misfit(f"{len(lines)} assertions for {len(old)} places")
    return old, [[_statement(line, one)] for line, one in zip(lines, old, strict=True)]


def _statement(line: str, old: ast.stmt) -> ast.stmt:
    """A line of generated text as the assertion that takes an old one's place; of a `with` the body stays."""
    opens_block = isinstance(old, ast.With | ast.AsyncWith)
    body = ast.parse(f"{line}\n pass" if opens_block else line).body
    if len(body) != 1 or not is_assertion(body[0]) or isinstance(body[0], ast.With | ast.AsyncWith) != opens_block:
        raise Misfit(f"{line} is not one assertion that fits the place of {one_line(old)}")
    new = body[0]
    if isinstance(new, ast.With | ast.AsyncWith) and isinstance(old, ast.With | ast.AsyncWith):
        new.body = old.body
    return new


def _swap(function: Function, old: ast.stmt, new: Sequence[ast.stmt]) -> None:
    """Put statements in an old one's place."""
    for body in _bodies(function):
        for index, node in enumerate(body):
            if node is old:
                body[index : index + 1] = new
                return
    raise AssertionError("the assertion stands in its own test")


def _bodies(function: Function) -> Iterator[list[ast.stmt]]:
    for node in descendants(function):
        for _, value in ast.iter_fields(node):
            if isinstance(value, list) and value and isinstance(value[0], ast.stmt):
                yield value


def _classes(body: Sequence[ast.stmt], function: Function) -> list[ast.ClassDef] | None:
    """The classes that a test stands in, the outermost first; None where it is not there at all."""
    for node in body:
        if node is function:
            return []
        inside = [*getattr(node, "body", ()), *getattr(node, "orelse", ())] if not isinstance(node, Function) else []
        if (found := _classes(inside, function)) is not None:
            return [node, *found] if isinstance(node, ast.ClassDef) else found
    return None


def _is_test(node: ast.stmt) -> bool:
    return isinstance(node, Function) and node.name.startswith("test")
