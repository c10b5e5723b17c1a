"""The recipe beside a trained student, as far as the student needs it to write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit import plugins as plugin_loading
from kdkit.errors import PluginError, RecipeError
from kdkit.plugins.structure import Structurer
from kdkit.recipe.document import Document, Place, laid_over, paths_in, read_stored_document, with_overrides
from kdkit.recipe.load import said, sections_of
from kdkit.recipe.sections import Preamble
from kdkit.recipe.suggestions import all_options, suggestion

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from kdkit.api.interfaces import DataSource, Student
    from kdkit.api.options import Generation, TokenLimits
    from kdkit.plugins import Plugins

SECTIONS = ("tokens", "student", "generation")
USED = ("data", *SECTIONS, "device")


@attrs.frozen(kw_only=True)
class WritingRecipe:
    """The part of a recipe that a trained student needs to generate: how rows become inputs, and inputs texts.

    Attributes:
        data: The data set; None where its plugin is not installed.
        no_data: Why there is none, as a sentence; empty where there is one.
        tokens: How long rows may be.
        student: The student.
        generation: How it writes.
        device: What it writes on.
    """

    data: DataSource | None
    no_data: str = ""
    tokens: TokenLimits
    student: Student
    generation: Generation
    device: str


def load_for_writing(
    path: Path, overrides: Sequence[str] = (), generation: Mapping[str, Any] | None = None, device: str | None = None
) -> WritingRecipe:
    """Read what a student needs to generate from the recipe beside it.

    The rest is not looked at: its plugins (those of codec, loss, metric suites, ...) need not be installed. That of the
    data set is only needed for rows that are not yet inputs.

    Args:
        path: The file.
        overrides: As of `load_recipe`, of those sections alone.
        generation: Options of `[generation]` laid over the recipe, by name.
        device: A device in place of the recipe's.

    Raises:
        RecipeError: It is not what kdkit wrote, or names components that are not there, or an option is wrong.
    """
    document, malformed = with_overrides(read_stored_document(path), overrides)
    for name, value in (generation or {}).items():
        document = _with_argument(document, ("generation", name), value)
    if device is not None:
        document = _with_argument(document, ("device",), device)
    for override in overrides:
        key = override.partition("=")[0].strip()
        if key.split(".")[0] not in USED and not malformed:
            malformed.append(
                f"-o {override}: {key}: is not used here; from a student's recipe only {', '.join(USED)} are used"
            )
    loaded = plugin_loading.load()
    structurer = Structurer(loaded, is_stored=True)
    structurer.suggestion = lambda key, known: suggestion(key, known, _options(document, loaded))
    preamble = {key: value for key, value in document.table.items() if key == "device"}
    device_of = structurer.instance(Preamble, preamble, (), owner="a recipe")
    is_changed = any(override.startswith("data.") for override in overrides)
    no_data = "" if is_changed else _missing(document.table, loaded)
    sections, _ = sections_of(document, structurer, SECTIONS if no_data else ("data", *SECTIONS))
    problems = said((document.place(key), key, sentence) for key, sentence in structurer.problems)
    if problems or malformed:
        raise RecipeError([*problems, *malformed])
    return WritingRecipe(**{"data": None, **sections}, no_data=no_data, device=device_of.device)


def _with_argument(document: Document, path: tuple[str, ...], value: object) -> Document:
    """A document with an argument of a function laid over it."""
    place = Place(f"{path[-1]}={value!r}")
    table: Any = list(value) if isinstance(value, tuple) else value
    paths = [path, *paths_in(table, path)]
    for key in reversed(path):
        table = {key: table}
    return laid_over(document, Document(table=table, places=dict.fromkeys(paths, place), start=document.start))


def _options(document: Document, plugins: Plugins) -> Mapping[str, Sequence[str]]:
    """The options that can be given here, with their paths."""
    found = all_options(document.table, plugins)
    used = {name: [path for path in paths if path.partition(".")[0] in USED] for name, paths in found.items()}
    return {name: paths for name, paths in used.items() if paths}


def _missing(table: Mapping[str, Any], plugins: Plugins) -> str:
    """Why the data set of a stored recipe is not available; empty if it is, or if the recipe does not name one."""
    content = table.get("data")
    name = content.get("name") if isinstance(content, dict) else None
    if not isinstance(name, str):
        return ""
    try:
        plugins.get("datasets", name).load()
    except PluginError as error:
        return str(error)
    return ""
