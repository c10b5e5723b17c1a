"""Asks a model about held-out rows: its texts and, in one forward pass, its losses and most likely tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.evaluation.losses import row_losses
from kdkit.evaluation.tokens import TokenWatch
from kdkit.models.generation import predict
from kdkit.store import texts
from kdkit.training import Forward

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from kdkit.api.interfaces import LossMixer, TextModel
    from kdkit.api.options import Generation
    from kdkit.api.values import EncodedExample, Prediction
    from kdkit.data.rows import Rows
    from kdkit.evaluation.losses import RowLoss
    from kdkit.evaluation.tokens import RowTokens
    from kdkit.logits.targets import TargetSource
    from kdkit.system.progress import Progress
    from kdkit.system.team import Team


@attrs.frozen(kw_only=True, eq=False)
class Answers:
    """The results of a model's forward pass for each row."""

    losses: list[RowLoss]
    tokens: list[RowTokens]


@attrs.frozen(kw_only=True, eq=False)
class Questions:
    """The rows that models are asked about: the same for each, so that their answers pair.

    Attributes:
        rows: The rows.
        loss: The loss.
        targets: The teacher's logits of them.
        teacher_ids: By row, the teacher's most likely tokens; empty where they are not known.
        knows_teacher: Whether the logits are the teacher's distributions, and not samples of them.
        generation: How texts are searched for.
        wants_texts: Whether models write any.
        together: Rows whose tokens a loss averages together; 0 for all of them.
        store: The folder that runs share.
        device: Where models are.
        progress: Where progress is shown.
        team: The processes of the run.
    """

    rows: Rows
    loss: LossMixer
    targets: TargetSource
    teacher_ids: Mapping[str, Sequence[int]]
    knows_teacher: bool
    generation: Generation
    wants_texts: bool
    together: int
    store: Path
    device: str
    progress: Progress
    team: Team

    def answers(self, model: TextModel) -> Answers:
        """Losses and tokens under teacher forcing; all processes of the team have all.

        They are over the ids of the tokenizer, as the teacher's are in its cache: else its wider head would have no
        part in its losses, and theirs in those of the others.
        """
        watch = TokenWatch(teacher_ids=self.teacher_ids, knows_teacher=self.knows_teacher)
        model.module.eval()
        losses = row_losses(
            self.rows.encoded,
            Forward.of(model).of_tokens(model.tokenizer),
            self.loss,
            self.targets,
            pad_id=model.tokenizer.pad_token_id,
            device=self.device,
            batch_size=self.generation.batch_size,
            together=self.together,
            team=self.team,
            watch=watch,
        )
        return Answers(losses=losses, tokens=watch.of(self.rows.encoded, self.team))

    def write_texts(self, model: TextModel, path: Path, *, name: str, kept_as: str | None = None) -> None:
        """Write the model's texts to a file of the run folder, which is empty where none are wanted.

        Args:
            model: Who writes.
            path: The file.
            name: Who that is, for the progress.
            kept_as: Digest of the model's weights, where other runs have the same model: the texts are then taken from
                the store or kept there.
        """

        def generate(rows: Sequence[EncodedExample], done: Collection[str]) -> Iterator[Prediction]:
            return predict(model, rows, self.generation, device=self.device, done=done)

        prompts = self.rows.prompts if self.wants_texts else ()
        texts.fill(
            path,
            prompts,
            generate,
            name=name,
            tokenizer=model.tokenizer,
            kept_as=texts.kept_as(kept_as, model) if kept_as is not None and prompts else None,
            store=self.store,
            generation=self.generation,
            progress=self.progress,
            team=self.team,
        )
