"""The folders of models that a run uses and did not make, as long as they are the ones that it began with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.api.interfaces import FolderStudent
from kdkit.errors import Mismatch
from kdkit.models import weights_digest
from kdkit.runs.stage_facts import Estimate, TeacherMade

if TYPE_CHECKING:
    from pathlib import Path

    from kdkit.recipe import Recipe
    from kdkit.runs.run import Run


def teacher_folder(run: Run) -> Path | None:
    """Where the run's teacher lies; None where it is not a model.

    A teacher that is used as it is lies in a folder that is not the run's, and may be replaced between two stages: the
    student would be made of one teacher's layers and trained on the logits of another.

    Raises:
        Mismatch: It holds other weights than when the run began.
    """
    told, folder = run.told(TeacherMade), run.teacher_folder
    if folder is not None and not told.made:
        _check_same(run, "teacher", folder, told.weights)
    return folder


def student_weights(recipe: Recipe) -> str | None:
    """Digest of the weights and the configuration that the student starts from; None where it starts from no folder.

    Raises:
        MissingInput: They are not there.
    """
    folder = _start(recipe)
    return weights_digest(folder) if folder is not None else None


def check_student_folder(run: Run) -> None:
    """Refuse a student whose folder was replaced between two stages.

    The student would be compared with an untrained one, and one that learns from the labels alone, of other weights.

    Raises:
        Mismatch: It holds other weights than when the run began.
    """
    folder = _start(run.recipe)
    if folder is not None:
        _check_same(run, "student", folder, run.told(Estimate).student_weights)


def _start(recipe: Recipe) -> Path | None:
    return recipe.student.find_folder() if isinstance(recipe.student, FolderStudent) else None


def _check_same(run: Run, role: str, folder: Path, begun_with: str | None) -> None:
    if begun_with not in {None, weights_digest(folder)}:
        raise Mismatch(
            f"the {role} in {folder} has other weights or another configuration than when {run.path} was begun; put "
            "the former files back, or run with --fresh"
        )
