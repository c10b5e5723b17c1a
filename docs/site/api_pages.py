"""The pages of the Python API: every public name once under each room that lists it, from its docstring.

The pages are written when a build begins, by what `__all__` of the public rooms says; no name can be left out.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sphinx.application import Sphinx

ROOMS = ("kdkit", "kdkit.api", "kdkit.data", "kdkit.losses", "kdkit.errors", "kdkit.testing")


@attrs.frozen
class ApiPage:
    """A page: the public names of a room, by heading those that come from a module, and then all others.

    A page without headings has the names of its room that no other page has.
    """

    file: str
    title: str
    room: str
    parts: Mapping[str, str] = attrs.field(factory=dict)


PAGES = (
    ApiPage("kdkit", "kdkit: scripts and notebooks", "kdkit"),
    ApiPage(
        "hooks-and-options",
        "kdkit.api: hooks and options",
        "kdkit.api",
        {
            "Hooks": "kdkit.api.hookspecs",
            "Options of a component": "kdkit.api.option",
            "Values that change during a training": "kdkit.api.schedules",
            "Vocabularies": "kdkit.api.vocabulary",
        },
    ),
    ApiPage(
        "data-sets",
        "kdkit.api: data sets",
        "kdkit.api",
        {"Interfaces": "kdkit.api.interfaces.data", "Rows": "kdkit.api.values.corpus"},
    ),
    ApiPage(
        "teachers-and-students",
        "kdkit.api: teachers and students",
        "kdkit.api",
        {
            "Interfaces": "kdkit.api.interfaces.teachers_and_students",
            "What they may be able to do beside": "kdkit.api.interfaces.abilities",
            "Parts of a teacher": "kdkit.api.values.pruning",
        },
    ),
    ApiPage(
        "models",
        "kdkit.api: models and batches",
        "kdkit.api",
        {"Interfaces": "kdkit.api.interfaces.models", "Batches": "kdkit.api.values.batches"},
    ),
    ApiPage(
        "codecs",
        "kdkit.api: codecs and logits",
        "kdkit.api",
        {
            "Interfaces": "kdkit.api.interfaces.codecs",
            "Logits of an example": "kdkit.api.values.blocks",
            "Targets of a batch": "kdkit.api.values.targets",
            "Types of arrays": "kdkit.api.arrays",
        },
    ),
    ApiPage(
        "losses-and-metrics",
        "kdkit.api: losses and metric suites",
        "kdkit.api",
        {"Interfaces": "kdkit.api.interfaces.losses_and_suites", "Parts of a loss": "kdkit.api.values.losses"},
    ),
    ApiPage(
        "experiments",
        "kdkit.api: references, searches, trackers",
        "kdkit.api",
        {"Interfaces": "kdkit.api.interfaces.experiments", "Help for trackers": "kdkit.api.trackers"},
    ),
    ApiPage("results", "kdkit.api: results", "kdkit.api", {"Results": "kdkit.api.values.results"}),
    ApiPage(
        "sections",
        "kdkit.api: sections of a recipe",
        "kdkit.api",
        {"Limits, texts and written targets": "kdkit.api.options", "Training": "kdkit.api.training"},
    ),
    ApiPage("other", "kdkit.api: progress and files", "kdkit.api"),
    ApiPage("data", "kdkit.data: reading rows", "kdkit.data"),
    ApiPage("losses", "kdkit.losses: divergences and mixtures", "kdkit.losses"),
    ApiPage("errors", "kdkit.errors: what can go wrong", "kdkit.errors"),
    ApiPage("testing", "kdkit.testing: checks for plugins", "kdkit.testing"),
)


@cache
def public_names() -> dict[str, str]:
    """Every public name, as it is and with its room before it, and the one that is documented."""
    found: dict[str, str] = {}
    for room in ROOMS:
        for name in importlib.import_module(room).__all__:
            found.setdefault(name, f"{room}.{name}")
            found[f"{room}.{name}"] = f"{room}.{name}"
    for name in [name for name in found if name in ROOMS or f"kdkit.{name}" in ROOMS]:
        del found[name]
    return found


def origin(room: str, name: str) -> tuple[str, str]:
    """The module where a public name is made, and its name there."""
    for node in ast.walk(_tree(room)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("kdkit"):
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return origin(node.module, alias.name)
                if alias.name == "*" and name in importlib.import_module(node.module).__all__:
                    return origin(node.module, name)
    return room, name


@cache
def _tree(module: str) -> ast.Module:
    return ast.parse(inspect.getsource(importlib.import_module(module)))


def names_of(page: ApiPage) -> dict[str, list[str]]:
    """The page's names by the module that makes them, in its order; a page without parts has one list."""
    taken = {module for each in PAGES if each.room == page.room for module in each.parts.values()}
    room = importlib.import_module(page.room)
    origins = {name: origin(page.room, name) for name in room.__all__ if not inspect.ismodule(getattr(room, name))}
    if not page.parts:
        return {page.room: [name for name, (module, _) in origins.items() if module not in taken]}
    found = {
        module: [name for name, (made_in, _) in origins.items() if made_in == module] for module in page.parts.values()
    }
    return {module: sorted(names, key=lambda name: _line_of(*origins[name])) for module, names in found.items()}


