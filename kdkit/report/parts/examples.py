"""Picks the rows that a report shows, so that every kind of outcome is seen."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import attrs

from kdkit.report.page import formats
from kdkit.report.page.textdiff import pieces
from kdkit.system.wording import trim

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.report.read.rows import ScoredRow

BOTH = "both right"
STUDENT = "student right, teacher wrong"
TEACHER = "teacher right, student wrong"
NEITHER = "both wrong"
ALONE_RIGHT = "student right"
ALONE_WRONG = "student wrong"
KINDS = (BOTH, TEACHER, NEITHER, STUDENT, ALONE_RIGHT, ALONE_WRONG)
SOURCE_LIMIT = 2400
TEXT_LIMIT = 1200


@attrs.frozen(kw_only=True)
class Shown:
    """One row as the report shows it: its texts shortened, and what agrees with what."""

    id: str
    kind: str
    source: str
    source_length: int
    truth: str
    teacher: str | None
    student: str
    teacher_right: bool
    student_right: bool
    models_agree: bool

    @property
    def teacher_pieces(self) -> list[str]:
        """The teacher's text with its differences from the truth; see `textdiff`."""
        return pieces(self.truth, self.teacher or "")

    @property
    def student_pieces(self) -> list[str]:
        """The student's text with its differences from the truth."""
        return pieces(self.truth, self.student)


@attrs.frozen(kw_only=True)
class Spread:
    """The rows shown, and of each kind how many there are and how many are shown."""

    shown: tuple[Shown, ...]
    kinds: tuple[tuple[str, int, int], ...]


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


def pick(rows: Sequence[ScoredRow], *, amount: int, seed: int) -> Spread:
    """Up to `amount` rows, taken from the kinds in turn, in an order that only seed and ids decide."""
    ordered = sorted(rows, key=lambda row: hashlib.sha256(f"{seed}:{row.id}".encode("utf-8", "replace")).digest())
    by_kind: dict[str, list[ScoredRow]] = {kind: [] for kind in KINDS}
    for row in ordered:
        by_kind[kind_of(row)].append(row)
    quota = dict.fromkeys(KINDS, 0)
    left = min(amount, len(ordered))
    while left:
        for kind in KINDS:
            if left and quota[kind] < len(by_kind[kind]):
                quota[kind] += 1
                left -= 1
    taken = {id(row) for kind in KINDS for row in by_kind[kind][: quota[kind]]}
    return Spread(
        shown=tuple(_show(row) for row in ordered if id(row) in taken),
        kinds=tuple((kind, len(by_kind[kind]), quota[kind]) for kind in KINDS if by_kind[kind]),
    )


def _show(row: ScoredRow) -> Shown:
    return Shown(
        id=row.id,
        kind=kind_of(row),
        source=formats.shortened(row.source, SOURCE_LIMIT),
        source_length=len(row.source),
        truth=formats.shortened(row.truth, TEXT_LIMIT),
        teacher=None if row.teacher is None else formats.shortened(row.teacher, TEXT_LIMIT),
        student=formats.shortened(row.student or "", TEXT_LIMIT),
        teacher_right=same(row.teacher, row.truth),
        student_right=same(row.student, row.truth),
        models_agree=same(row.teacher, row.student),
    )
