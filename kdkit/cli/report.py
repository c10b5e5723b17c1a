"""`kdkit report`: writes a run's report anew and prints its closing table."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import rich_click as click


@click.command("report")
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the verdict and the table as JSON.")
def command(*, run_dir: Path, as_json: bool) -> None:
    """Write report.html and report.md of RUN_DIR anew from its files, and print the closing table."""
    from kdkit.stages import report

    report.write(run_dir)
    if as_json:
        click.echo(json.dumps(_summary(run_dir), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        print_closing_table(run_dir)


def print_closing_table(run_dir: Path) -> None:
    """The table that ends a run: drawn on a terminal, else plain text."""
    from kdkit.report import closing_table, closing_text

    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(closing_table(run_dir))
    else:
        click.echo(closing_text(run_dir), nl=False)


def _summary(run_dir: Path) -> dict[str, Any]:
    from kdkit.report import compare, read, verdict
    from kdkit.report.facts import number

    facts = read(run_dir)
    pairs = [*compare.pairs(facts, against="truth"), *compare.pairs(facts, against="teacher"), *compare.losses(facts)]
    return {
        "run_dir": str(run_dir),
        "html": str(run_dir / "report.html"),
        "markdown": str(run_dir / "report.md"),
        "verdict": verdict.judge(compare.headline(facts), facts.costs, split=facts.split).sentence,
        "missing": list(facts.missing),
        "rows": [
            {
                "against": pair.against,
                "suite": pair.suite,
                "metric": pair.metric,
                "teacher": None if pair.teacher is None else number(pair.teacher.value),
                "student": None if pair.student is None else number(pair.student.value),
                "ratio": pair.ratio,
                "within_noise": pair.within_noise,
            }
            for pair in pairs
        ],
    }
