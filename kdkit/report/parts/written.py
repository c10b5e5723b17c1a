"""Who wrote the training targets, where that was the teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.report.numbers.names import capital
from kdkit.report.page.document import Part
from kdkit.report.read.files import as_table
from kdkit.runs.facts_table import from_facts
from kdkit.runs.stage_facts import TargetsWritten
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from kdkit.report.read.run import RunFacts

MEANING = (
    "In training the hard loss is against these texts, that of the student of labels only too. The held-out rows keep "
    "their own targets, and every score against the ground truth is against those."
)


def of_run(facts: RunFacts) -> Part | None:
    """How many targets the teacher wrote, and what that means for the losses; None where rows had their own."""
    said = sentence(facts)
    if said is None:
        return None
    return Part(key="targets", title="Who wrote the training targets", blocks=(f"{said} {MEANING}",))


def sentence(facts: RunFacts) -> str | None:
    """How many targets the teacher wrote; None where rows had their own, or they are not written yet."""
    told = _told(facts)
    return None if told is None else f"{capital(told.in_words(keeps_cut=_keeps_cut(facts)))}."


def in_short(facts: RunFacts) -> tuple[str, ...]:
    """The same in lines that a terminal has room for."""
    told = _told(facts)
    if told is None:
        return ()
    cut = f"{told.cut:,} cut{' and kept' if _keeps_cut(facts) else ''}"
    return (f"written by the teacher: {plural(told.rows, 'row')}, {cut}, {told.empty:,} empty",)


def counts(facts: RunFacts) -> dict[str, int] | None:
    """The same as numbers."""
    told = _told(facts)
    if told is None:
        return None
    return {"asked": told.asked, "rows": told.rows, "cut": told.cut, "empty": told.empty}


def _keeps_cut(facts: RunFacts) -> bool:
    return bool(as_table(facts.table("teacher").get("write_targets")).get("keep_cut"))


def _told(facts: RunFacts) -> TargetsWritten | None:
    entry = as_table(as_table(facts.run.get("stages")).get(TargetsWritten.stage))
    if entry.get("status") != "done":
        return None
    return from_facts(TargetsWritten, as_table(entry.get("facts")), where=f"the stage {TargetsWritten.stage}")
