"""Report: writes `report.html` and `report.md` from the files of the other stages in the run folder."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.runs.stage import Planned

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kdkit.recipe import Recipe
    from kdkit.runs.run import Run
    from kdkit.runs.stage import RowsPlanned
    from kdkit.runs.stage_facts import Estimate


def plan(_recipe: Recipe, _rows: RowsPlanned, _found: Estimate) -> Planned:
    """The pages that are written."""
    return Planned(work="report.html and report.md")


def write_pages(run: Run) -> None:
    """Write both files; see `kdkit.report.run.write`."""
    from kdkit.report.run import write

    write(run.path)


def seconds(_run: Run, _took: Mapping[str, float]) -> float:
    """A second or two."""
    return 0.0
