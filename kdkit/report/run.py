"""The report of a run: `report.html` and `report.md` in its folder, and the table that ends it in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import evolve

from kdkit.report.numbers.conclusion import conclude
from kdkit.report.numbers.names import LOSS, MODELS, suite_title
from kdkit.report.page import formats, terminal
from kdkit.report.page.document import Document
from kdkit.report.page.tables import Cell, Table
from kdkit.report.page.writing import write_page
from kdkit.report.parts import costs, examples, opening, provenance, scores, teaching, training, verdict
from kdkit.report.read.run import read_run
from kdkit.system.wording import visible

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from rich.console import RenderableType

    from kdkit.report.page.document import Part
    from kdkit.report.read.run import RunFacts

HEADS = {
    MODELS["labels-only"]: "labels only",
    MODELS["untouched"]: "un- touched",
    MODELS["nearest"]: "nearest row",
    "retention": "kept",
    scores.DISTILLED: "student minus labels only",
}
"""Shorter names of columns: six models and a ratio have 80 columns of a terminal."""


def write(folder: Path) -> None:
    """Write both files, each whole or not at all.

    Raises:
        MissingInput: The folder is no run folder.
        DamagedData: A file in it cannot be read.
    """
    write_page(assemble(read_run(folder)), folder / "report.html")


def assemble(facts: RunFacts) -> Document:
    """The page of a run."""
    found = conclude(facts)
    return Document(
        title=facts.name,
        kind="distillation report",
        description=_description(facts),
        verdict=verdict.of_run(facts, found),
        warned="Not in this report:",
        warnings=facts.missing,
        opening=opening.of_run(facts, found),
        parts=tuple(part for part in _parts(facts) if part is not None),
        footer="Made by kdkit from the files of the run folder alone.",
    )


def _parts(facts: RunFacts) -> Iterator[Part | None]:
    """The sections, in their order."""
    yield scores.of_run(facts)
    yield teaching.of_run(facts)
    yield costs.of_run(facts.evaluation.costs)
    yield training.of_run(facts)
    yield examples.of_run(facts)
    yield provenance.of_run(facts)


def _description(facts: RunFacts) -> str:
    """The recipe's own, and what tells this run from others of it: its folder and its loss."""
    loss = {key: value for key, value in facts.table("loss").items() if key != "name"}
    told = ", ".join(f"{key} {formats.setting(value)}" for key, value in loss.items())
    which = f"Run folder {facts.folder}" + (f"; loss {facts.table('loss').get('name')} with {told}." if told else ".")
    return f"{facts.recipe.get('description') or ''} {which}".strip()


def closing_table(folder: Path) -> RenderableType:
    """The verdict, a row for each metric and cost, and where the report is, for a rich console."""
    facts = read_run(folder)
    return terminal.closing(verdict.of_run(facts).text, map(_short, _closing(facts)), folder / "report.html")


def closing_text(folder: Path) -> str:
    """The closing table as plain text of at most 80 columns (but for the report's path)."""
    return terminal.plain(closing_table(folder))


def _closing(facts: RunFacts) -> Iterator[Table]:
    for table in scores.comparison(facts):
        if not table.folded:
            yield evolve(table, note="")
    apart = scores.differences(facts)
    if apart is not None and scores.DISTILLED in apart.columns:
        groups = (
            evolve(group, rows=tuple(evolve(row, cells=tuple(map(_difference, row.cells))) for row in group.rows))
            for group in apart.groups
        )
        yield evolve(apart, groups=tuple(groups), note=_lower_is_better(apart))
    spent = costs.table(facts.evaluation.costs)
    if spent is not None:
        yield evolve(spent, note="")


def _short(table: Table) -> Table:
    return evolve(table, columns=tuple(HEADS.get(column, column) for column in table.columns))


def _difference(cell: Cell) -> Cell:
    """A difference with its interval; one that is within noise is called that and nothing else."""
    if cell.verdict == terminal.BESIDE:
        return Cell(cell.verdict)
    return Cell(f"{cell.text} ({cell.note})" if cell.note else cell.text)


def _lower_is_better(apart: Table) -> str:
    """Of which rows of a table less is better, all losses as one; empty where it is of none."""
    names = [
        "losses" if group.title == suite_title(LOSS) else visible(row.label)
        for group in apart.groups
        for row in group.rows
        if row.note == scores.LESS
    ]
    told = sorted(dict.fromkeys(names), key=lambda name: name != "losses")
    listed = " and ".join(filter(None, (", ".join(told[:-1]), *told[-1:])))
    return f"Of {listed}, less is better." if told else ""
