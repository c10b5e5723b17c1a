"""What others may import: the public names, and that plugins and pages use no others."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys

import pytest
from pages import ROOT, WRITTEN, fences, in_backticks, name_of, read

import kdkit
from kdkit.api import interfaces, values

ROOMS = ("kdkit", "kdkit.api", "kdkit.data", "kdkit.errors", "kdkit.losses", "kdkit.testing")


@pytest.mark.parametrize("name", ROOMS)
def test_every_public_name_is_there_and_listed_once(name):
    room = importlib.import_module(name)
    assert len(set(room.__all__)) == len(room.__all__)
    assert all(hasattr(room, public) for public in room.__all__)


@pytest.mark.parametrize("name", ["kdkit", "kdkit.api"])
def test_dir_shows_the_public_names_and_nothing_else(name):
    room = importlib.import_module(name)
    assert dir(room) == sorted(room.__all__)
    with pytest.raises(AttributeError, match=f"'{name}' has no attribute 'nothing'"):
        _ = room.nothing


def test_every_interface_and_every_value_is_public():
    assert set(interfaces.__all__) | set(values.__all__) <= set(kdkit.api.__all__)


@pytest.mark.parametrize("name", ["kdkit.api", "kdkit.data", "kdkit.errors", "kdkit.testing"])
def test_what_components_are_built_of_comes_without_torch(name):
    code = f"import sys, {name}; assert not {{'torch', 'transformers', 'numpy'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def private(source):
    """What Python source imports of kdkit that is not public."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if not is_public(alias.name)}
        elif isinstance(node, ast.ImportFrom):
            found |= {
                f"{node.module}.{alias.name}" for alias in node.names if not is_public(str(node.module), alias.name)
            }
    return found


def is_public(module, name=None):
    """Whether an import is not kdkit's at all, or one of a public room's names."""
    if module.partition(".")[0] != "kdkit":
        return True
    return module in ROOMS and (name is None or name in importlib.import_module(module).__all__)


PLUGIN_FILES = [
    *sorted(ROOT.glob("plugins/*/kdkit_*/**/*.py")),
    *sorted((ROOT / "docs" / "tutorial-plugin").glob("*.py")),
    *sorted((ROOT / "docs" / "plugin-examples").rglob("*.py")),
]


@pytest.mark.parametrize("path", PLUGIN_FILES, ids=name_of)
def test_a_plugin_imports_public_names_only(path):
    assert not private(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", [page for page in WRITTEN if fences(page, "python")], ids=name_of)
def test_the_code_of_a_page_imports_public_names_only(page):
    for block in fences(page, "python"):
        assert not private(block)


@pytest.mark.parametrize("page", [page for page in WRITTEN if page.name != "glossary.md"], ids=name_of)
def test_a_page_speaks_of_public_names_only(page):
    """The glossary alone says where a word lives inside kdkit, by its name there; other pages name files."""
    for name in [token for token in in_backticks(page) if re.fullmatch(r"kdkit(\.\w+)+", token)]:
        room = max((room for room in ROOMS if f"{name}.".startswith(f"{room}.")), key=len)
        rest = name.removeprefix(room).strip(".").partition(".")[0]
        assert not rest or is_public(room, rest), f"{name_of(page)} speaks of {name}"


@pytest.mark.parametrize("path", sorted((ROOT / "kdkit" / "api").rglob("interfaces/*.py")), ids=name_of)
def test_what_an_interface_speaks_of_is_public(path):
    """Whoever writes down the types of a component's methods imports them from `kdkit.api`."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("kdkit."):
            assert {alias.name for alias in node.names} <= set(kdkit.api.__all__)


# What their tests still reach for inside kdkit: each is a check of how a plugin and kdkit work together.
INSIDE = {
    "kdkit.models",  # counts how often a model is made
    "kdkit.plugins.structure.WRONG",  # reads the options of [sweep.search] as a recipe's check does
    "kdkit.plugins.structure.Structurer",
    "kdkit.system.progress.Lines",  # writes down what is shown
}


def test_the_tests_of_plugins_reach_inside_for_little():
    used = {name for path in ROOT.glob("plugins/*/tests/*.py") for name in private(path.read_text(encoding="utf-8"))}
    assert used == INSIDE


def test_the_library_page_names_the_public_rooms():
    page = read(ROOT / "docs" / "library.md")
    assert all(f"`{room}`" in page for room in ROOMS)


def test_the_reader_of_imports_tells_public_from_private():
    assert not private("import kdkit, os\nfrom kdkit import run\nfrom kdkit.data import RowReader\nimport kdkit.errors")
    assert private("from kdkit.data.fields import RowReader") == {"kdkit.data.fields.RowReader"}
    assert private("def f():\n    from kdkit.losses import torch") == {"kdkit.losses.torch"}
    assert private("from kdkit import plugins, run") == {"kdkit.plugins"}
    assert private("import kdkit.training.loop") == {"kdkit.training.loop"}
