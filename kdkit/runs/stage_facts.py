"""The facts that each stage of a run leaves for later stages, in `run.json`, as values with names.

A field whose default is None is left out of `run.json` where it is None: not every run has it.
"""

from __future__ import annotations

from typing import ClassVar

import attrs

from kdkit.api.values import ModelSize, Pruning  # noqa: TC001 - the hints of fields are read when facts are
from kdkit.system.wording import plural, rounded


@attrs.frozen(kw_only=True)
class StageFacts:
    """The facts of a stage.

    Attributes:
        stage: The stage's name.
    """

    stage: ClassVar[str] = ""


@attrs.frozen(kw_only=True)
class TrimmedVocabulary:
    """What trimming the vocabulary of a teacher keeps, saves and costs.

    Attributes:
        kept: How many ids stay.
        whole: How many the tokenizer had.
        parameters: Of the trimmed teacher.
        whole_parameters: Of the whole one.
        texts: Held-out rows.
        tokens: Their tokens with the trimmed vocabulary, also those that the limits cut.
        whole_tokens: With the whole one.
    """

    kept: int
    whole: int
    parameters: int
    whole_parameters: int
    texts: int
    tokens: int
    whole_tokens: int

    @property
    def in_words(self) -> str:
        """A sentence without its full stop: `8,192 of 49,152 ids are kept, which saves ...`."""
        saved = self.whole_parameters - self.parameters
        return (
            f"{self.kept:,} of {self.whole:,} ids are kept, which saves {rounded(saved)} of "
            f"{rounded(self.whole_parameters)} parameters; held-out rows take {self.more_tokens} more tokens"
        )

    @property
    def more_tokens(self) -> str:
        """By how much held-out rows have more tokens: `2.8 %`."""
        return f"{100 * (self.tokens / max(self.whole_tokens, 1) - 1):.1f} %"


@attrs.frozen(kw_only=True)
class DataRead(StageFacts):
    """The data set was read.

    Attributes:
        digest: Of every row.
        rows: Rows of each split.
        outputs: Files that not every run has.
    """

    stage = "data"
    digest: str
    rows: dict[str, int]
    outputs: tuple[str, ...]


@attrs.frozen(kw_only=True)
class Estimate(StageFacts):
    """What the run takes, as far as that is known before it begins; from the stage that checks the recipe.

    Attributes:
        rows: Rows of each split that is used.
        source_tokens: Tokens of their sources, by split.
        target_tokens: Tokens of their targets, by split.
        teacher: The teacher's size; None for recorded logits.
        student: The student's size.
        capture_rows: Rows whose logits are captured; 0 where the loss needs none.
        capture_tokens: Their target tokens.
        capture_bytes: Upper estimate of the cache's size, without what the codec learns for all of them.
        teacher_bytes: Bytes that making the teacher writes, checkpoints included; 0 where none is made.
        student_bytes: The same of the student.
        teacher_steps: Steps of the teacher's training.
        student_steps: Steps of the student's.
        generated_rows: Held-out rows for which each model writes a text at the end.
        picking_rows: Validation rows for which the student writes one more, where others are held out.
        baseline_steps: Steps of the student that is trained on the labels alone; 0 where there is none.
        baseline_bytes: Bytes that making it writes.
        notes: What metric suites say of the rows and of the machine; None where they say nothing.
        doubts: What the models will not learn from the data, or learn wrong: a sentence each; None where there is none.
        student_tokens: Tokens that an epoch of the student's training reads.
        teacher_tokens: The same of the teacher's; 0 where none is trained.
        written_rows: Training rows whose targets the teacher writes, estimated as of the most tokens it may write.
        teacher_trained: Parameters of the teacher that its fine-tuning trains; None where that is all of them or none.
        student_weights: Digest of the folder that the student starts from; None without one, and in an old record.
        vocabulary: What the teacher's vocabulary was trimmed to; None where it was not.
        subspace_bytes: About what the codec `subspace` would take; None where it is not to be advised.
        imported: What is known of the teacher's logits, where another tool kept them.
    """

    stage = "check"
    rows: dict[str, int]
    source_tokens: dict[str, int]
    target_tokens: dict[str, int]
    teacher: ModelSize | None
    student: ModelSize
    capture_rows: int
    capture_tokens: int
    capture_bytes: int
    teacher_bytes: int
    student_bytes: int
    teacher_steps: int
    student_steps: int
    generated_rows: int
    picking_rows: int = 0
    baseline_steps: int = 0
    baseline_bytes: int = 0
    notes: tuple[str, ...] | None = None
    doubts: tuple[str, ...] | None = None
    student_tokens: int = 0
    teacher_tokens: int = 0
    written_rows: int = 0
    teacher_trained: int | None = None
    student_weights: str | None = None
    vocabulary: TrimmedVocabulary | None = None
    subspace_bytes: int | None = None
    imported: str | None = None

    def texts_in_words(self, how: str) -> str:
        """How many texts a model writes at the end, and how (see `Generation.in_words`)."""
        row = "test row" if self.rows["test"] else "validation row"
        return f"texts of {plural(self.generated_rows, row)} {how}" if self.generated_rows else "no texts"


