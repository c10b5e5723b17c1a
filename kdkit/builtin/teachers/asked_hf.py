"""An open teacher that is a Hugging Face model: how it is asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.options import Generation
    from kdkit.api.values import EncodedExample, OutputHead, Prediction, StateBlock, TeacherBlock, TokenBatch
    from kdkit.system.progress import Progress


@attrs.define(kw_only=True, eq=False)
class OpenHFTeacher:
    """A teacher's model in memory."""

    model: Any
    identity: str
    device: str
    batch_size: int

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        tokenizer: Tokenizer = self.model.tokenizer
        return tokenizer

    @property
    def vocab_size(self) -> int:
        """Width of the model's logits."""
        width: int = self.model.vocab_size
        return width

    @property
    def text_rules(self) -> str:
        """What the model's texts begin with by its own rules (see `kdkit.api.interfaces.RuledTexts`)."""
        rules: str = self.model.text_rules
        return rules

    def head(self) -> OutputHead | None:
        """The model's output head, as float32; None where it is not all that makes logits of states."""
        head: OutputHead | None = self.model.head()
        return head

    def groups(self, rows: Sequence[EncodedExample]) -> Sequence[Sequence[EncodedExample]]:
        """Batches of like length, longest first."""
        from kdkit.data.tokens import length_sorted

        return length_sorted(rows, self.batch_size)

    def logits(
        self,
        rows: Sequence[EncodedExample],
        progress: Progress,  # noqa: ARG002 - there is nothing to note
        *,
        done: Collection[str] = (),
    ) -> Iterator[TeacherBlock]:
        """Logits equal to the model's own, row by row: those of a whole batch are never held."""
        from kdkit.api.values import TeacherBlock
        from kdkit.models.row_logits import RowLogits

        of_batch = None
        for batch_rows, left, batch in self._batches(rows, done):
            of_batch = of_batch or RowLogits.of(self.model)
            for row, logits_TV in zip(batch_rows, of_batch(batch, left), strict=True):
                if logits_TV is not None:
                    yield TeacherBlock(id=row.id, logits_TV=logits_TV[: len(row.target_ids)])

    def states(
        self,
        rows: Sequence[EncodedExample],
        progress: Progress,  # noqa: ARG002 - there is nothing to note
        *,
        done: Collection[str] = (),
    ) -> Iterator[StateBlock]:
        """What goes into the model's output head, in the same batches."""
        import torch

        from kdkit.api.values import StateBlock

        for batch_rows, left, batch in self._batches(rows, done):
            with torch.inference_mode():
                states_BTD = self.model.states(batch).float().cpu().numpy()
            for row, states_TD, is_left in zip(batch_rows, states_BTD, left, strict=True):
                if is_left:
                    yield StateBlock(id=row.id, states_TD=states_TD[: len(row.target_ids)])

    def _batches(
        self, rows: Sequence[EncodedExample], done: Collection[str]
    ) -> Iterator[tuple[Sequence[EncodedExample], Sequence[bool], TokenBatch]]:
        """Each batch with rows that are not done: its rows, which of them these are, and what the model reads.

        The batches are those of all rows: their shapes show in the last bits of what comes out.
        """
        from kdkit.data.tokens import collate, length_sorted

        for batch_rows in length_sorted(rows, self.batch_size):
            left = [id_ not in done for id_ in batch_rows.each_id()]
            if any(left):
                yield batch_rows, left, collate(batch_rows, pad_id=self.tokenizer.pad_token_id, device=self.device)

    def generate(
        self, rows: Sequence[EncodedExample], options: Generation, *, done: Collection[str] = ()
    ) -> Iterator[Prediction]:
        """The model's texts."""
        from kdkit.models.generation import predict

        return predict(self.model, rows, options, device=self.device, done=done)

    def close(self) -> None:
        """Let go of the model, so that its memory is free before the student opens."""
        import gc

        import torch

        self.model = None
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
