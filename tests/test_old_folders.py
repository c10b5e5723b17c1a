"""Folders that kdkit left before its rebuild still open: caches, a finished run, a finished sweep.

How they were made is in `fixtures/before_the_rebuild/make_old_folders.py`, and what kdkit of then said of them in
`expected.json` beside it.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from kdkit.cli import group
from kdkit.logits.cache import LogitCache

OLD = Path(__file__).parent / "fixtures" / "before_the_rebuild"
EXPECTED = json.loads((OLD / "expected.json").read_text(encoding="utf-8"))


@pytest.fixture
def old(tmp_path, monkeypatch):
    """A copy that may be written in, as the working folder."""
    shutil.copytree(OLD, tmp_path / "old")
    monkeypatch.chdir(tmp_path / "old")
    return tmp_path / "old"


def said(*arguments):
    shown = CliRunner().invoke(group, arguments, catch_exceptions=False)
    assert shown.exit_code == 0, shown.output
    return shown.stdout


@pytest.mark.parametrize("name", ["u8-lz4", "subspace"])
def test_an_old_cache_is_whole_and_decodes_to_the_same_tokens(name):
    folder = OLD / "caches" / name
    assert said("cache", "verify", str(folder)).strip() == EXPECTED["cache verify"][name][0]
    cache = LogitCache.open(folder)
    likeliest = {key.hex(): cache.decode(key).argmax(-1).tolist() for key in cache}
    assert likeliest == EXPECTED["likeliest tokens of the caches"][name]


def test_the_report_of_an_old_run_has_its_numbers(old):
    found, before = json.loads(said("report", "runs/tiny", "--json")), EXPECTED["report --json of the run"]
    assert found["rows"] == before["rows"]
    assert found["costs"] == before["costs"]
    assert found["missing"] == []


def test_the_report_of_an_old_sweep_has_its_numbers(old):
    found, before = json.loads(said("report", "sweeps/tiny", "--json")), EXPECTED["report --json of the sweep"]
    assert found["trials"] == before["trials"] == {"done": 2}
    assert found["chosen_by"] == before["chosen_by"]
    assert found["configurations"] == before["configurations"]


def test_the_student_of_an_old_run_writes_the_same_texts(old):
    lines = said("predict", "runs/tiny", "--input", "data/ask.jsonl").splitlines()
    assert [json.loads(line) for line in lines] == EXPECTED["predict"]


def test_an_old_run_is_compared_with_old_trials(old):
    said("report", "runs/tiny", "sweeps/tiny", "--output", "compared.html")
    assert (old / "compared.html").stat().st_size > 10_000
