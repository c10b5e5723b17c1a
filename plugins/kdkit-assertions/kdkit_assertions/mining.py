"""Test modules of installed packages, found and parsed without importing anything.

Package -> test modules -> tests. `importlib.util.find_spec` on a top-level name looks a package up and runs none of its
code; the files are then read as text.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import tokenize
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from kdkit.errors import MissingInput
from kdkit_assertions.installed import version_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef

Skipped: TypeAlias = dict[str, list[str]]
"""Why rows were left out, each reason with the rows' places."""

UNUSABLE = (ValueError, RecursionError, MemoryError)
"""What Python raises of code that it cannot parse, or write back: too many digits, or nested too deep."""

LARGEST_FILE = 1 << 24

TARGET_TOO_LONG = "its target is longer than max_target_chars"


@attrs.frozen(kw_only=True)
class Source:
    """A Python file of a package.

    Attributes:
        module: Its dotted name.
        path: Where it lies.
        is_test: Whether its name says that it holds tests: `test_*.py` or `*_test.py`.
    """

    module: str
    path: Path
    is_test: bool


@attrs.frozen(kw_only=True)
class Package:
    """An installed package and its files, sorted by dotted name."""

    name: str
    version: str
    sources: tuple[Source, ...]

    @property
    def tests(self) -> tuple[Source, ...]:
        """The test modules."""
        return tuple(source for source in self.sources if source.is_test)

    @property
    def code(self) -> tuple[Source, ...]:
        """Everything that is neither a test module nor a helper in a folder of tests."""
        return tuple(s for s in self.sources if not s.is_test and not {"tests", "test"} & set(s.module.split(".")))


@attrs.frozen(kw_only=True, eq=False)
class Parsed:
    """A parsed file.

    Attributes:
        module: Its dotted name.
        lines: Its lines, as the parser counts them, with their line ends.
        tree: What the parser made of it.
    """

    module: str
    lines: list[str]
    tree: ast.Module

    def column(self, line: int, offset: int) -> int:
        """The character column of a node's `col_offset`, which counts UTF-8 bytes.

        Args:
            line: The node's line, from 1.
            offset: Its `col_offset`.
        """
        text = self.lines[line - 1]
        return offset if text.isascii() else len(text.encode()[:offset].decode())


@attrs.frozen(kw_only=True, eq=False)
class MinedTest:
    """A test: a module's function or a class's method whose name begins with `test`.

    Attributes:
        id: `package.tests.test_module::TestClass.test_name`; a second definition of the same name gets `~2`.
        node: The function.
        setup: Statements of its class that run before it: class variables and the bodies of its set-up methods.
    """

    id: str
    node: Function
    setup: tuple[ast.stmt, ...] = ()


def facts(
    package: Package, test: MinedTest, *, task: str, line: int, kinds: list[str], answerable: bool
) -> dict[str, Any]:
    """What a row's `meta` says: where it comes from, the kinds of its assertions, and whether it can be answered."""
    module, _, name = test.id.partition("::")
    return {
        "task": task,
        "package": f"{package.name} {package.version}".strip(),
        "module": module,
        "test": name,
        "line": line,
        "kinds": kinds,
        "answerable": answerable,
    }


def find_package(name: str) -> Package:
    """An installed package with tests, and its files.

    Raises:
        MissingInput: It is not installed, or carries no test modules.
    """
    package = find_code(name)
    if not package.tests:
        raise MissingInput(
            f'the installed package "{name}" has no test modules (test_*.py or *_test.py); remove it from data.packages'
        )
    return package


def find_code(name: str) -> Package:
    """An installed package and its files.

    Raises:
        MissingInput: It is not installed, or has no Python files.
    """
    spec = importlib.util.find_spec(name)
    if spec is None:
        raise MissingInput(
            f'the package "{name}" is not installed, so its code cannot be read; run `pip install {name}` or '
            "remove it from data.packages"
        )
    sources = [
        source for folder in sorted(set(spec.submodule_search_locations or ())) for source in _walk(Path(folder), name)
    ]
    if not sources:
        raise MissingInput(f'the installed package "{name}" has no Python files; remove it from data.packages')
    return Package(name=name, version=version_of(name), sources=tuple(sorted(sources, key=lambda s: s.module)))


