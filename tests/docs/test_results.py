"""`docs/results`: what is kept of a sweep makes the same page, and every page there is made from its numbers."""

from __future__ import annotations

import json

import pytest
from pages import ROOT, script
from sweep_folders import GRID, write_sweep_folder

from kdkit.report import sweep
from kdkit.report.page import markdown

results = script("make_results")
KEPT = sorted(path.parent for path in (ROOT / "docs" / "results").glob(f"*/{results.NUMBERS}"))


def without_command(text):
    """The text but for the folder that it was made in."""
    return [line for line in text.splitlines() if not line.startswith(("kdkit run", "Made by", "To repeat"))]


@pytest.mark.parametrize(
    "trials",
    [
        GRID[1:4],
        [{"training.rows": rows} for rows in (500, 5000, 50_000)],
        [{"codec.name": name} for name in ("topk", "u8-lz4")],
    ],
)
def test_kept_numbers_make_the_page_that_the_folder_of_the_sweep_makes(tmp_path, monkeypatch, trials):
    monkeypatch.setattr(results, "RESULTS", tmp_path / "results")
    (tmp_path / "results").mkdir()
    folder = write_sweep_folder(tmp_path / "sweep", trials, seeds=(1, 2), rows=60)
    results.keep(folder, "sweep")
    numbers = json.loads((tmp_path / "results" / "sweep" / "numbers.json").read_text(encoding="utf-8"))
    page, _ = results.page_of(tmp_path / "results" / "sweep", numbers)
    assert without_command(markdown.render(page)) == without_command(markdown.render(sweep.assemble(folder).document))


def test_the_curve_of_a_finding_along_an_axis_is_a_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "RESULTS", tmp_path)
    trials = [{"training.rows": rows} for rows in (500, 5000, 50_000)]
    results.keep(write_sweep_folder(tmp_path / "sweep", trials, seeds=(1, 2), rows=60), "kept")
    made = results.make(tmp_path / "kept")
    assert set(made) == {"report.html", "report.md", "gain.png"}
    assert made["gain.png"].startswith(b"\x89PNG")


@pytest.mark.parametrize("folder", KEPT, ids=[folder.name for folder in KEPT])
def test_a_page_of_results_is_made_from_its_numbers(folder):
    numbers = json.loads((folder / results.NUMBERS).read_text(encoding="utf-8"))
    page, _ = results.page_of(folder, numbers)
    told = "is not what its numbers.json says: run `python docs/make_results.py`"
    assert (folder / "report.md").read_text(encoding="utf-8") == markdown.render(page), f"{folder}/report.md {told}"
    assert all((folder / file).is_file() for file in numbers["figures"])
