"""The student before any training, as every stage that needs it builds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.models import check_same_tokenizer

if TYPE_CHECKING:
    from pathlib import Path

    from kdkit.api.interfaces import Student, TextModel, Tokenizer


def untrained(
    student: Student, teacher_tokenizer: Tokenizer, teacher_folder: Path | None, *, seed: int, device: str
) -> TextModel:
    """A student that starts where the recipe says: the same weights each time.

    Raises:
        Mismatch: It has another tokenizer than the teacher.
    """
    model = student.build(teacher_tokenizer, teacher_folder, seed=seed, device=device)
    check_same_tokenizer(teacher_tokenizer, model.tokenizer)
    return model