def _walk(folder: Path, module: str) -> Iterator[Source]:
    for path in sorted(folder.iterdir()):
        if path.is_dir() and path.name.isidentifier() and path.name != "__pycache__":
            yield from _walk(path, f"{module}.{path.name}")
        elif path.suffix == ".py" and path.is_file():  # a pipe of that name would wait for a writer
            name = module if path.stem == "__init__" else f"{module}.{path.stem}"
            is_test = path.stem.startswith("test_") or path.stem.endswith("_test")
            yield Source(module=name, path=path, is_test=is_test)


def digest_of_files(paths: Iterable[Path]) -> str:
    """SHA-256 of the names and contents of files, in their order; of one that is too large, of its size."""
    whole = hashlib.sha256()
    for path in paths:
        size = path.stat().st_size
        content = hashlib.sha256(path.read_bytes()).hexdigest() if size <= LARGEST_FILE else f"{size} bytes"
        whole.update(f"{path.name} {content}\n".encode())
    return whole.hexdigest()


def read_text(source: Source) -> str:
    """A file's text in the encoding that it declares.

    Raises:
        SyntaxError: It declares an unknown encoding.
        ValueError: It is not in the encoding that it declares, or too large to have been written by a person.
        OSError: It may not be read.
    """
    if source.path.stat().st_size > LARGEST_FILE:
        raise ValueError(f"{source.path} has more than {LARGEST_FILE:,} bytes")
    with tokenize.open(source.path) as file:
        return file.read()


def parse(source: Source) -> Parsed | None:
    """A file, parsed; None where it cannot be read, or is not Python that this interpreter can parse."""
    try:
        text = read_text(source)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # invalid escapes and the like are that package's business
            tree = ast.parse(text)
    except (OSError, SyntaxError, *UNUSABLE):
        return None
    return Parsed(module=source.module, lines=[f"{line}\n" for line in text.split("\n")], tree=tree)


_NOT_SEARCHED = frozenset({"ctx", "op", "ops", "id", "attr", "arg"})  # the last three are names
_FIELDS: dict[type[ast.AST], tuple[str, ...]] = {ast.Constant: (), ast.Global: (), ast.Nonlocal: ()}


def descendants(node: ast.AST) -> list[ast.AST]:
    """A node and all that is in it, each after what it is in; operators and `ctx` are left out.

    Several times as fast as `ast.walk`.
    """
    found = [node]
    for part in found:  # which grows meanwhile
        kind = type(part)
        fields = _FIELDS.get(kind)
        if fields is None:
            fields = _FIELDS[kind] = tuple(name for name in kind._fields if name not in _NOT_SEARCHED)
        for field in fields:
            value = getattr(part, field, None)
            if value.__class__ is list:
                found += [item for item in value if isinstance(item, ast.AST)]
            elif isinstance(value, ast.AST):
                found.append(value)
    return found


_SETUP = frozenset({"setup", "setup_method", "setup_class", "setUp", "setUpClass"})


def tests_of(parsed: Parsed) -> Iterator[MinedTest]:
    """The tests of a module, in the order of its text."""
    seen: dict[str, int] = {}
    for owner, function, setup in _functions(parsed.tree.body, "", ()):
        name = f"{parsed.module}::{owner}{function.name}"
        seen[name] = seen.get(name, 0) + 1
        yield MinedTest(id=name if seen[name] == 1 else f"{name}~{seen[name]}", node=function, setup=setup)


def _functions(
    body: list[ast.stmt], owner: str, setup: tuple[ast.stmt, ...]
) -> Iterator[tuple[str, Function, tuple[ast.stmt, ...]]]:
    for node in body:
        if isinstance(node, Function):
            if node.name.startswith("test"):
                yield owner, node, setup
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node.body, f"{owner}{node.name}.", _setup_of(node))
        elif isinstance(node, ast.If | ast.Try | ast.With):  # tests that are defined only where something is installed
            yield from _functions(node.body, owner, setup)
            yield from _functions(getattr(node, "orelse", []), owner, setup)


def _setup_of(node: ast.ClassDef) -> tuple[ast.stmt, ...]:
    statements: list[ast.stmt] = []
    for member in node.body:
        if isinstance(member, ast.Assign | ast.AnnAssign):
            statements.append(member)
        elif isinstance(member, Function) and member.name in _SETUP:
            statements.extend(member.body)
    return tuple(statements)
