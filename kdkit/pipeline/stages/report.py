"""The last stage: writes `report.html` and `report.md` from what the other stages left in the run folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.runs.stage import Planned, Stage

if TYPE_CHECKING:
    from pathlib import Path

    from kdkit.api.values import Corpus
    from kdkit.recipe import Recipe
    from kdkit.runs.stage_facts import Estimate


def plan(_recipe: Recipe, _corpus: Corpus, _found: Estimate) -> Planned:
    """Which pages are written."""
    return Planned(work="report.html and report.md")


def write(folder: Path) -> None:
    """Write both files; see `kdkit.report.run.write`."""
    from kdkit.report import run  # draws with what takes a second to import

    run.write(folder)


STAGE = Stage(
    name="report",
    work=lambda run: write(run.path),
    plan=plan,
    outputs=("report.html", "report.md"),
    seconds=lambda *_: 0.0,  # a second or two
)
