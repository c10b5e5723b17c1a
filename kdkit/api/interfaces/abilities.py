"""What a teacher or a student may be able to do beside what each has to: a run asks whether it has the method."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from kdkit.api.interfaces.models import TextModel, Tokenizer
    from kdkit.api.options import TargetWriting
    from kdkit.api.values import EncodedExample, Importance, KnownLogits, Measuring, Pruning
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
    """A student that may have something to say before it is trained, such as a token that it takes from its teacher."""

    def remarks(self, teacher_tokenizer: Tokenizer) -> Iterator[str]:
        """One sentence for each remark. Loads tokenizers and configurations, no weights."""
        ...


@runtime_checkable
class NamedStudent(Protocol):
    """A student with an option `model`; where the teacher's vocabulary is trimmed, it is trimmed to the same ids."""

    @property
    def model(self) -> str:
        """The model by name or path; empty where the student does not start from one."""
        ...


@runtime_checkable
class PrunedStudent(Protocol):
    """A student that may keep only the parts of its teacher that matter most, as measured once the teacher exists."""

    @property
    def chooses(self) -> bool:
        """Whether a measure chooses the student's parts; if not, kdkit uses nothing else of this interface."""
        ...

    @property
    def choice_in_words(self) -> str:
        """What is chosen and how, as the end of a sentence; "" where nothing is chosen."""
        ...

    def measuring(self, teacher_folder: Path) -> Measuring | None:
        """What kdkit must measure of the teacher before `choose`; None for nothing. Loads no weights."""
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
        """The parts of the teacher that the student will keep.

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
    """A teacher whose vocabulary may be trimmed: once the rows are read, its options name the trimmed model."""

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
class LimitedTeacher(Protocol):
    """A teacher with logits from elsewhere, known only in part: at one temperature, or some entries."""

    @property
    def whose(self) -> str:
        """Where they come from, in words for a model's card; reads nothing."""
        ...

    def known(self) -> KnownLogits:
        """What it knows of them; reads heads of files, and loads no weights.

        Raises:
            MissingInput: They are not there.
            UsageError: They are not what kdkit can read.
            DamagedData: They are cut or damaged.
        """
        ...


@runtime_checkable
class ModelTeacher(Protocol):
    """An open teacher that gives access to its model, so that kdkit can measure what fine-tuning changed."""

    @property
    def model(self) -> TextModel:
        """The model."""
        ...
