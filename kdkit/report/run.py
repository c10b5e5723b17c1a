"""The report of a run: `report.html` and `report.md` in its folder, and the table that ends it in a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.report.card_scores import add_scores
from kdkit.report.numbers.conclusion import conclude
from kdkit.report.page.document import Document
from kdkit.report.page.writing import write_page
from kdkit.report.parts import (
    costs,
    examples,
    fine_tuning,
    imported,
    layers,
    opening,
    provenance,
    scores,
    teaching,
    training,
    verdict,
    vocabulary,
    written,
)
from kdkit.report.read.run import read_run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kdkit.report.page.document import Part
    from kdkit.report.read.run import RunFacts


def write(folder: Path) -> None:
    """Write both files, each whole or not at all, and the scores into the student's model card.

    Raises:
        MissingInput: The folder is no run folder.
        DamagedData: A file in it cannot be read.
    """
    facts = read_run(folder)
    write_page(assemble(facts), folder / "report.html")
    add_scores(facts)


def assemble(facts: RunFacts) -> Document:
    """The page of a run."""
    found = conclude(facts)
    return Document(
        title=facts.name,
        kind="evaluation of a finished run" if facts.scored else "distillation report",
        description=_description(facts),
        verdict=verdict.of_run(facts, found),
        warned="Not in this report:",
        warnings=facts.missing,
        opening=opening.of_run(facts, found),
        parts=tuple(part for part in _parts(facts) if part is not None),
        footer="Made by kdkit from the files of the run folder alone.",
    )


def _description(facts: RunFacts) -> str:
    """What was done: for an evaluation of a finished run, of which one, and with what changed."""
    told = str(facts.recipe.get("description") or "")
    if not facts.scored:
        return told
    changes = ", ".join(map(str, facts.scored.get("overrides", ())))
    again = f"The student of {facts.scored.get('run_dir')} scored again{f' with {changes}' if changes else ''}."
    return f"{told} {again}".strip()


def _parts(facts: RunFacts) -> Iterator[Part | None]:
    """The sections, in their order."""
    yield scores.of_run(facts)
    yield fine_tuning.of_run(facts)
    yield vocabulary.of_run(facts)
    yield imported.of_run(facts)
    if not facts.scored:
        yield written.of_run(facts)
        yield teaching.of_run(facts)
        yield layers.of_run(facts)
    yield costs.of_run(facts.evaluation.costs)
    if not facts.scored:
        yield training.of_run(facts)
    yield examples.of_run(facts)
    yield provenance.of_run(facts)
