"""Distil: train the student from the logit cache and the ground truth."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.errors import Mismatch
from kdkit.logits.cache import LogitCache
from kdkit.logits.targets import CachedTargets, NoTargets, check_covers, keys_of
from kdkit.models import check_same_tokenizer, count_parameters
from kdkit.pipeline.estimate import check_space
from kdkit.pipeline.fitting import train
from kdkit.system.files import folder_bytes, weight_files

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.api.interfaces import TextModel
    from kdkit.api.values import EncodedExample
    from kdkit.logits.targets import TargetSource
    from kdkit.runs.run import Run


def fit(run: Run) -> dict[str, Any]:
    """Write `student/best/` and `student/final/`.

    Raises:
        UsageError: There is no room on the disk.
        Mismatch: Tokenizers or vocabularies do not fit each other, or the cache lacks a row.
    """
    recipe, options, folder = run.recipe, run.recipe.training, run.path / "student"
    run.team.lead_does(lambda: _check_room(run, folder))
    corpus = run.read_corpus()
    named = run.facts("teacher")["folder"]
    teacher_tokenizer = recipe.teacher.load_tokenizer(corpus)
    model = recipe.student.build(
        teacher_tokenizer,
        run.path / named if named is not None else None,
        seed=options.own_seed(recipe.seed),
        device=run.device,
    )
    check_same_tokenizer(teacher_tokenizer, model.tokenizer)
    result = train(
        run,
        model,
        corpus,
        options,
        recipe.loss,
        lambda rows: _targets(run, model, rows),
        role="student",
        folder=folder,
    )
    if run.team.leads:
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return attrs.asdict(result) | {
        "best_by": options.best_by,
        "parameters": count_parameters(model.module),
        "outputs": weight_files(run.path, "student/*"),
    }


def _check_room(run: Run, folder: Path) -> None:
    check_space({run.path: max(run.facts("check")["student_bytes"] - folder_bytes(folder, "**/*"), 0)})


def _targets(run: Run, model: TextModel, rows: Sequence[EncodedExample]) -> TargetSource:
    """The cache's logits of these rows; none where the loss needs none."""
    if not run.recipe.loss.needs_teacher:
        return NoTargets()
    facts = run.facts("capture")
    cache = LogitCache.open(Path(facts["cache"]))
    # The teacher's logits may be narrower, as recorded ones are: the loss then reads the entries that both have.
    if model.vocab_size < len(model.tokenizer):
        raise Mismatch(
            f"the tokenizer has {len(model.tokenizer)} tokens, but the student's logits are over {model.vocab_size} "
            "only; take a model and a tokenizer that belong together"
        )
    keys = keys_of(rows, teacher=facts["identity"], tokenizer=facts["tokenizer"])
    check_covers(cache, keys)
    return CachedTargets(cache=cache, keys=keys, device=run.device)
