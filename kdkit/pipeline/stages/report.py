"""The last stage: writes `report.html` and `report.md` from what the other stages left in the run folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.report import assemble
from kdkit.report.page import html, markdown
from kdkit.report.read.run import read
from kdkit.runs.stage import Planned, Stage
from kdkit.system.files import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

    from kdkit.api.values import Corpus
    from kdkit.recipe import Recipe
    from kdkit.runs.stage_facts import Estimate


def write(folder: Path) -> None:
    """Write both files, each whole or not at all.

    Raises:
        MissingInput: The folder is no run folder.
        DamagedData: A file in it cannot be read.
    """
    page = assemble(read(folder))
    write_atomically(folder / "report.html", html.render(page).encode())
    write_atomically(folder / "report.md", markdown.render(page).encode())


def plan(_recipe: Recipe, _corpus: Corpus, _found: Estimate) -> Planned:
    """Which pages are written."""
    return Planned(work="report.html and report.md")


STAGE = Stage(name="report", work=lambda run: write(run.path), plan=plan, outputs=("report.html", "report.md"))
