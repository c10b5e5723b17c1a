"""Whose logits the student learnt from, where another tool kept them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.report.page.document import Part
from kdkit.report.read.files import as_table
from kdkit.runs.stage_facts import Estimate

if TYPE_CHECKING:
    from kdkit.report.read.run import RunFacts


def of_run(facts: RunFacts) -> Part | None:
    """A sentence with what is known of these logits; None where kdkit captured them."""
    entry = as_table(as_table(facts.run.get("stages")).get(Estimate.stage))
    said = as_table(entry.get("facts")).get("imported")
    if not isinstance(said, str):
        return None
    text = (
        f"kdkit did not ask the teacher: the student learnt from log-probabilities that another tool kept ({said}). "
        "Their rows were found by token ids. Which model made them is not known here."
    )
    return Part(key="imported", title="Whose logits these are", blocks=(text,))
