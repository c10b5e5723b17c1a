"""The folder of a run's teacher, as long as it is the one that the run began with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.errors import Mismatch
from kdkit.models import weights_digest
from kdkit.runs.stage_facts import TeacherMade

if TYPE_CHECKING:
    from pathlib import Path

    from kdkit.runs.run import Run


def same_folder(run: Run) -> Path | None:
    """Where the run's teacher lies; None where it is not a model.

    A teacher that is used as it is lies in a folder that is not the run's, and may be replaced between two stages: the
    student would be made of one teacher's layers and trained on the logits of another.

    Raises:
        Mismatch: It holds other weights than when the run began.
    """
    told, folder = run.told(TeacherMade), run.teacher_folder
    if folder is not None and not told.made and told.weights not in {None, weights_digest(folder)}:
        raise Mismatch(
            f"the teacher in {folder} has other weights or another configuration than when {run.path} was begun; put "
            "the former files back, or run with --fresh"
        )
    return folder
