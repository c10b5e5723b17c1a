"""Trains the models of a run: its student, its baseline, and the teacher if it is fine-tuned."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.values import END
from kdkit.data.encoded_rows import EncodedRows
from kdkit.data.splitting import drawn
from kdkit.evaluation.losses import Validator
from kdkit.losses import loss_at
from kdkit.models import count_parameters
from kdkit.store.rows import rows_of
from kdkit.store.texts import searched
from kdkit.system.wording import rounded
from kdkit.training import MetricsLog, Trainer
from kdkit.training.batching import Lengths

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from kdkit.api.interfaces import LossMixer, TextModel
    from kdkit.api.options import Evaluation, Generation, Training
    from kdkit.api.values import Corpus, EncodedExample
    from kdkit.data.rows import Encoding
    from kdkit.logits.targets import TargetSource
    from kdkit.runs.run import Run
    from kdkit.runs.tracking import Tracking
    from kdkit.system.progress import Progress
    from kdkit.system.team import Team
    from kdkit.training import FitResult


@attrs.frozen(kw_only=True, eq=False)
class Fitting:
    """The settings of training that a run's teacher, student and baseline share.

    Attributes:
        encoding: How rows become token ids.
        generation: How texts are searched for.
        evaluation: The suites, one of which may pick the best epoch.
        seed: The run's seed.
        metrics: The file that gets the numbers.
        tracking: Receives them as well.
        device: Where models are.
        progress: Where progress is shown.
        team: The processes of the run.
    """

    encoding: Encoding
    generation: Generation
    evaluation: Evaluation
    seed: int
    metrics: Path
    tracking: Tracking
    device: str
    progress: Progress
    team: Team

    @classmethod
    def of(cls, run: Run) -> Fitting:
        """The settings of a run."""
        recipe = run.recipe
        return cls(
            encoding=recipe.encoding,
            generation=recipe.generation,
            evaluation=recipe.evaluation,
            seed=recipe.seed,
            metrics=run.path / "metrics.jsonl",
            tracking=run.tracking,
            device=run.device,
            progress=run.progress,
            team=run.team,
        )

    def train(
        self,
        model: TextModel,
        corpus: Corpus,
        options: Training,
        loss: LossMixer,
        targets_of: Callable[[Sequence[EncodedExample]], TargetSource],
        *,
        role: str,
        folder: Path,
        texts: Mapping[str, str],
    ) -> FitResult:
        """Train a model on the corpus, from the start or from where it was stopped.

        Args:
            model: What is trained.
            corpus: Training and validation rows; of the former those that the options ask for are drawn.
            options: How.
            loss: The loss.
            targets_of: Called with all rows that will be read, gives what gives a batch its teacher logits.
            role: "teacher", "student" or "labels-only".
            folder: `best/`, `final/` and `checkpoints/` go here.
            texts: Text files that are saved with the model.
        """
        if (lora := getattr(model, "lora", None)) is not None:
            trained = count_parameters(model.module)
            others = sum(each.numel() for each in model.module.parameters()) - trained
            self.progress.note(
                f"{role}: LoRA of rank {lora.rank} trains {rounded(trained)} parameters beside {rounded(others)}"
            )
        training = rows_of(drawn(corpus.train, options.rows), model.tokenizer, self.encoding)
        validation = rows_of(corpus.validation, model.tokenizer, self.encoding, at_most=options.validation_rows)
        targets = targets_of(EncodedRows.joined([training.encoded, validation.encoded]))
        validate = Validator(
            model=model,
            examples=validation.examples,
            rows=validation.encoded,
            prompts=validation.prompts,
            loss=loss_at(loss, END),  # one measure for all epochs, and that of the evaluation
            targets=targets,
            generation=self.generation,
            suite=self.evaluation.suite_of(options.best_by),
            batch_size=self.generation.batch_size,
            device=self.device,
            progress=self.progress,
            together=self.evaluation.rows_together(self.generation),
            team=self.team,
        )
        model.adopt(self.generation)  # so that plain transformers writes at the lengths that it was trained for
        return Trainer(
            model=model,
            rows=training.encoded,
            options=options,
            loss=loss,
            targets=targets,
            validate=validate,
            direction=self.evaluation.direction_of(options.best_by),
            seed=options.own_seed(self.seed),
            device=self.device,
            folder=folder,
            texts=texts,
            log=MetricsLog(self.metrics, role, self.tracking),
            progress=self.progress,
            name=role if role in {"teacher", "student"} else f"{role} student",
            lengths=Lengths.of(training.encoded, self.encoding.kind, options),
            team=self.team,
        ).fit()


def chosen_by(
    best_by: str, evaluation: Evaluation, generation: Generation, tables: Mapping[str, Any]
) -> dict[str, Any]:
    """Other parts of a recipe that the choice of the best epoch depends on, for the digest of a trained model.

    Args:
        best_by: What picks the epoch.
        evaluation: The suites.
        generation: How texts are searched for.
        tables: What of the recipe its digest is made of.
    """
    if evaluation.suite_of(best_by) is not None:
        return {"generation": searched(generation), "suites": tables["evaluation"]["suites"]}
    together = evaluation.rows_together(generation)  # a loss over batches picks the best epoch
    return {"rows_together": together} if together else {}
