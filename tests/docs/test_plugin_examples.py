"""The example plugins of the documentation pass their own tests, are found as installed, and work together in a run."""

from __future__ import annotations

import csv
import importlib
import sqlite3
import sys
import tomllib
from contextlib import closing

import pytest
import tiny
from pages import ROOT, read

from kdkit import plugins as plugin_loading
from kdkit.recipe import load_recipe

EXAMPLES = ROOT / "docs" / "plugin-examples"


@pytest.fixture(scope="module")
def examples():
    """The entry module, with the folder of the distribution importable."""
    sys.path.insert(0, str(EXAMPLES))
    yield importlib.import_module("kdkit_examples")
    sys.path.remove(str(EXAMPLES))


@pytest.fixture(scope="module")
def own_tests(examples):
    return importlib.import_module("test_kdkit_examples")


@pytest.fixture(scope="module")
def registry(examples):
    return plugin_loading.load(extra=(examples,))


def names(registry, kind):
    return [name for name in registry.names(kind) if registry.get(kind, name).plugin == "kdkit_examples"]


def test_there_is_one_of_every_kind_and_the_page_shows_each(registry):
    page = read(ROOT / "docs" / "plugin-examples.md")
    for kind in plugin_loading.KINDS:
        assert names(registry, kind), f"there is no example of {kind}"
        for name in names(registry, kind):
            module = registry.get(kind, name).module.replace(".", "/")
            assert f"<!-- file docs/plugin-examples/{module}.py -->" in page
    table = tomllib.loads(read(EXAMPLES / "pyproject.toml"))["project"]
    assert table["entry-points"]["kdkit"] == {"examples": "kdkit_examples"}


def test_naming_the_examples_imports_none_of_them(registry):
    for kind in plugin_loading.KINDS:
        assert all(isinstance(registry.get(kind, name).target, str) for name in names(registry, kind))


@pytest.mark.parametrize("kind", ["codec", "metric_suite", "student", "tracker", "search"])
def test_it_keeps_the_rules_of_its_kind(own_tests, kind):
    getattr(own_tests, f"test_{kind}")()


@pytest.mark.parametrize("kind", ["data_sets", "teacher", "reference"])
def test_it_keeps_the_rules_of_its_kind_with_files(own_tests, kind, tmp_path):
    getattr(own_tests, f"test_{kind}")(tmp_path)


def test_the_loss_keeps_the_rules_of_losses(own_tests):
    own_tests.test_loss({"temperature": 2.0})


def test_one_run_uses_them_together_without_installing_them(registry, own_tests, tmp_path):
    from kdkit.pipeline.run import run

    own_tests.save_tokenizer(tmp_path / "tokenizer")
    with closing(sqlite3.connect(tmp_path / "rows.db")) as database, database:
        database.execute("create table rows (question, answer)")
        database.executemany("insert into rows values (?, ?)", tiny.pairs(60))
    table = tiny.recipe_table(
        tmp_path,
        data={"name": "sqlite", "path": str(tmp_path / "rows.db"), "source": "question", "target": "answer"},
        teacher={"name": "bigrams", "tokenizer": str(tmp_path / "tokenizer")},
        student={"name": "orthogonal", "config": own_tests.TINY},
        codec={"name": "row-bytes"},
        loss={"name": "hellinger", "alpha": 0.5},
        track={"name": "csv"},
        evaluation__suites=["lengths"],
        training__best_by="lengths.off_by",
        training__epochs=1,
    )
    report = run(load_recipe(table, plugins=registry), tmp_path / "run")
    assert {"off_by", "is_longer"} <= {score.metric for score in report.scores if score.suite == "lengths"}
    with (tmp_path / "run" / "tracking" / "numbers.csv").open(newline="") as file:
        tracked = {name for _, name, _ in csv.reader(file)}
    assert {"student/train/loss", "student/truth/lengths/off_by"} <= tracked
