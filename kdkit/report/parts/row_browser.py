"""The held-out rows as the report's browser reads them: JSON that no text can break out of."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from kdkit.report.numbers.names import LABELS_ONLY, MODELS
from kdkit.report.numbers.outcomes import KINDS, kind_of, ordered, same
from kdkit.report.page import formats
from kdkit.report.page.excerpts import Rows
from kdkit.report.page.textdiff import pieces
from kdkit.system.wording import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.report.read.rows import ScoredRow

ROWS = 2000
"""The most rows that a report carries."""
BYTES = 3_000_000
"""The most bytes of JSON that they may take."""
SOURCE_LIMIT, TEXT_LIMIT = 1500, 1200
UNSAFE = re.compile("[<>&\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
"""What could end a script element, begin a comment in it, be taken for a line's end, or be changed on the way."""


def collect(rows: Sequence[ScoredRow], *, seed: int, most: int = ROWS, budget: int = BYTES) -> Rows:
    """Up to `most` rows, and no more than fit the budget of bytes, in an order that only seed and ids decide.

    They are drawn in that order, and stand by kinds of outcome.

    Args:
        rows: The held-out rows.
        seed: The recipe's.
        most: The most rows.
        budget: The most bytes of JSON that rows may take.
    """
    texts = {"teacher": [row.teacher for row in rows], "student": [row.student for row in rows],
             LABELS_ONLY: [row.labels_only for row in rows]}  # fmt: skip
    models = [model for model, written in texts.items() if any(text is not None for text in written)]
    kinds = sorted({kind for row in rows for kind in row.kinds})
    encoded: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for row in ordered(rows, seed)[:most]:
        line = safe_json(_entry(row, models, kinds))
        budget -= len(line.encode())
        if budget < 0:
            break
        encoded[kind_of(row)].append(line)
    listed = [line for lines in encoded.values() for line in lines]
    names = {model: visible(MODELS[model]) for model in models}
    head = safe_json({"models": [[model, name] for model, name in names.items()], "kinds": kinds, "outcomes": KINDS})
    return Rows(
        json=f'{head[:-1]}, "rows": [' + ",\n".join(listed) + "]}",
        models=tuple(names.items()),
        kinds=tuple(kinds),
        answerable=any(row.answerable is not None for row in rows),
        shown=len(listed),
        total=len(rows),
    )


def safe_json(value: object) -> str:
    """JSON that stands in a script element as it is, and gives the same value wherever it is read."""
    return UNSAFE.sub(lambda found: f"\\u{ord(found.group()):04x}", json.dumps(value, ensure_ascii=False))


def _entry(row: ScoredRow, models: Sequence[str], kinds: Sequence[str]) -> dict[str, Any]:
    """A row: `texts` in the order of the models.

    Each text is its pieces against the truth ("t", see `textdiff`), and against the teacher's text ("p") where that is
    another; "r" says whether it is right, "a" whether it agrees with the teacher's.
    """
    written = {"teacher": row.teacher, "student": row.student, LABELS_ONLY: row.labels_only}
    return {
        "id": row.id,
        "kinds": [kinds.index(kind) for kind in row.kinds],
        "answerable": row.answerable,
        "outcome": KINDS.index(kind_of(row)),
        "source": formats.shortened(row.source, SOURCE_LIMIT),
        "length": len(row.source),
        "truth": formats.shortened(row.truth, TEXT_LIMIT),
        "texts": [_text(written[model], row, is_teacher=model == "teacher") for model in models],
    }


def _text(text: str | None, row: ScoredRow, *, is_teacher: bool) -> dict[str, Any] | None:
    if text is None:
        return None
    truth, shown = (formats.shortened(each, TEXT_LIMIT) for each in (row.truth, text))
    entry: dict[str, Any] = {"t": pieces(truth, shown), "r": same(text, row.truth)}
    if not is_teacher and row.teacher is not None:
        entry["a"] = same(text, row.teacher)
        entry["p"] = pieces(formats.shortened(row.teacher, TEXT_LIMIT), shown)
    return entry
