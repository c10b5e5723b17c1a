"""What the models could not learn from the data, and was said before they were trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.report.page.document import Part

if TYPE_CHECKING:
    from kdkit.report.read.run import RunFacts


def of_run(facts: RunFacts) -> Part | None:
    """The notes of the stage data and the doubts of the stage check; None where there are none."""
    notes = [*(facts.data.get("notes") or ()), *(facts.stage("check").get("doubts") or ())]
    said = tuple(f"{note}." for note in map(str, notes) if note)
    return Part(key="teaching", title="What the data cannot teach", blocks=said) if said else None
