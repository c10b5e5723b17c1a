"""The pages of the documentation, taken apart for their tests."""

from __future__ import annotations

import importlib
import importlib.util
import re
import tomllib
from functools import cache
from pathlib import Path

import pytest

from kdkit import plugins as plugin_loading
from kdkit.plugins.fields import options_of
from kdkit.recipe import SECTIONS

ROOT = Path(__file__).parents[2]
DISTRIBUTIONS = {
    table["name"]: table
    for path in [ROOT / "pyproject.toml", *ROOT.glob("plugins/*/pyproject.toml")]
    for table in [tomllib.loads(path.read_text(encoding="utf-8"))["project"]]
}
# What stands in for a section that a fragment of a recipe leaves out.
STAND_INS = {
    "data": {"name": "jsonl", "train": "train.jsonl", "source": "text", "target": "answer"},
    "teacher": {"name": "hf-seq2seq", "model": "teacher"},
    "student": {"name": "hf-seq2seq", "model": "student"},
}
FENCE = re.compile(r"^```(?P<language>\w*)\n(?P<code>.*?)^```$", re.DOTALL | re.MULTILINE)
QUOTED_FENCE = re.compile(r"^<!-- (?:file|sections|lines) [^\n]*-->\n```.*?^```$", re.DOTALL | re.MULTILINE)


def script(name):
    """A script of docs/ as a module."""
    return _loaded(ROOT / "docs" / f"{name}.py")


def benchmark(name):
    """A script of benchmarks/ as a module."""
    return _loaded(ROOT / "benchmarks" / f"{name}.py")


def _loaded(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


quotes = script("make_quotes")
WRITTEN = [path for path in quotes.pages() if path.name != "cache-format.md"]
PAGES = [*quotes.pages(), ROOT / "docs" / "options.md", ROOT / "CHANGELOG.md"]


def name_of(page):
    return str(page.relative_to(ROOT))


def read(page):
    return page.read_text(encoding="utf-8")


def fences(page, *languages):
    """Code of the page's fences in these languages, those left out that quote a file."""
    text = QUOTED_FENCE.sub("", read(page))
    return [match["code"] for match in FENCE.finditer(text) if match["language"] in languages]


def in_backticks(page):
    """What stands in backticks within the running text and tables."""
    return re.findall(r"`([^`\n]+)`", FENCE.sub("", read(page)))


def each(extract):
    """Pages with what they hold, one test case a page that holds anything."""
    cases = [(page, extract(page)) for page in PAGES]
    return [pytest.param(page, found, id=name_of(page)) for page, found in cases if found]


@cache
def registry():
    found = plugin_loading.load()
    assert set(DISTRIBUTIONS) <= set(found.loaded), "the documentation covers plugins that are not installed"
    return found


def components(kind):
    return [name for name in registry().names(kind) if registry().get(kind, name).plugin in DISTRIBUTIONS]


def run_files():
    """The files and folders (those end in a slash) that docs/recipes.md says a run folder has."""
    table = read(ROOT / "docs" / "recipes.md").split("<!-- run folder -->")[1].split("<!-- end -->")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    return [name for row in rows for name in re.findall(r"`([^`]+)`", row)]


def paths_of_options(cls, prefix):
    for option in options_of(cls):
        yield f"{prefix}.{option.name}"
        yield from (f"{prefix}.{option.name}.{nested.name}" for nested in option.nested)


def classes_of(section):
    """The classes whose fields are the options of a section."""
    if section.kind is None:
        return [section.options]
    return [registry().get(section.kind, component).load() for component in components(section.kind)]


@cache
def option_paths():
    """`section.key` of every option of every component."""
    paths = set()
    for name, section in SECTIONS.items():
        paths |= {path for cls in classes_of(section) for path in paths_of_options(cls, name)}
        paths |= {f"{name}.name"} if section.kind is not None else set()
    return paths


def attribute(dotted):
    """What a dotted name stands for."""
    parts = dotted.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return found
    raise AssertionError(f"there is no {dotted}")
