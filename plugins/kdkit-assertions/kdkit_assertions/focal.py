"""Focal code: the functions of a package that a test calls, found by name and shown without docstrings.

Docstrings go because their doctests give answers away. Which of several definitions of a name is meant is settled by
the test module's imports, else by nearness: the one whose module shares the longest dotted prefix with the test's. A
method is taken for the one meant only where nearness leaves a single one: without running anything, nobody knows the
object's class.
"""

from __future__ import annotations

import ast
import re
import textwrap
from functools import cached_property
from typing import TYPE_CHECKING

import attrs

from kdkit_assertions.checks import called_name
from kdkit_assertions.mining import descendants, parse, read_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kdkit_assertions.mining import Package, Parsed

_DEFINITION = re.compile(r"^[ \t]*(?:async[ \t]+)?(?:def|class)[ \t]+(\w+)", re.MULTILINE)
# Of a class, what runs when it is called. `eval` is where a sympy function computes its value.
_CONSTRUCTING = ("__new__", "__init__", "eval")


def defined_names(package: Package) -> frozenset[str]:
    """The names of a package's functions, classes and methods."""
    names: set[str] = set()
    for source in package.code:
        try:
            names.update(_DEFINITION.findall(read_text(source)))
        except (OSError, SyntaxError, ValueError):  # not Python, so it defines nothing
            continue
    return frozenset(names)


@attrs.frozen(kw_only=True, eq=False)
class Definition:
    """A function, class or method of a package.

    Attributes:
        parsed: The module that it stands in.
        node: It.
        is_method: Whether it stands in a class.
    """

    parsed: Parsed
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    is_method: bool

    @cached_property
    def code(self) -> str:
        """Its text without docstrings, dedented; of a class, its opening and what constructs it."""
        if not isinstance(self.node, ast.ClassDef):
            return _without_docstrings(self.parsed, self.node)
        members = [m for m in self.node.body if isinstance(m, ast.FunctionDef) and m.name in _CONSTRUCTING]
        bases = ", ".join(map(ast.unparse, [*self.node.bases, *self.node.keywords]))
        opening = f"class {self.node.name}{f'({bases})' if bases else ''}:"
        parts = [textwrap.indent(_without_docstrings(self.parsed, member), "    ") for member in members]
        return "\n".join([opening, *(parts or ["    ..."])])


def _without_docstrings(parsed: Parsed, node: ast.stmt) -> str:
    """A definition's text, the docstrings in it replaced by nothing, or by `...` where nothing else would be left."""
    first = min((d.lineno for d in getattr(node, "decorator_list", ())), default=node.lineno)
    lines = parsed.lines[first - 1 : node.end_lineno]
    for inner in descendants(node):
        if not isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) or not _has_docstring(inner):
            continue
        doc = inner.body[0]
        start, end = doc.lineno - first, (doc.end_lineno or doc.lineno) - first
        before = lines[start][: parsed.column(doc.lineno, doc.col_offset)]
        after = parsed.lines[(doc.end_lineno or doc.lineno) - 1][
            parsed.column(doc.end_lineno or doc.lineno, doc.end_col_offset or 0) :
        ]
        stays = len(inner.body) == 1 or bool(before.strip())
        lines[start : end + 1] = [f"{before}...{after}" if stays else "", *[""] * (end - start)]
    return textwrap.dedent("".join(lines)).rstrip()


def _has_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> bool:
    first = node.body[0]
    return isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)


class FocalIndex:
    """Where a package defines what."""

    def __init__(self, package: str, modules: Iterable[Parsed]) -> None:
        self._package = package
        self._resolved: dict[tuple[str, str | None, str], Definition | None] = {}
        self._functions: dict[str, list[Definition]] = {}
        self._methods: dict[str, list[Definition]] = {}
        for parsed in modules:
            for node in parsed.tree.body:
                self._add(parsed, node)

    @classmethod
    def of(cls, package: Package) -> FocalIndex:
        """The index of a package; files that do not parse define nothing."""
        return cls(package.name, (parsed for source in package.code if (parsed := parse(source)) is not None))

    def _add(self, parsed: Parsed, node: ast.stmt) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            definition = Definition(parsed=parsed, node=node, is_method=False)
            self._functions.setdefault(node.name, []).append(definition)
        if isinstance(node, ast.ClassDef):
            for member in node.body:
                if isinstance(member, ast.FunctionDef | ast.AsyncFunctionDef) and not member.name.startswith("__"):
                    method = Definition(parsed=parsed, node=member, is_method=True)
                    self._methods.setdefault(member.name, []).append(method)

    def meant(self, called: Iterable[ast.Call], test: Parsed, imports: Imports) -> list[tuple[str, Definition]]:
        """What calls in a test mean, each once with its name, what stands nearest to the test first.

        Args:
            called: The calls, in the order of the text.
            test: The test's module.
            imports: What that module's names stand for.
        """
        found: dict[str, Definition] = {}
        for call in called:
            name = called_name(call)
            if name not in found and (definition := self._resolve(call, name, test.module, imports)):
                found[name] = definition
        return sorted(found.items(), key=lambda item: -_shared(item[1].parsed.module, test.module))

    def _resolve(self, call: ast.Call, name: str, test: str, imports: Imports) -> Definition | None:
        if isinstance(call.func, ast.Name):
            origin = imports.origin(name)
            if origin is None or origin.split(".")[0] != self._package:
                return None
            module, _, original = origin.rpartition(".")
            return self._nearest_of(original, module, test)
        assert isinstance(call.func, ast.Attribute)
        holder = imports.origin(call.func.value.id) if isinstance(call.func.value, ast.Name) else None
        if holder is not None and holder.split(".")[0] != self._package:
            return None
        return self._nearest_of(name, holder, test)

    def _nearest_of(self, name: str, holder: str | None, test: str) -> Definition | None:
        """The definition of a name in what holds it, or of a method where that is an object of unknown class."""
        key = name, holder, test
        if key not in self._resolved:
            self._resolved[key] = (
                _nearest(self._functions.get(name, ()), holder, test)
                if holder is not None
                else _only_nearest(self._methods.get(name, ()), test)
            )
        return self._resolved[key]


