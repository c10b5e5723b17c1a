"""Oracle rows: what a test does before an assertion, then what the assertion checks.

A test becomes lines, each statement one (written by `ast.unparse`, so without comments), its assertions left out. The
context of an assertion is either all lines before it, or those that bear on what it checks: assignments to the
variables in it, statements that may change them, the same again for the variables in those (a backward slice), and the
openings of the blocks around what is kept. The code is for reading: with its assertions gone it need not run.
"""

from __future__ import annotations

import ast
import textwrap
from functools import cached_property
from typing import TYPE_CHECKING

import attrs

from kdkit_assertions.checks import is_assertion, openings
from kdkit_assertions.mining import descendants

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kdkit_assertions.checks import Oracle
    from kdkit_assertions.mining import Function

_DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


@attrs.frozen(eq=False)
class Line:
    """A statement, or the opening of a block.

    Attributes:
        indent: How many blocks it is in.
        nodes: What its names are read from.
        opening: The text that opens a block; None for a statement.
    """

    indent: int
    nodes: tuple[ast.AST, ...]
    opening: str | None = None

    @cached_property
    def text(self) -> str:
        """The code, without its indent."""
        return self.opening if self.opening is not None else "\n".join(map(ast.unparse, self.nodes))

    @cached_property
    def names(self) -> Names:
        """What it reads and writes."""
        return names_of(self.nodes)

    @property
    def follows(self) -> bool:
        """Whether it opens a block that cannot stand without the one before it."""
        return self.opening is not None and self.opening.startswith(("else", "except", "finally"))

    @property
    def overwrites(self) -> bool:
        """Whether it runs once and gives its variables new values, so that what they held before is of no matter."""
        return self.indent == 0 and self.opening is None and isinstance(self.nodes[0], ast.Assign)


@attrs.frozen
class Names:
    """Variables that code binds, that it may change in place, and that it reads; `self.x` and `cls.x` are variables."""

    bound: frozenset[str]
    changed: frozenset[str]
    read: frozenset[str]


def names_of(nodes: Iterable[ast.AST]) -> Names:
    """The variables of some code."""
    bound: set[str] = set()
    changed: set[str] = set()
    read: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            call = node.value  # a call whose value is thrown away is there for what it does to its object or arguments
            changed |= {_root(part) for part in (call.func, *call.args)}
        for part in descendants(node):
            if isinstance(part, ast.Name):
                (read if isinstance(part.ctx, ast.Load) else bound).add(part.id)
            elif isinstance(part, ast.Attribute | ast.Subscript):
                is_read = isinstance(part.ctx, ast.Load)
                if isinstance(part, ast.Attribute) and _is_own(part.value):
                    (read if is_read else bound).add(f"self.{part.attr}")
                elif not is_read:
                    changed.add(_root(part))
            elif isinstance(part, _DEFINITIONS):
                bound.add(part.name)
            elif isinstance(part, ast.alias):
                bound.add((part.asname or part.name).partition(".")[0])
    return Names(frozenset(bound), frozenset(changed - {""}), frozenset(read))


