"""The baseline that says what the teacher is worth: the same student, trained in the same way on the labels alone.

It is trained once for all runs whose students start and are trained alike, whatever their losses and codecs, and kept
in the store's `baselines/`. What depends on the untrained student is found by its weights, so that it does not matter
where these come from: a seed, a folder, or the teacher's layers.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import attrs
import torch

from kdkit.data import corpus as corpora
from kdkit.models import check_same_tokenizer, tokenizer_digest
from kdkit.models.loading import VOLATILE
from kdkit.system.digests import digest_of

if TYPE_CHECKING:
    from kdkit.api.interfaces import TextModel
    from kdkit.api.options import Training
    from kdkit.api.values import Corpus
    from kdkit.recipe import Recipe
    from kdkit.runs.run import Run

NAME = "labels-only"


def is_wanted(recipe: Recipe) -> bool:
    """Whether a run has this baseline: where its student has a teacher; else the student is the baseline itself."""
    return recipe.evaluation.baselines and recipe.loss.needs_teacher


def training_of(recipe: Recipe) -> Training:
    """The student's training; the hard loss picks the best epoch where the soft one did, for here there is none."""
    training = recipe.training
    return attrs.evolve(training, best_by="hard") if training.best_by == "soft" else training


def untouched_student(run: Run, corpus: Corpus) -> TextModel:
    """The student before training, as this run's was.

    Raises:
        Mismatch: It has another tokenizer than the teacher.
    """
    recipe = run.recipe
    teacher_tokenizer = recipe.teacher.load_tokenizer(corpus)
    model = recipe.student.build(
        teacher_tokenizer,
        run.teacher_folder,
        seed=recipe.training.own_seed(recipe.seed),
        device=run.device,
    )
    check_same_tokenizer(teacher_tokenizer, model.tokenizer)
    return model


def weights_in_memory(model: TextModel) -> str:
    """SHA-256 of what determines an open model's logits: its weights, and its configuration where it has one."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.module.state_dict().items()):
        held = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {held.dtype} {tuple(held.shape)}\n".encode())
        digest.update(held.reshape(-1).view(torch.uint8).numpy().tobytes())
    config = getattr(model.module, "config", None)
    if config is not None:
        kept = {key: value for key, value in config.to_dict().items() if key not in VOLATILE}
        digest.update(json.dumps(kept, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def key_of(recipe: Recipe, corpus: Corpus, untouched: TextModel) -> str:
    """Everything that the trained baseline depends on, as a name in the store."""
    options, training = recipe.digested, training_of(recipe)
    depends = {
        "start": weights_in_memory(untouched),
        "student": [recipe.names["student"], {k: v for k, v in options["student"].items() if k != "model"}],
        "training": {**options["training"], "best_by": training.best_by, "seed": training.own_seed(recipe.seed)},
        "tokens": options["tokens"],
        "data": corpora.digest(attrs.evolve(corpus, test=())),
        "tokenizer": tokenizer_digest(untouched.tokenizer),
    }
    if recipe.evaluation.suite_of(training.best_by) is not None:
        depends |= {"generation": options["generation"], "suites": options["evaluation"]["suites"]}
    elif together := recipe.evaluation.rows_together(recipe.generation):  # a loss over batches picks the best epoch
        depends |= {"rows_together": together}
    return digest_of(depends)[:32]
