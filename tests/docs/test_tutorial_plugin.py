"""The tutorial plugin of the documentation is found, checked and used like any other."""

from __future__ import annotations

import importlib
import runpy
import shutil
import sys
import tomllib

import pytest
from pages import ROOT, STAND_INS, read

from kdkit import plugins as plugin_loading
from kdkit.recipe import load_recipe

TUTORIAL = ROOT / "docs" / "tutorial-plugin"


@pytest.fixture
def tutorial(tmp_path, monkeypatch):
    """The tutorial plugin as installed: its module and the metadata that its pyproject.toml would make."""
    project = tomllib.loads(read(TUTORIAL / "pyproject.toml"))["project"]
    for module in TUTORIAL.glob("*.py"):
        shutil.copy(module, tmp_path)
    info = tmp_path / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    metadata = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(metadata)
    ((name, target),) = project["entry-points"]["kdkit"].items()
    (info / "entry_points.txt").write_text(f"[kdkit]\n{name} = {target}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, target, raising=False)
    yield project
    sys.modules.pop(target, None)


def test_the_tutorial_plugin_is_found_when_it_is_installed(tutorial):
    found = plugin_loading.load()
    assert found.loaded[tutorial["name"]] == tutorial["version"]
    assert found.get("metrics", "prefix").plugin == tutorial["name"]
    table = STAND_INS | {"evaluation": {"suites": ["text", {"name": "prefix", "ignore_case": True}]}}
    recipe = load_recipe(table, ["training.best_by=prefix.share"], plugins=found)
    assert recipe.evaluation.suite_of("prefix.share").suite.ignore_case
    override = 'evaluation.suites=["text", "prefix"]'
    assert override in read(TUTORIAL / "README.md")
    load_recipe("quickstart", [override], plugins=found)


def test_the_tutorial_plugin_can_be_handed_over_without_installing(monkeypatch):
    monkeypatch.syspath_prepend(str(TUTORIAL))
    monkeypatch.setenv(plugin_loading.DISABLE, "all")
    module = importlib.import_module("kdkit_prefix")
    found = plugin_loading.load(extra=(module,))
    assert found.get("metrics", "prefix").load() is module.Prefix
    sys.modules.pop("kdkit_prefix", None)


@pytest.mark.usefixtures("tutorial")
def test_the_tutorial_plugins_own_tests_pass(tmp_path):
    tests = runpy.run_path(str(tmp_path / "test_kdkit_prefix.py"))
    for ignore_case in (False, True):
        tests["test_the_suite_keeps_the_rules_of_metric_suites"](ignore_case)
    tests["test_the_share_ends_at_the_first_character_that_differs"]()


def test_the_tutorial_plugin_is_short():
    code = [line for line in read(TUTORIAL / "kdkit_prefix.py").splitlines() if line.strip()]
    assert len(code) <= 25
