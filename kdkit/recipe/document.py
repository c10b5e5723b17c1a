"""A recipe as tables, before components are looked up: reads, extends and overrides it, with the place of each key."""

from __future__ import annotations

import copy
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.errors import DamagedData, MissingInput, RecipeError, UsageError
from kdkit.plugins.checks import show
from kdkit.recipe import shipped
from kdkit.recipe.former_names import todays
from kdkit.recipe.positions import positions
from kdkit.recipe.sections import COMPONENT_SECTIONS
from kdkit.recipe.spelling import parsed_key, toml_value
from kdkit.recipe.stored import FORMAT, KEPT, READABLE, RUNS, apart, is_kept, read_stored
from kdkit.recipe.syntax import syntax_error
from kdkit.system.parsing import Beyond, check_value, parse_toml
from kdkit.system.reading import read_text
from kdkit.system.url import is_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kdkit.plugins.fields import KeyPath

# A recipe that extends another has a name and a description of its own.
_LARGEST = 2**22
"""Bytes of a recipe."""
_NOT_INHERITED = ("name", "description")


@attrs.frozen(order=True)
class Place:
    """The place of a key or value: a line of a file, or (without a line) an override on the command line."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@attrs.frozen
class Document:
    """Tables, and the place of every key in them.

    Attributes:
        table: The content.
        places: Path of a key to its place.
        start: The place of what has none: the file's first character.
        said_format: The number of its format, where it gives one.
        is_whole: Whether kdkit wrote it with every option that there was, so that what it lacks came later.
    """

    table: dict[str, Any]
    places: Mapping[KeyPath, Place]
    start: Place
    said_format: int | None = None
    is_whole: bool = False

    @property
    def format(self) -> int:
        """The format that it is in, which decides what options have that it leaves out."""
        return FORMAT if self.said_format is None else self.said_format

    def place(self, path: KeyPath) -> Place:
        """The place of a key or, where it is not there, of the nearest table around it."""
        for length in range(len(path), 0, -1):
            if path[:length] in self.places:
                return self.places[path[:length]]
        return self.start


def read_document(recipe: str | os.PathLike[str] | Mapping[str, Any]) -> tuple[Document, Path | None]:
    """Read a recipe and what it extends, and merge them.

    Args:
        recipe: A file, the name of a shipped recipe, or the tables themselves.

    Returns:
        The document, and the recipe's file if it has one.

    Raises:
        MissingInput: There is no such file or shipped recipe.
        RecipeError: A file is no TOML, or what it extends is missing, or extends it in turn.
    """
    if isinstance(recipe, Mapping):
        try:
            table, number = apart(_as_toml(recipe))
            check_value(table)
        except ValueError as error:
            raise RecipeError([f"<dict>: {error}"]) from error
        document = Document(table=table, places={}, start=Place("<dict>"), said_format=number)
        return _extended(document, Path(), ()), None
    path = find_recipe(recipe)
    return _extended(_parse(path), path.parent, (path.resolve(),)), path


def read_stored_document(path: Path) -> Document:
    """Read a recipe that this kdkit or an earlier one wrote.

    Raises:
        UsageError: The file cannot be read.
        RecipeError: It is not TOML, or a later kdkit wrote it.
    """

    def read(text: str) -> tuple[dict[str, Any], int | None]:
        stored = read_stored(text)
        return stored.tables, stored.format

    return _parse(path, read)


def find_recipe(recipe: str | os.PathLike[str]) -> Path:
    """The file of a recipe, given by its path or as the name of a shipped one.

    Raises:
        MissingInput: There is none.
    """
    path = Path(recipe)
    if path.is_file():
        return path
    if path.is_dir():
        within = next((f": {path / name}" for name in KEPT if (path / name).is_file()), "")
        raise MissingInput(f'"{path}" is a folder, not a recipe; give the file in it{within}')
    if is_url(str(recipe)):
        raise MissingInput(f'"{recipe}" is a URL, not a recipe; download it and give the file')
    known = shipped.recipes()
    if str(recipe) in known:
        return known[str(recipe)]
    hint = shipped.near(path)
    raise MissingInput(f'there is no recipe "{path}": it is neither a file nor the name of a shipped recipe{hint}')


def with_overrides(document: Document, overrides: Sequence[str]) -> tuple[Document, list[str]]:
    """The document with `section.key=value` overrides applied, and the faults of malformed ones.

    A value is read as TOML; what is no TOML is taken as text. As in `extends`, another component's name drops
    the options that the section had for the one before.
    """
    table: dict[str, Any] = {}
    places: dict[KeyPath, Place] = {}
    around: dict[KeyPath, Place] = {}
    problems: list[str] = []
    for override in overrides:
        place = Place(f"-o {override}")
        key, equals, text = override.partition("=")
        path = parsed_key(key)
        if not equals or path is None:
            problems.append(f"{place}: must have the form section.key=value")
        elif path == ("extends",):
            problems.append(f"{place}: extends: cannot be overridden; write a recipe that extends the other recipe")
        else:
            try:
                value = toml_value(text)
            except Beyond as error:
                problems.append(f"{place}: {error.what}")
                continue
            problems += [f"{place}: {problem}" for problem in _put(table, path, value)]
            places |= dict.fromkeys([path, *paths_in(value, path)], place)
            around |= dict.fromkeys([path[:length] for length in range(1, len(path))], place)
    merged = laid_over(document, Document(table=table, places=places, start=document.start))
    return attrs.evolve(merged, places={**around, **merged.places}), problems


def paths_in(value: Any, path: KeyPath) -> Iterator[KeyPath]:
    """The paths of all keys and items in a value that stands at a path."""
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield (*path, key)
            yield from paths_in(item, (*path, key))


def _put(table: dict[str, Any], path: tuple[str, ...], value: Any) -> Iterator[str]:
    """Set a key deep in a table; returns a sentence if another override is in the way."""
    for index, key in enumerate(path[:-1]):
        table = table.setdefault(key, {})
        if not isinstance(table, dict):
            yield (
                f"{'.'.join(path[: index + 1])}: is also overridden with a plain value, which cannot have "
                "keys; drop one of the two overrides"
            )
            return
    if isinstance(value, dict) and isinstance(table.get(path[-1]), dict):
        table[path[-1]] |= value
    else:
        table[path[-1]] = value


def _tables(text: str) -> tuple[dict[str, Any], int | None]:
    return apart(parse_toml(text))


def _parse(path: Path, read: Callable[[str], tuple[dict[str, Any], int | None]] = _tables) -> Document:
    try:
        # Windows editors put a byte-order mark at the start, which TOML knows nothing of.
        text = read_text(path, at_most=_LARGEST, encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise RecipeError([f"{path}:{line}:1: is not UTF-8 text"]) from error
    except DamagedData as error:
        raise RecipeError([str(error)]) from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from error
    try:
        table, number = read(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError([syntax_error(path, text, str(error))]) from error
    except Beyond as error:
        raise RecipeError([f"{path}:{error.line}:{error.column}: {error.what}"]) from error
    except ValueError as error:
        raise RecipeError([f"{path}:1:1: {error}"]) from error
    places = {key: Place(str(path), *position) for key, position in positions(text).items()}
    start = Place(str(path), 1, 1)
    if number is None and is_kept(path):  # of the first format, which had no number
        table, number = todays(table), min(READABLE)
    return Document(table=table, places=places, start=start, said_format=number, is_whole=is_kept(path, RUNS))


def _extended(document: Document, folder: Path, chain: tuple[Path, ...]) -> Document:
    """The document laid over the one it extends."""
    if "extends" not in document.table:
        return document
    place = document.place(("extends",))
    target = document.table["extends"]
    if not isinstance(target, str):
        raise RecipeError([f"{place}: extends: must be text, the path or name of a recipe, is {show(target)}"])
    beside = folder / target
    try:
        path = beside if beside.is_file() else shipped.recipes().get(target) or find_recipe(beside)
    except MissingInput as error:
        raise RecipeError([f"{place}: extends: {error}"]) from error
    if path.resolve() in chain:
        raise RecipeError(
            [f'{place}: extends: "{target}" extends this recipe too, which makes a circle; remove one `extends`']
        )
    base = _extended(_parse(path), path.parent, (*chain, path.resolve()))
    inherited = {key: value for key, value in base.table.items() if key not in _NOT_INHERITED}
    merged = laid_over(attrs.evolve(base, table=inherited), document)
    del merged.table["extends"]
    return merged


def laid_over(base: Document, over: Document) -> Document:
    """One document laid over another: tables merge, everything else replaces.

    Another component's name drops the options that the section had for the one before. The format is what the upper
    one says, else what the lower one says; what both lack is what the lower one lacks.
    """
    table = copy.deepcopy(base.table)
    replaced: set[KeyPath] = set()

    def lay(into: dict[str, Any], values: Mapping[str, Any], path: KeyPath) -> None:
        for key, value in values.items():
            here = (*path, key)
            if not path and _is_other_component(key, into.get(key), value):
                del into[key]
                replaced.add(here)
            if isinstance(value, dict) and isinstance(into.get(key), dict):
                lay(into[key], value, here)
            else:
                into[key] = copy.deepcopy(value)
                replaced.add(here)

    lay(table, over.table, ())
    places = {
        path: place
        for path, place in base.places.items()
        if not any(path[:length] in replaced for length in range(1, len(path) + 1))
    }
    number = base.said_format if over.said_format is None else over.said_format
    return Document(
        table=table, places=places | dict(over.places), start=over.start, said_format=number, is_whole=base.is_whole
    )


def _is_other_component(section: str, base: object, over: object) -> bool:
    """Whether a section names another component than the one that the options below it were meant for."""
    if section not in COMPONENT_SECTIONS or not isinstance(base, dict) or not isinstance(over, dict):
        return False
    name = base.get("name", COMPONENT_SECTIONS[section].default_name)
    return name is not None and over.get("name", name) != name


def _as_toml(value: Any) -> Any:
    """Tables given from Python in the types that TOML has."""
    if isinstance(value, Mapping):
        return {key: _as_toml(item) for key, item in value.items() if item is not None}
    if isinstance(value, tuple | list):
        return [_as_toml(item) for item in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value
