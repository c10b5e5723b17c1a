"""docs/tutorial.md: its file of rows becomes the recipe and the plan that it shows, and its sweep is a sweep."""

from __future__ import annotations

import re
import runpy
import shutil

import pytest
from click.testing import CliRunner
from pages import ROOT, read

from kdkit.cli.init import command
from kdkit.sweeps.reading import load_any

FILES = ROOT / "docs" / "tutorial"
PRINTED = re.compile(r"<!-- printed by kdkit init -->\n```text\n(.*?)```\n<!-- end -->", re.DOTALL)


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """The folder of a reader who has followed the page up to its recipe, and what they saw."""
    folder = tmp_path_factory.mktemp("tutorial")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("KDKIT_STORE", raising=False)
        runpy.run_path(str(FILES / "make_dates.py"))
        result = CliRunner().invoke(command, ["dates.csv", "--yes", "--no-time"], standalone_mode=False)
    assert result.exception is None
    return folder, result.output


def test_the_recipe_is_what_kdkit_writes(begun):
    folder, _ = begun
    assert read(folder / "dates.toml") == read(FILES / "dates.toml")


def test_the_rows_and_the_plan_are_what_kdkit_prints(begun):
    folder, output = begun
    page = read(ROOT / "docs" / "tutorial.md")
    shown, printed = PRINTED.search(page)[1].splitlines(), output.splitlines()
    assert len(shown) > 10
    assert not [line for line in shown if not any(each.startswith(line) for each in printed)]
    assert "".join(f"{line}\n" for line in read(folder / "dates.csv").splitlines()[:4]) in page


def test_the_sweep_has_the_trials_that_the_page_says(begun):
    folder, _ = begun
    shutil.copy(FILES / "dates-sweep.toml", folder)
    assert len(load_any(folder / "dates-sweep.toml").trials) == 4