@attrs.frozen(kw_only=True)
class TeacherMade(StageFacts):
    """The teacher can be opened.

    Attributes:
        made: Whether a run made it; else it is used as it is.
        folder: Where it lies, in the run folder or elsewhere; None where it is not a model.
        weights: Digest of its weights and configuration; None where it is not a model, or the record is an old one.
        reused: Whether an earlier run had made it; this and what follows of a teacher that a run made.
        store: Where the store keeps it.
        outputs: Its files.
        pruning: The parts of it that the student is made of, where a measure chose them.
    """

    stage = "teacher"
    made: bool
    folder: str | None
    reused: bool | None = None
    store: str | None = None
    weights: str | None = None
    outputs: tuple[str, ...] | None = None
    pruning: Pruning | None = None


@attrs.frozen(kw_only=True)
class TargetsWritten(StageFacts):
    """The teacher has written the targets of the training rows.

    Attributes:
        digest: Of the training rows with these targets.
        identity: Digest of what determines the teacher's texts.
        asked: For how many rows it wrote.
        rows: How many of them have a target now.
        cut: Texts that the limit on their length cut; their rows are left out unless `keep_cut` says otherwise.
        empty: Texts without a word, whose rows are left out.
    """

    stage = "write"
    digest: str
    identity: str
    asked: int
    rows: int
    cut: int
    empty: int

    def in_words(self, *, keeps_cut: bool) -> str:
        """Who wrote the targets, and what became of the texts that are cut or empty."""
        told = f"training targets were written by the teacher: {plural(self.rows, 'row')}"
        cut = f"{self.cut:,} cut by max_new_tokens and {'kept so' if keeps_cut else 'left out'}"
        return f"{told}, {cut}, {self.empty:,} empty and left out"


@attrs.frozen(kw_only=True)
class TeacherAsked(StageFacts):
    """The teacher's texts are written and, if this is a `Captured`, its logits are in the cache.

    Attributes:
        identity: Digest of what determines the teacher's logits.
        tokenizer: Digest of its tokenizer.
    """

    stage = "capture"
    identity: str
    tokenizer: str


@attrs.frozen(kw_only=True)
class Captured(TeacherAsked):
    """The teacher's logits are in a cache.

    Attributes:
        cache: The cache's folder.
        codec: Name of the codec that encoded them.
        records: How many records the run has there, each once.
        tokens: Tokens that these are of.
        bytes: How big they are.
        bytes_per_token: How big they are for each token; None where there is none.
        url: Where the cache is, if it is at a URL; its folder is then the mirror of that.
        reused: Whether an earlier run captured all of them.
    """

    cache: str
    codec: str
    records: int
    tokens: int
    bytes: int
    bytes_per_token: float | None
    url: str | None = None
    reused: bool | None = None


@attrs.frozen(kw_only=True)
class PartCaptured(Captured):
    """A part of the teacher's logits is in a cache: its own, or the one that takes all parts.

    Attributes:
        shared: The cache that takes all parts.
        outputs: What the part's cache is known by; not there any more once a run has taken the part.
    """

    shared: str
    outputs: tuple[str, ...]


@attrs.frozen(kw_only=True)
class StudentMade(StageFacts):
    """The student is trained.

    Attributes:
        steps: Steps done.
        best_step: Step of the best validation.
        best_value: What was measured there.
        best_by: What that is.
        parameters: Trainable parameters.
        outputs: Files of its weights.
    """

    stage = "distill"
    steps: int
    best_step: int
    best_value: float
    best_by: str
    parameters: int
    outputs: tuple[str, ...]


@attrs.frozen(kw_only=True)
class BaselineMade(StageFacts):
    """The labels-only student is in the store.

    Attributes:
        folder: Where; None where the recipe wants none.
        reused: Whether an earlier run had made it.
        weights: Digest of its weights.
    """

    stage = "baseline"
    folder: str | None
    reused: bool | None = None
    weights: str | None = None


@attrs.frozen(kw_only=True)
class Evaluated(StageFacts):
    """Student, teacher and baselines are scored.

    Attributes:
        split: Which rows were held out.
        rows: How many.
    """

    stage = "evaluate"
    split: str
    rows: int