def _shared(module: str, other: str) -> int:
    """How many dotted parts two modules share from the start; one more where a test module bears the other's name."""
    ours, theirs = module.split("."), [part for part in other.split(".") if part not in {"tests", "test"}]
    count = 0
    while count < min(len(ours), len(theirs)) and ours[count] == theirs[count]:
        count += 1
    is_namesake = ours[-1] == theirs[-1].removeprefix("test_").removesuffix("_test")
    return count + is_namesake


def _nearest(candidates: Iterable[Definition], imported_from: str, test: str) -> Definition | None:
    def rank(definition: Definition) -> tuple[bool, bool, int, int, str]:
        module = definition.parsed.module
        return (
            module != imported_from,
            not module.startswith(f"{imported_from}."),
            -_shared(module, test),
            module.count("."),
            module,
        )

    return min(candidates, key=rank, default=None)


def _only_nearest(candidates: Iterable[Definition], test: str) -> Definition | None:
    ranked = sorted(candidates, key=lambda definition: -_shared(definition.parsed.module, test))
    if len(ranked) > 1 and _shared(ranked[0].parsed.module, test) == _shared(ranked[1].parsed.module, test):
        return None
    return ranked[0] if ranked else None


def calls(nodes: Iterable[ast.AST]) -> list[ast.Call]:
    """The calls in some code of things that have a name, in the order of its text."""
    return Calls().of(nodes)


class Calls:
    """The same of many pieces of code that share nodes: each node is searched once."""

    def __init__(self) -> None:
        self._of_node: dict[ast.AST, list[ast.Call]] = {}

    def of(self, nodes: Iterable[ast.AST]) -> list[ast.Call]:
        """The calls in some code of things that have a name, in the order of its text."""
        found: list[ast.Call] = []
        for node in nodes:
            if node not in self._of_node:
                self._of_node[node] = _calls_in(node)
            found += self._of_node[node]
        return sorted(found, key=lambda call: (call.lineno, call.col_offset))


def _calls_in(node: ast.AST) -> list[ast.Call]:
    return [
        inner
        for inner in descendants(node)
        if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Name | ast.Attribute)
    ]


# What holds no statements, so no imports.
_SIMPLE = (ast.expr, ast.Expr, ast.Assert, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return, ast.Raise)


class Imports:
    """What the names of a module stand for: the dotted names that they were imported by."""

    def __init__(self, parsed: Parsed) -> None:
        self._origins: dict[str, str] = {}
        stack: list[ast.AST] = [parsed.tree]
        while stack:
            node = stack.pop()
            if isinstance(node, ast.Import | ast.ImportFrom):
                self._origins.update(_origins(node, parsed.module))
            for body in ("body", "orelse", "handlers", "finalbody"):
                stack += [part for part in getattr(node, body, ()) if not isinstance(part, _SIMPLE)]

    def origin(self, name: str) -> str | None:
        """The dotted name that a name was imported by, if it was."""
        return self._origins.get(name)


def _origins(node: ast.Import | ast.ImportFrom, module: str) -> Iterator[tuple[str, str]]:
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield (alias.asname, alias.name) if alias.asname else ((top := alias.name.partition(".")[0]), top)
        return
    base = node.module or ""
    if node.level:  # relative to the package that the module is in
        base = ".".join([*module.split(".")[: -node.level], *filter(None, [node.module])])
    for alias in node.names:
        yield alias.asname or alias.name, f"{base}.{alias.name}"