def _line_of(module: str, name: str) -> int:
    for node in _tree(module).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        ids = {target.id for target in targets if isinstance(target, ast.Name)}
        if name in ids or getattr(node, "name", None) == name:
            return node.lineno
    return 0


def text_of(page: ApiPage) -> str:
    """The page as reStructuredText."""
    lines = [page.title, "=" * len(page.title), ""]
    headings = {module: heading for heading, module in page.parts.items()}
    for module, names in names_of(page).items():
        if module in headings:
            lines += [headings[module], "-" * len(headings[module]), ""]
        lines += [f".. automodule:: {module}", "   :no-members:", "   :no-index:", ""]
        lines += [f".. currentmodule:: {page.room}", ""]
        for name in names:
            lines += [*_object(page.room, name), ""]
    return "\n".join(lines)


def _object(room: str, name: str) -> Iterator[str]:
    obj: Any = getattr(importlib.import_module(room), name)
    full = f"{room}.{name}"
    if inspect.isclass(obj):
        yield f".. autoclass:: {full}"
    elif inspect.isroutine(obj):
        yield f".. autofunction:: {full}"
    else:
        yield f".. py:data:: {full}"
        yield from ("", *(f"   {line}" for line in _said(*origin(room, name))))


def _said(module: str, name: str) -> list[str]:
    """What stands below an assignment in its module; else what is assigned."""
    body = _tree(module).body
    for node, after in zip(body, [*body[1:], None], strict=True):
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if not any(isinstance(target, ast.Name) and target.id == name for target in targets):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
            return inspect.cleandoc(after.value.value).splitlines()
        if getattr(node, "value", None) is not None:
            return [f"``{ast.unparse(node.value)}``"]  # type: ignore[attr-defined]  # just seen
    return []


def write(folder: Path) -> None:
    """Write every page and their index, and remove pages of before."""
    texts = {page.file: text_of(page) for page in PAGES}
    title = "Python API"
    opening = (
        "Every public name, from its docstring. ``kdkit`` is for scripts, ``kdkit.api`` for authors of components, and "
        "the others hold what both share. Whatever is not listed here may move."
    )
    tree = [".. toctree::", "   :maxdepth: 1", "", *(f"   {page.file}" for page in PAGES), ""]
    texts["index"] = "\n".join([title, "=" * len(title), "", opening, "", *tree])
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.rst"):
        if old.stem not in texts:
            old.unlink()
    for name, text in texts.items():
        file = folder / f"{name}.rst"
        if not file.exists() or file.read_text(encoding="utf-8") != text:  # what stays is not read again
            file.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Connect the above."""
    app.connect("builder-inited", lambda app: write(Path(app.srcdir, "docs", "api")))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
