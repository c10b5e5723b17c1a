"""The end of a sweep, or of a comparison: its verdict, below the table of configurations."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.report.numbers.student_folder import BEST
from kdkit.report.page import terminal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from rich.console import RenderableType

    from kdkit.report.page.document import Verdict
    from kdkit.report.sweep import SweepReport


def of_sweep(report: SweepReport) -> RenderableType:
    """Its verdict, the student of the configuration that was chosen, and the report."""
    best = report.selection.best
    folders = [] if best is None else [run.folder / BEST for run in best.runs]
    return _closing(
        report.document.verdict, report.sweep.folder / "report.html", [each for each in folders if each.is_dir()]
    )


def of_comparison(verdict: Verdict, page: Path) -> RenderableType:
    """Its verdict and its page."""
    return _closing(verdict, page)


def _closing(verdict: Verdict, page: Path, students: Sequence[Path] = ()) -> RenderableType:
    rows = [("student", (str(students[0]),))] if students else []
    rows.append(("report", (str(page),)))
    return terminal.stacked(terminal.paragraphs(verdict.sentence, verdict.support), terminal.facts(rows))
