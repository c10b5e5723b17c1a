"""Texts of a run: rows picked so that every kind of outcome is seen, and all rows for the page's browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.report.numbers.names import LABELS_ONLY
from kdkit.report.numbers.outcomes import KINDS, kind_of, ordered, same
from kdkit.report.page import formats
from kdkit.report.page.document import Part
from kdkit.report.page.excerpts import Excerpt, Excerpts, Written
from kdkit.report.page.textdiff import pieces
from kdkit.report.parts import row_browser
from kdkit.report.parts.row_browser import TEXT_LIMIT
from kdkit.report.read.files import number
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.report.read.rows import ScoredRow
    from kdkit.report.read.run import RunFacts

SOURCE_LIMIT = 2400


@attrs.frozen(kw_only=True)
class Spread:
    """The rows shown, and of each kind how many there are and how many are shown."""

    shown: tuple[Excerpt, ...]
    kinds: tuple[tuple[str, int, int], ...]


def of_run(facts: RunFacts) -> Part | None:
    """The texts; None where the recipe wants no examples, which then wants no texts of its data in the report."""
    amount = number(facts.table("evaluation").get("examples"))
    spread = pick(facts.rows, amount=20 if amount is None else int(amount), seed=facts.seed)
    if not spread.shown:
        return None
    rows = row_browser.collect(facts.rows, seed=facts.seed)
    found = Excerpts(note=_how_picked(spread, facts.split, facts.seed), shown=spread.shown, rows=rows)
    return Part(key="examples", title="Examples", blocks=(found,))


def pick(rows: Sequence[ScoredRow], *, amount: int, seed: int) -> Spread:
    """Up to `amount` rows, taken from the kinds in turn, in an order that only seed and ids decide."""
    listed = ordered(rows, seed)
    by_kind: dict[str, list[ScoredRow]] = {kind: [] for kind in KINDS}
    for row in listed:
        by_kind[kind_of(row)].append(row)
    quota = dict.fromkeys(KINDS, 0)
    left = min(amount, len(listed))
    while left:
        for kind in KINDS:
            if left and quota[kind] < len(by_kind[kind]):
                quota[kind] += 1
                left -= 1
    taken = {id(row) for kind in KINDS for row in by_kind[kind][: quota[kind]]}
    return Spread(
        shown=tuple(_show(row) for kind in KINDS for row in by_kind[kind] if id(row) in taken),
        kinds=tuple((kind, len(by_kind[kind]), quota[kind]) for kind in KINDS if by_kind[kind]),
    )


def _show(row: ScoredRow) -> Excerpt:
    texts = {"teacher": row.teacher, "student": row.student or "", LABELS_ONLY: row.labels_only}
    truth = formats.shortened(row.truth, TEXT_LIMIT)
    written = [
        Written(
            model=model,
            text=(shown := formats.shortened(text, TEXT_LIMIT)),
            is_right=same(text, row.truth),
            agrees=model != "teacher" and same(row.teacher, text),
            beside_truth=tuple(pieces(truth, shown)),
        )
        for model, text in texts.items()
        if text is not None
    ]
    return Excerpt(
        id=row.id,
        kind=kind_of(row),
        source=formats.shortened(row.source, SOURCE_LIMIT),
        source_length=len(row.source),
        truth=truth,
        written=tuple(written),
    )


def _how_picked(spread: Spread, split: str, seed: int) -> str:
    kinds = "; ".join(f"{kind}: {shown} of {plural(there, 'row')}" for kind, there, shown in spread.kinds)
    return (
        f"{plural(len(spread.shown), 'row')} of {split}, taken in turn from each kind of outcome so that "
        f"every kind is seen, not in proportion ({kinds}); within a kind the order is that of a hash of seed {seed} "
        "and the row's id."
    )