def _root(node: ast.expr) -> str:
    """The variable that an expression reaches into: `a` of `a.b[0].c`."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        if isinstance(node, ast.Attribute) and _is_own(node.value):
            return f"self.{node.attr}"
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _is_own(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in {"self", "cls"}


@attrs.frozen(eq=False)
class Place:
    """Where an assertion stands in a lined test.

    Attributes:
        assertion: The assertion.
        before: How many lines stand before it.
        indent: How many blocks it is in.
    """

    assertion: ast.stmt
    before: int
    indent: int


class LinedTest:
    """A test as lines.

    Attributes:
        lines: All of them, its assertions left out.
        places: Where its assertions stand.
    """

    def __init__(
        self, function: Function, *, setup: Sequence[ast.stmt], module: Sequence[Line], relevant: bool
    ) -> None:
        """Lines of a test.

        Args:
            function: The test.
            setup: Statements of its class that run before it.
            module: Assignments of its module.
            relevant: Whether contexts keep only what bears on what is checked; `module` counts only then, and the line
                that opens the test only otherwise.
        """
        self._relevant = relevant
        self.lines: list[Line] = list(module) if relevant else []
        self.places: list[Place] = []
        self._add(setup, 0)
        self.places.clear()  # assertions in set-up methods are not the test's
        if not relevant:
            self.lines.append(Line(0, (), f"def {function.name}({ast.unparse(function.args)}):"))
        self._add(function.body, 0 if relevant else 1)
        self._variables = (
            frozenset(name for line in self.lines for name in line.names.bound) if relevant else frozenset()
        )

    def seen_before(self, assertion: ast.stmt) -> list[ast.AST]:
        """What can be read before an assertion's end with all of them masked: lines, and bodies of `with raises`."""
        index = next(number for number, place in enumerate(self.places) if place.assertion is assertion)
        masked = [place.assertion for place in self.places[: index + 1]]
        bodies = [part for node in masked if isinstance(node, ast.With | ast.AsyncWith) for part in node.body]
        return [*(node for line in self.lines[: self.places[index].before] for node in line.nodes), *bodies]

    def _add(self, body: Sequence[ast.stmt], indent: int) -> None:
        for node in body:
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                continue  # a docstring
            if is_assertion(node):
                self.places.append(Place(node, len(self.lines), indent))
                continue
            inside = [(opening, block) for opening, block in openings(node) if block]
            if not inside:
                self.lines.append(Line(indent, (node,)))
            for opening, block in inside:
                self.lines.append(Line(indent, _head(node, opening), opening))
                self._add(block, indent + 1)

    def context(self, place: Place, oracle: Oracle, *, at_most: int, chars: int) -> tuple[str, str]:
        """The context of an oracle and what it checks, indented to fit.

        Args:
            place: Where the assertion stands.
            oracle: One of its oracles.
            at_most: Lines kept, the nearest ones; 0 for all.
            chars: Characters kept, in whole lines, the nearest ones; 0 for all.
        """
        checked = Line(place.indent, (oracle.checked,))
        within = [Line(place.indent, (node,)) for node in oracle.before]
        reads = names_of((*oracle.before, oracle.checked)).read
        kept = [*reversed(within), *self._kept(self.lines[: place.before], reads, place.indent)]
        kept = kept[:at_most] if at_most else kept
        margin = min(line.indent for line in (*kept, checked))
        texts: list[str] = []
        room = chars
        for line in kept:
            text = _indented(line.text, line.indent - margin)
            room -= len(text) + 1
            if chars and room < 0:
                break
            texts.append(text)
        return "\n".join(reversed(texts)), _indented(checked.text, place.indent - margin)

    def _kept(self, candidates: Sequence[Line], reads: frozenset[str], inside: int) -> Iterator[Line]:
        """The lines of the context, nearest first.

        Args:
            candidates: All lines before the assertion.
            reads: The variables that the check reads.
            inside: How many blocks the next kept line is in: a block's opening is kept where something in it is.
        """
        wanted = reads & self._variables if self._relevant else frozenset()
        for line in reversed(candidates):
            if line.opening is not None:
                is_kept = line.indent < inside
            else:
                is_kept = not self._relevant or bool(wanted & (line.names.bound | line.names.changed))
            if not is_kept:
                continue
            inside = line.indent + 1 if line.follows else line.indent
            if self._relevant:
                wanted = (wanted - line.names.bound if line.overwrites else wanted) | line.names.read & self._variables
            yield line


def _indented(text: str, blocks: int) -> str:
    return textwrap.indent(text, "    " * blocks) if blocks else text


def _head(node: ast.stmt, opening: str) -> tuple[ast.AST, ...]:
    """The parts of a compound statement that its opening shows."""
    if opening.startswith(("else:", "try:", "finally:", "except")):
        return ()
    match node:
        case ast.For() | ast.AsyncFor():
            return (node.target, node.iter)
        case ast.While() | ast.If():
            return (node.test,)
        case ast.With() | ast.AsyncWith():
            return tuple(node.items)
        case _:
            return ()
