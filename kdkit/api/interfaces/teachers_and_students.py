"""Teachers and students as a recipe names them, and an open teacher.

Letters in shapes: B batch, T target, V vocabulary, D hidden.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from kdkit.api.interfaces.data import DataSource
    from kdkit.api.interfaces.models import ModelKind, TextModel, Tokenizer
    from kdkit.api.options import Generation, Training
    from kdkit.api.values import (
        Corpus,
        EncodedExample,
        EntriesBlock,
        OutputHead,
        Prediction,
        StateBlock,
        TeacherBlock,
    )
    from kdkit.system.progress import Progress


class OpenTeacher(Protocol):
    """A teacher that is ready to be asked."""

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer whose ids its logits are over."""
        ...

    @property
    def identity(self) -> str:
        """Digest of what determines its logits: weights, or the recorded data and their scale."""
        ...

    @property
    def vocab_size(self) -> int:
        """Width of its logits."""
        ...

    def groups(self, rows: Sequence[EncodedExample]) -> Sequence[Sequence[EncodedExample]]:
        """The rows in the groups that are computed together, in order: one process takes a whole group."""
        ...

    def logits(
        self, rows: Sequence[EncodedExample], progress: Progress, *, done: Collection[str] = ()
    ) -> Iterator[TeacherBlock]:
        """A block for each row, in any order, as they come.

        Args:
            rows: All rows.
            progress: Where progress is shown.
            done: Ids of rows whose blocks were taken before. They are left out, and the other blocks are bit for bit
                what they would be with none left out: a model keeps the batches that it would form of all rows.
        """
        ...

    def generate(
        self, rows: Sequence[EncodedExample], options: Generation, *, done: Collection[str] = ()
    ) -> Iterator[Prediction]:
        """A prediction for each row, in any order, as they come.

        Args:
            rows: All rows.
            options: How texts are searched for.
            done: Ids of rows that were predicted before, left out in the same manner as in `logits`.
        """
        ...

    def close(self) -> None:
        """Free its memory."""
        ...


class HeadTeacher(OpenTeacher, Protocol):
    """A teacher that can give hidden states, of which its logits may be a linear function."""

    def head(self) -> OutputHead | None:
        """Its output head; None where its logits are not linear in the states (a soft-capped head)."""
        ...

    def states(
        self, rows: Sequence[EncodedExample], progress: Progress, *, done: Collection[str] = ()
    ) -> Iterator[StateBlock]:
        """As `logits`, but the hidden states that go into the head. Full logits are never computed."""
        ...


class EntriesTeacher(OpenTeacher, Protocol):
    """A teacher that knows only some entries of each token's logits; its `logits` are never asked for."""

    def entries(
        self, rows: Sequence[EncodedExample], progress: Progress, *, done: Collection[str] = ()
    ) -> Iterator[EntriesBlock]:
        """As `logits`, but the entries that it knows."""
        ...


@runtime_checkable
class Teacher(Protocol):
    """A teacher (`[teacher]`): makes logits and predictions.

    `fine_tune` is None or the training that makes the teacher before it is asked.
    """

    @property
    def fine_tune(self) -> Training | None:
        """The training that makes the teacher, if any."""
        ...

    @property
    def is_made_here(self) -> bool:
        """Whether the run has to make it (from scratch or by fine-tuning), and keeps it in its `teacher/` folder."""
        ...

    def load_tokenizer(self, corpus: Corpus) -> Tokenizer:
        """Its tokenizer alone: loaded, or trained on the corpus's training rows. Loads no weights.

        Raises:
            MissingInput: The tokenizer is not available.
        """
        ...

    @property
    def model_kind(self) -> ModelKind | None:
        """What kind of model it is; None for a teacher that is not a model."""
        ...

    def model_config(self, tokenizer: Tokenizer) -> Any | None:
        """Its transformers configuration, without loading weights; None for a teacher that is not a model."""
        ...

    def find_folder(self) -> Path | None:
        """The folder of the model that it is or starts from; None for a new model or a teacher that is not a model.

        Raises:
            MissingInput: The model is not available.
        """
        ...

    def build(self, corpus: Corpus, *, seed: int, device: str) -> TextModel:
        """The model before fine-tuning, on the device. Called only where `is_made_here`."""
        ...

    def open(self, folder: Path | None, source: DataSource, corpus: Corpus, *, device: str) -> OpenTeacher:
        """Open the teacher, ready to be asked.

        Args:
            folder: Where its model lies: made by the run, or as `find_folder` says; None for one that is not a model.
            source: The recipe's data set, for teachers that were recorded with it.
            corpus: Its rows.
            device: "cpu", "cuda", ...
        """
        ...


@runtime_checkable
class Student(Protocol):
    """A student (`[student]`): the model that is trained."""

    def load_tokenizer(self, teacher_tokenizer: Tokenizer) -> Tokenizer:
        """Its tokenizer alone; the teacher's where it has none of its own. Loads no weights."""
        ...

    @property
    def model_kind(self) -> ModelKind:
        """What kind of model it is."""
        ...

    def model_config(self, tokenizer: Tokenizer, teacher_config: Any | None) -> Any:
        """Its transformers configuration, without loading weights.

        Raises:
            UsageError: It is to be made of the teacher's layers, and the teacher is not a model.
        """
        ...

    def build(self, teacher_tokenizer: Tokenizer, teacher_folder: Path | None, *, seed: int, device: str) -> TextModel:
        """The untrained student, on the device.

        Args:
            teacher_tokenizer: Used where the student has none of its own.
            teacher_folder: Folder of the teacher's model, for students made of its layers; None where it has none.
            seed: Seed of its initial weights.
            device: "cpu", "cuda", ...
        """
        ...

    def open(self, folder: Path, *, device: str) -> TextModel:
        """A student that `TextModel.save` wrote."""
        ...
