"""Who of the models wrote the truth, row by row."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from kdkit.system.wording import trim

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kdkit.report.read.rows import ScoredRow

BOTH = "both right"
STUDENT = "student right, teacher wrong"
TEACHER = "teacher right, student wrong"
NEITHER = "both wrong"
ALONE_RIGHT = "student right"
ALONE_WRONG = "student wrong"
KINDS = (TEACHER, STUDENT, NEITHER, BOTH, ALONE_WRONG, ALONE_RIGHT)
"""Every kind, what tells the most of a student first."""


def same(one: str | None, other: str | None) -> bool:
    """Whether two texts are equal, as the exact match of suite `text` has it."""
    return one is not None and other is not None and trim(one) == trim(other)


def kind_of(row: ScoredRow) -> str:
    """Who of the two wrote the truth."""
    student = same(row.student, row.truth)
    if row.teacher is None:
        return ALONE_RIGHT if student else ALONE_WRONG
    teacher = same(row.teacher, row.truth)
    if student:
        return BOTH if teacher else STUDENT
    return TEACHER if teacher else NEITHER


def ordered(rows: Iterable[ScoredRow], seed: int) -> list[ScoredRow]:
    """Rows in an order that only a seed and their ids decide."""
    return sorted(rows, key=lambda row: hashlib.sha256(f"{seed}:{row.id}".encode("utf-8", "replace")).digest())
