"""The held-out rows of a run, with what its models wrote for them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit.report.read.files import as_table, objects_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@attrs.frozen(kw_only=True)
class ScoredRow:
    """One held-out row: its text, and what the models wrote for it (None where there is nothing).

    Attributes:
        id: The row's.
        source: What the models read.
        truth: What they should have written.
        teacher: What the teacher wrote.
        student: What the student wrote.
        labels_only: What the student that was trained without a teacher wrote.
        kinds: What `meta` says of its kind ("kind" or "kinds"), each once.
        answerable: Whether the input tells enough to know the answer, where `meta` says so.
    """

    id: str
    source: str
    truth: str
    teacher: str | None
    student: str | None
    labels_only: str | None = None
    kinds: tuple[str, ...] = ()
    answerable: bool | None = None


def split_of(folder: Path) -> str:
    """The split that is held out, where no evaluation names it."""
    test = folder / "data" / "test.jsonl"
    return "test" if test.is_file() and test.stat().st_size else "validation"


def rows_of(folder: Path, split: str, missing: list[str]) -> tuple[ScoredRow, ...]:
    """The rows that the student wrote a text for; sentences for `missing` where parts are not there."""
    student = _predictions(folder, "student")
    if student is None:
        missing.append("The examples are left out: there is no predictions/student.jsonl yet.")
        return ()
    parts, path = folder / "predictions" / "rows.jsonl", folder / "data" / f"{split}.jsonl"
    if parts.is_file():  # blocks of texts, turns of conversations
        path = parts
    elif not path.is_file():
        missing.append(f"The examples are left out: there is no data/{split}.jsonl.")
        return ()
    teacher = _predictions(folder, "teacher")
    if teacher is None:
        missing.append("The teacher's texts are left out: there is no predictions/teacher.jsonl.")
    labels_only = _predictions(folder, "labels-only")
    return tuple(
        ScoredRow(
            id=str(row["id"]),
            source=str(row.get("source", "")),
            truth=str(row.get("target", "")),
            teacher=(teacher or {}).get(str(row["id"])),
            student=student[str(row["id"])],
            labels_only=(labels_only or {}).get(str(row["id"])),
            **_meta(as_table(row.get("meta"))),
        )
        for row in objects_of(path)
        if str(row.get("id")) in student
    )


def _meta(meta: Mapping[str, Any]) -> dict[str, Any]:
    listed = meta.get("kinds", meta.get("kind"))
    kinds = listed if isinstance(listed, list) else [] if listed is None else [listed]
    answerable = meta.get("answerable")
    return {
        "kinds": tuple(dict.fromkeys(map(str, kinds))),
        "answerable": answerable if isinstance(answerable, bool) else None,
    }


def _predictions(folder: Path, model: str) -> dict[str, str] | None:
    path = folder / "predictions" / f"{model}.jsonl"
    if not path.is_file():
        return None
    return {str(entry.get("id")): str(entry.get("text")) for entry in objects_of(path) if entry.get("text") is not None}
