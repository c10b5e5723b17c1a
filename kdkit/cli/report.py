"""`kdkit report`: writes the report of a run or a sweep again, or compares several runs."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from kdkit.cli.output import print_json, print_table, say
from kdkit.errors import UsageError
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from kdkit.report.numbers.statistics import Statistics
    from kdkit.report.sweep import SweepReport

COMPARISON = Path("comparison.html")
_FEW = 3
"""Trials that failed are named, up to so many."""


@click.command("report")
@click.argument("folders", metavar="FOLDER...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="With several runs: the HTML file to write, by default comparison.html here; the Markdown goes beside it.",
)
@click.option("--full", is_flag=True, help="Of a run: print every score, and not only what fits on a screen.")
@click.option("--json", "as_json", is_flag=True, help="Print the report's numbers as JSON.")
def command(*, folders: tuple[Path, ...], output: Path | None, full: bool, as_json: bool) -> None:
    """Write report.html and report.md of a run or a sweep again, and print the results.

    Of several FOLDERs, write a page that compares them: runs, trials of sweeps, or all trials of a sweep. Runs that
    differ by the seed of their training alone are seeds of one configuration.
    """
    if len(folders) > 1:
        _compare(folders, output or COMPARISON, as_json=as_json)
        return
    if output is not None:
        raise UsageError(
            f"--output {output} is only for comparing several runs; the report of one run goes into its folder"
        )
    (folder,) = folders
    from kdkit.sweeps import is_sweep

    if is_sweep(folder):
        _report_sweep(folder, as_json=as_json)
    else:
        _report_run(folder, full=full, as_json=as_json)


def print_closing(run_dir: Path, *, full: bool) -> None:
    """What ends a run: drawn on a terminal, else plain text."""
    from kdkit.cli.output import print_drawn
    from kdkit.report.closing import run

    print_drawn(run.closing(run_dir, full=full))


def print_closing_of_sweep(report: SweepReport) -> None:
    """What ends a sweep: its verdict, its configurations, and which trials failed."""
    from kdkit.report.closing import several

    _print(report.stats, several.of_sweep(report))
    failed = [trial for trial in report.sweep.trials if trial.status == "failed"]
    for trial in failed[:_FEW]:
        say(f"failed: {trial.title}: {trial.error}", err=True)
    if len(failed) > _FEW:
        say(f"failed: {plural(len(failed) - _FEW, 'more trial')}, named in the report", err=True)


def _is_writable(folder: Path) -> bool:
    """Whether pages can be written into a folder; if not, warn, and print the numbers all the same."""
    if not folder.is_dir() or os.access(folder, os.W_OK):
        return True  # what is not a folder is refused by whoever reads it
    say(
        f"warning: report.html and report.md were not written, since you may not write in {folder}; copy the "
        "folder and run again there",
        err=True,
    )
    return False


def _report_run(run_dir: Path, *, full: bool, as_json: bool) -> None:
    from kdkit.report.run import write
    from kdkit.report.summary import summary

    if _is_writable(run_dir):
        write(run_dir)
    if as_json:
        print_json(summary(run_dir))
    else:
        print_closing(run_dir, full=full)


def _report_sweep(folder: Path, *, as_json: bool) -> None:
    from kdkit.report import summary, sweep

    report = sweep.write(folder) if _is_writable(folder) else sweep.assemble(folder)
    document, stats, best = report.document, report.stats, report.selection.best
    for damage in report.damages:
        say(f"warning: {damage}", err=True)
    if as_json:
        counts: dict[str, int] = {}
        for trial in report.sweep.trials:
            counts[trial.status] = counts.get(trial.status, 0) + 1
        print_json(
            {
                "sweep": str(folder),
                "html": str(folder / "report.html"),
                "markdown": str(folder / "report.md"),
                "verdict": document.verdict.sentence,
                "warnings": list(document.warnings),
                "trials": counts,
                "chosen_by": report.selection.by,
                "headline": summary.headline_name(stats),
                "best": None if best is None else dict(best.values),
                "configurations": summary.configurations(stats),
                "differences": [] if best is None else summary.differences(stats, best),
                "failed": [
                    {"id": trial.id, "values": dict(trial.values), "seed": trial.seed, "error": trial.error}
                    for trial in report.sweep.trials
                    if trial.status == "failed"
                ],
            }
        )
        return
    print_closing_of_sweep(report)


def _compare(folders: tuple[Path, ...], output: Path, *, as_json: bool) -> None:
    from kdkit.sweeps import is_sweep, read_sweep

    if output.suffix == ".md":
        raise UsageError(f"--output {output} must end in .html; the Markdown goes beside it")
    runs: list[Path] = []
    for folder in folders:
        if is_sweep(folder):
            runs += [trial.folder for trial in read_sweep(folder).trials if trial.status == "done"]
        else:
            runs.append(folder)
    compare(list(dict.fromkeys(runs)), output, as_json=as_json)


def compare(runs: Sequence[Path], output: Path, *, as_json: bool) -> None:
    """Write a page that compares runs, and print what is in it."""
    from kdkit.report import comparison, summary
    from kdkit.report.closing import several
    from kdkit.report.parts import comparison_verdict

    stats = comparison.write(runs, output)
    verdict = comparison_verdict.of_comparison(stats)
    if as_json:
        print_json(
            {
                "html": str(output),
                "markdown": str(output.with_suffix(".md")),
                "verdict": verdict.sentence,
                "headline": summary.headline_name(stats),
                "differing": list(stats.configurations[0].values),
                "configurations": summary.configurations(stats),
                "differences": summary.differences(stats, stats.configurations[0]),
            }
        )
        return
    _print(stats, several.of_comparison(verdict, output))


def _print(stats: Statistics, closing: RenderableType) -> None:
    """A table of configurations, however long, and below it what it comes to."""
    from kdkit.cli.output import print_drawn
    from kdkit.report import summary

    columns, rows = summary.lines(stats)
    if rows:
        print_table(columns, rows)
        say()
    print_drawn(closing)
