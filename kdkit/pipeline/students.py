"""Builds the student before any training, for every stage that needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.api.interfaces import PrunedStudent
from kdkit.models import check_same_tokenizer
from kdkit.pipeline.model_folders import check_student_folder, teacher_folder
from kdkit.pipeline.tokenizers import tokenizer_of
from kdkit.runs.stage_facts import TeacherMade

if TYPE_CHECKING:
    from kdkit.api.interfaces import TextModel
    from kdkit.api.values import Corpus
    from kdkit.runs.run import Run


def untrained(run: Run, corpus: Corpus) -> TextModel:
    """A run's student as it starts: the same weights each time.

    Args:
        run: The run.
        corpus: The rows that it learns from.

    Raises:
        Mismatch: It has another tokenizer than the teacher; or the folder that either lies in has changed.
    """
    recipe = run.recipe
    tokenizer = tokenizer_of(recipe, run.own_targets(corpus), run.store, run.progress)
    seed = recipe.training.own_seed(recipe.seed)
    check_student_folder(run)
    student, pruning, folder = recipe.student, run.told(TeacherMade).pruning, teacher_folder(run)
    if pruning is not None and folder is not None and isinstance(student, PrunedStudent):
        model = student.build_pruned(pruning, tokenizer, folder, seed=seed, device=run.device)
    else:
        model = student.build(tokenizer, folder, seed=seed, device=run.device)
    check_same_tokenizer(tokenizer, model.tokenizer)
    return model
