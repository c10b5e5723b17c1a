"""What trimming the teacher's vocabulary kept, saved and cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.evaluation.row_scores import RowKey
from kdkit.report.numbers.names import capital, metric_name
from kdkit.report.page import formats
from kdkit.report.page.document import Part
from kdkit.report.page.tables import Cell, Row, Table
from kdkit.report.parts.cells import LESS

if TYPE_CHECKING:
    from kdkit.report.read.run import RunFacts


def of_run(facts: RunFacts) -> Part | None:
    """The whole and the trimmed vocabulary side by side, with a sentence; None where none was trimmed."""
    found, said = facts.evaluation.vocabulary, sentence(facts)
    if found is None or said is None:
        return None
    kept = found.facts
    bits = capital(metric_name(RowKey("teacher", "truth", "tokens", "bits_per_byte")))
    rows = (
        ("Ids", "", kept.whole, kept.kept),
        ("Parameters of the teacher", "", kept.whole_parameters, kept.parameters),
        ("Tokens per row", "", kept.whole_tokens / kept.texts, kept.tokens / kept.texts),
        (bits, LESS, found.before.value, found.after.value),
    )
    how = (
        f"{said} Both columns are about the teacher as the recipe names it, before any fine-tuning, on the same "
        f"{formats.count(kept.texts)} {facts.split} rows. Perplexities of the two are means over other tokens, so they "
        "cannot be compared; bits per byte can."
    )
    return Part(
        key="vocabulary",
        title="What trimming the vocabulary cost",
        blocks=(
            how,
            Table.of(("", "whole", "trimmed"), (_row(*row) for row in rows)),
        ),
    )


def sentence(facts: RunFacts) -> str | None:
    """What stays, and what it costs; None where no vocabulary was trimmed."""
    found = facts.evaluation.vocabulary
    if found is None:
        return None
    bits = f"bits per byte {formats.metric(found.before.value)} before, {formats.metric(found.after.value)} after"
    return f"{found.facts.in_words[:1].upper()}{found.facts.in_words[1:]}; {bits}."


def in_short(facts: RunFacts) -> tuple[str, ...]:
    """The same in lines that a terminal has room for."""
    found = facts.evaluation.vocabulary
    if found is None:
        return ()
    before, after = formats.metric(found.before.value), formats.metric(found.after.value)
    return (
        f"{found.facts.kept:,} of {found.facts.whole:,} ids, {found.facts.more_tokens} more tokens",
        f"bits per byte of the teacher {before} whole, {after} trimmed",
    )


def _row(label: str, note: str, whole: float, trimmed: float) -> Row:
    def shown(value: float) -> str:
        return formats.count(value) if isinstance(value, int) else formats.metric(value)

    return Row(label=label, note=note, cells=(Cell(shown(whole)), Cell(shown(trimmed))))
