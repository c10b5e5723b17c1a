"""One training of a run: the student's, or the fine-tuning that makes its teacher."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.api.values import END
from kdkit.data.rows import rows_of
from kdkit.evaluation.losses import Validator
from kdkit.losses import loss_at
from kdkit.runs.model_card import model_texts
from kdkit.training import MetricsLog, Trainer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from kdkit.api.interfaces import LossMixer, TextModel
    from kdkit.api.options import Training
    from kdkit.api.values import Corpus, EncodedExample
    from kdkit.logits.targets import TargetSource
    from kdkit.runs.run import Run
    from kdkit.training import FitResult


def train(
    run: Run,
    model: TextModel,
    corpus: Corpus,
    options: Training,
    loss: LossMixer,
    targets_of: Callable[[Sequence[EncodedExample]], TargetSource],
    *,
    role: str,
    folder: Path,
) -> FitResult:
    """Train a model on the corpus, from the start or from where it was stopped.

    Args:
        run: The run; `metrics.jsonl` in its folder gets the numbers.
        model: What is trained.
        corpus: Training and validation rows.
        options: How.
        loss: The loss.
        targets_of: Called with all rows that will be read, gives what gives a batch its teacher logits.
        role: "teacher", "student" or "labels-only".
        folder: `best/`, `final/` and `checkpoints/` go here.
    """
    recipe = run.recipe
    training = rows_of(corpus.train, model.tokenizer, recipe.tokens)
    validation = rows_of(corpus.validation, model.tokenizer, recipe.tokens, at_most=options.validation_rows)
    targets = targets_of([*training.encoded, *validation.encoded])
    validate = Validator(
        model=model,
        examples=validation.examples,
        rows=validation.encoded,
        loss=loss_at(loss, END),  # one measure for all epochs, and that of the evaluation
        targets=targets,
        generation=recipe.generation,
        suite=recipe.evaluation.suite_of(options.best_by),
        batch_size=recipe.generation.batch_size,
        device=run.device,
        progress=run.progress,
        together=recipe.evaluation.rows_together(recipe.generation),
        team=run.team,
    )
    model.adopt(recipe.generation)  # so that plain transformers writes at the lengths that it was trained for
    return Trainer(
        model=model,
        rows=training.encoded,
        options=options,
        loss=loss,
        targets=targets,
        validate=validate,
        seed=options.own_seed(recipe.seed),
        device=run.device,
        folder=folder,
        texts=model_texts(recipe, role=role),
        log=MetricsLog(run.path / "metrics.jsonl", role, run.tracking),
        progress=run.progress,
        name=role if role in {"teacher", "student"} else f"{role} student",
        team=run.team,
    ).fit()
