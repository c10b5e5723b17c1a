"""What a teacher or a student may be able to do beside what each has to: a run asks whether it has the method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from kdkit.api.interfaces.models import TextModel, Tokenizer
    from kdkit.api.options import TargetWriting
    from kdkit.api.values import EncodedExample, Importance, Measuring, Pruning
    from kdkit.api.vocabulary import Vocabulary
    from kdkit.system.progress import Progress


@runtime_checkable
class InputChecker(Protocol):
    """A teacher or student that can say, before the data are read, that something it names does not exist."""

    def check_inputs(self) -> None:
        """Refuse a named model or file that does not exist. Loads tokenizers and configurations, no weights.

        Raises:
            MissingInput: Something is not there.
        """
        ...


@runtime_checkable
class FolderStudent(Protocol):
    """A student that may start from a model in a folder; a run refuses that folder if it is replaced meanwhile."""

    def find_folder(self) -> Path | None:
        """The folder of the model that it starts from; None where it starts from no such folder.

        Raises:
            MissingInput: The model is not available.
        """
        ...


@runtime_checkable
class RemarkingStudent(Protocol):
    """A student that may take something of its teacher that a person should know before it is trained."""

    def remarks(self, teacher_tokenizer: Tokenizer) -> Iterator[str]:
        """A sentence for each such thing. Loads tokenizers and configurations, no weights."""
        ...


@runtime_checkable
class NamedStudent(Protocol):
    """A student that has an option `model`: with the teacher's vocabulary, its own is trimmed by the same ids."""

    @property
    def model(self) -> str:
        """The model by name or path; empty where the student is none of these."""
        ...


@runtime_checkable
class PrunedStudent(Protocol):
    """A student that may be made of parts of its teacher which a measure chooses, once the teacher is there."""

    @property
    def chooses(self) -> bool:
        """Whether it is; else nothing else here is asked."""
        ...

    @property
    def choice_in_words(self) -> str:
        """What is chosen, and by what: the end of a sentence; "" where nothing is."""
        ...

    def measuring(self, teacher_folder: Path) -> Measuring | None:
        """What has to be measured of the teacher; None where nothing has. Loads no weights."""
        ...

    def measure(
        self,
        teacher_tokenizer: Tokenizer,
        teacher_folder: Path,
        rows: Sequence[EncodedExample],
        *,
        device: str,
        progress: Progress,
    ) -> Importance:
        """How much each part of the teacher matters on these rows.

        Raises:
            UsageError: That cannot be measured of such a model.
        """
        ...

    def choose(self, teacher_folder: Path, scores: Importance | None) -> Pruning:
        """The parts of the teacher that it is to be made of.

        Args:
            teacher_folder: The teacher.
            scores: What was measured of it; None where nothing had to be.

        Raises:
            UsageError: No model has these parts.
        """
        ...

    def build_pruned(
        self, pruning: Pruning, teacher_tokenizer: Tokenizer, teacher_folder: Path, *, seed: int, device: str
    ) -> TextModel:
        """The untrained student of the parts that were chosen, on the device; called instead of `Student.build`."""
        ...


@runtime_checkable
class WritingTeacher(Protocol):
    """A teacher that may write the targets of the training rows, once, before its logits are captured."""

    @property
    def write_targets(self) -> TargetWriting | None:
        """How it writes them; None where the rows have their own."""
        ...


@runtime_checkable
class TrimmedTeacher(Protocol):
    """A teacher of transformers by name, with these options: once the rows are read, they name the trimmed model."""

    @property
    def vocabulary(self) -> Vocabulary | None:
        """How much of its vocabulary stays; None for all."""
        ...

    @property
    def model(self) -> str:
        """The model by name or path."""
        ...

    @property
    def tokenizer(self) -> str:
        """Its tokenizer by name or path; empty for the model's."""
        ...


@runtime_checkable
class ModelTeacher(Protocol):
    """An open teacher that shows its model: what fine-tuning did to it can then be measured."""

    @property
    def model(self) -> TextModel:
        """The model."""
        ...
