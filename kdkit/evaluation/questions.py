"""Asks a model about held-out rows: its texts and, in one forward pass, its losses and most likely tokens."""

from __future__ import annotations

import importlib.metadata
from functools import cached_property
from typing import TYPE_CHECKING

import attrs

from kdkit.evaluation.answers import Answers
from kdkit.evaluation.losses import row_losses
from kdkit.evaluation.tokens import TokenWatch
from kdkit.models import target_size
from kdkit.models.generation import predict
from kdkit.plugins.fields import digested
from kdkit.store import answers, texts
from kdkit.system.digests import digest_of, digest_of_list
from kdkit.system.packages import source_digest
from kdkit.training import Forward

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from kdkit.api.interfaces import LossMixer, TextModel
    from kdkit.api.options import Generation
    from kdkit.api.values import EncodedExample, Prediction
    from kdkit.data.rows import Rows
    from kdkit.logits.targets import TargetSource
    from kdkit.system.progress import Progress
    from kdkit.system.team import Team


_COMPUTE = ("torch", "transformers")


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

    def answers(self, model: Callable[[], TextModel], *, name: str, weights: str) -> Answers:
        """Losses and tokens under teacher forcing; all processes of the team have all.

        A model that was asked the same before is not opened: its answers are in the store.

        Args:
            model: Gives the model, opened when it is first called.
            name: Who that is, for the progress.
            weights: Digest of what determines its logits.
        """
        found = answers.kept_or_made(
            self._key(weights),
            self.store,
            lambda: self._ask(model(), name).arrays(),
            name=name,
            progress=self.progress,
            team=self.team,
        )
        return Answers.of(found)

    def _ask(self, model: TextModel, name: str) -> Answers:
        """The answers are over the ids of the tokenizer, as the teacher's are in its cache.

        Else a wider head would have no part in the teacher's losses, and one in those of the others.
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
            progress=self.progress,
            name=f"score {name}",
        )
        return Answers(losses=losses, tokens=watch.of(self.rows.encoded, self.team))

    def _key(self, weights: str) -> str:
        """Everything that a model's answers depend on, but for the last bits, as a name in the store."""
        return digest_of([weights, self._asked])[:32]

    @cached_property
    def _asked(self) -> str:
        """Digest of all that answers depend on but the model."""
        rows, tokenizer, loss = self.rows.encoded, self.rows.tokenizer, type(self.loss)
        depends = {
            "format": answers.FORMAT,
            "rows": digest_of_list([list(row.source_ids), list(row.target_ids)] for row in rows),
            "tokenizer": [target_size(tokenizer), tokenizer.pad_token_id],
            "loss": [f"{loss.__module__}.{loss.__qualname__}", digested(self.loss), source_digest(loss)],
            "teacher": [self.targets.digest(rows), self.knows_teacher],
            "together": self.together,
            "batch_size": self.generation.batch_size,
            "device": self.device.partition(":")[0],
            "versions": [importlib.metadata.version(name) for name in _COMPUTE],
        }
        return digest_of(depends)

    def write_texts(
        self, model: Callable[[], TextModel], path: Path, *, name: str, kept_as: Callable[[], str] | None = None
    ) -> None:
        """Write the model's texts to a file of the run folder, which is empty where none are wanted.

        Args:
            model: Gives who writes, as in `answers`; called only where texts are wanted.
            path: The file.
            name: Who that is, for the progress.
            kept_as: Gives what stands for the model in keys of texts (`kdkit.store.texts.kept_as`), where other runs
                have the same model: the texts are then taken from the store or kept there.
        """

        def generate(rows: Sequence[EncodedExample], done: Collection[str]) -> Iterator[Prediction]:
            return predict(model(), rows, self.generation, device=self.device, done=done)

        prompts = self.rows.prompts if self.wants_texts else ()
        texts.fill(
            path,
            prompts,
            generate,
            name=name,
            tokenizer=model().tokenizer if prompts else self.rows.tokenizer,
            kept_as=kept_as() if kept_as is not None and prompts else None,
            store=self.store,
            generation=self.generation,
            progress=self.progress,
            team=self.team,
        )
