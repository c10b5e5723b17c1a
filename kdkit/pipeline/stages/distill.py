"""Distil: trains the student from the logit cache and the ground truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.api.interfaces import PrunedStudent
from kdkit.errors import Mismatch
from kdkit.logits.targets import NoTargets
from kdkit.models import count_parameters, target_size
from kdkit.pipeline.estimate import check_space
from kdkit.pipeline.fitting import Fitting
from kdkit.pipeline.needed_logits import captured_targets
from kdkit.pipeline.students import untrained
from kdkit.runs.model_card import model_texts
from kdkit.runs.stage import Planned
from kdkit.runs.stage_facts import Captured, Estimate, StudentMade, TeacherMade
from kdkit.system.files import folder_bytes, weight_files
from kdkit.system.folders import discard_folder
from kdkit.system.wording import plural, rounded

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kdkit.api.interfaces import TextModel
    from kdkit.api.interfaces.codecs import AnyCodec
    from kdkit.api.values import EncodedExample
    from kdkit.logits.targets import TargetSource
    from kdkit.recipe import Recipe
    from kdkit.runs.run import Run
    from kdkit.runs.stage import RowsPlanned


def fit(run: Run) -> StudentMade:
    """Write `student/best/` and `student/final/`.

    Raises:
        UsageError: There is no room on the disk.
        Mismatch: Tokenizers or vocabularies do not fit each other, or the cache lacks a row.
    """
    recipe, options, folder = run.recipe, run.recipe.training, run.path / "student"
    run.team.lead_does(lambda: _check_room(run, folder))
    corpus = run.read_taught()
    model = untrained(run, corpus)
    captured = run.told(Captured) if recipe.loss.needs_teacher else None
    result = Fitting.of(run).train(
        model,
        corpus,
        options,
        recipe.loss,
        lambda rows: _targets(captured, model, rows, codec=run.recipe.codec, device=run.device),
        role="student",
        folder=folder,
        texts=model_texts(recipe, model.tokenizer, role="student", pruning=run.told(TeacherMade).pruning),
    )
    if run.team.leads:
        discard_folder(folder / "checkpoints")
    return StudentMade(
        **attrs.asdict(result),
        best_by=options.best_by,
        parameters=count_parameters(model.module),
        outputs=tuple(weight_files(run.path, "student/*")),
    )


def plan(recipe: Recipe, rows: RowsPlanned, found: Estimate) -> Planned:
    """The size of the student and the length of its training."""
    training = recipe.training
    of = f" over {training.rows:,} of {rows.counts['train']:,} rows" if training.rows else ""
    student = recipe.student
    made = f" ({student.choice_in_words})" if isinstance(student, PrunedStudent) and student.chooses else ""
    return Planned(
        work=f"{rounded(found.student.parameters)} parameters{made}, {found.student_steps:,} steps, "
        f"{plural(training.epochs, 'epoch')}{of}, loss {recipe.names['loss']}",
        tokens=found.student_tokens * training.epochs,
        bytes=found.student_bytes,
    )


def _check_room(run: Run, folder: Path) -> None:
    check_space({run.path: max(run.told(Estimate).student_bytes - folder_bytes(folder, "**/*"), 0)})


def _targets(
    captured: Captured | None, model: TextModel, rows: Sequence[EncodedExample], *, codec: AnyCodec, device: str
) -> TargetSource:
    """The captured logits of these rows; none if none were captured."""
    if captured is None:
        return NoTargets()
    # The teacher's logits may be narrower, as recorded ones are: the loss then reads the entries that both have.
    tokens = target_size(model.tokenizer)
    if model.vocab_size < tokens:
        raise Mismatch(
            f"the tokenizer has {tokens} tokens, but the student has only {model.vocab_size} logits a token; "
            "use a model and a tokenizer that belong together"
        )
    return captured_targets(captured, rows, codec=codec, device=device)
