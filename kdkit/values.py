"""The nouns of kdkit: frozen values that pass between stages.

Tensor and array names end in their shape: B batch, S source, T target, V vocabulary, D hidden.
The vocabulary is always the last axis.
"""

from __future__ import annotations

import sys
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    import numpy as np
    import numpy.typing as npt
    import torch

    FloatArray: TypeAlias = npt.NDArray[np.float32]

SplitName: TypeAlias = Literal["train", "validation", "test"]
SPLITS: tuple[SplitName, ...] = ("train", "validation", "test")


@attrs.frozen(kw_only=True)
class Cut:
    """A stretch of an example's source that may be shortened when the source has too many tokens.

    Attributes:
        start: First character of what may be shortened.
        end: Character after its last.
        drop_start: First character of what goes when the stretch is dropped (it and the text that introduces it).
        drop_end: Character after the last of that.
        drop_below: Drop rather than shorten when fewer than this many tokens would be left.
        keep: Which end of the stretch is kept when it is shortened.
    """

    start: int
    end: int
    drop_start: int
    drop_end: int
    drop_below: int = 0
    keep: Literal["head", "tail"] = "head"


@attrs.frozen(kw_only=True)
class Example:
    """One row of a data set, as text.

    Attributes:
        id: Unique within the corpus, and the same at every reading.
        source: What the model reads.
        target: The ground truth: what the model should write, and what is distilled.
        cuts: What to shorten, in this order, when `source` is too long. With none (or when they do not suffice)
            the end of the source is cut off.
        prediction: The teacher's text for the row where the data set came with one (see the `recorded` teacher).
        meta: Facts that metric suites and reports use; values that JSON can hold.
    """

    id: str
    source: str
    target: str
    cuts: tuple[Cut, ...] = ()
    prediction: str | None = None
    meta: Mapping[str, Any] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class Drop:
    """Rows that a data set left out, and why.

    Attributes:
        reason: Why, as the end of the sentence "dropped because ...": "it has no target".
        count: How many.
        first: Where the first few stand: `file:line`.
    """

    reason: str
    count: int
    first: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Corpus:
    """All rows of a data set. `test` may be empty: evaluation then uses `validation`."""

    train: tuple[Example, ...]
    validation: tuple[Example, ...]
    test: tuple[Example, ...] = ()
    drops: tuple[Drop, ...] = ()

    def split(self, name: SplitName) -> tuple[Example, ...]:
        """The rows of one split."""
        rows: tuple[Example, ...] = getattr(self, name)
        return rows

    @property
    def held_out(self) -> tuple[Example, ...]:
        """The rows that evaluation scores: `test` where there is one, else `validation`."""
        return self.test or self.validation


@attrs.frozen(kw_only=True)
class EncodedExample:
    """One row as token ids.

    Attributes:
        id: The example's id.
        source_ids: Encoder input, special tokens included.
        target_ids: Labels, special tokens included; the decoder reads them shifted right by one.
    """

    id: str
    source_ids: tuple[int, ...]
    target_ids: tuple[int, ...]


IGNORED = -100
"""What a label is where there is none."""


@attrs.frozen(kw_only=True, eq=False)
class LabelPlaces:
    """Where a batch's N labels are, example by example.

    Always in the memory of the CPU, whatever device the batch is on: a GPU would have to be waited for to tell them.

    Attributes:
        example_N: The example of each, int64.
        position_N: Its place among the example's target tokens, int64.
    """

    example_N: torch.Tensor
    position_N: torch.Tensor

    @classmethod
    def of(cls, labels_BT: torch.Tensor) -> LabelPlaces:
        """Those of labels `[B, T]` that are not -100."""
        example_N, position_N = (labels_BT != IGNORED).cpu().nonzero(as_tuple=True)
        return cls(example_N=example_N, position_N=position_N)

    def __len__(self) -> int:
        """How many labels there are, N."""
        return len(self.example_N)

    def pick(self, rows_BTX: torch.Tensor) -> torch.Tensor:
        """What a tensor holds at these places: `[B, T, ...]` to `[N, ...]`."""
        device = rows_BTX.device
        return rows_BTX[self.example_N.to(device, non_blocking=True), self.position_N.to(device, non_blocking=True)]


@attrs.frozen(kw_only=True, eq=False)
class TokenBatch:
    """Padded token ids of some rows.

    Attributes:
        ids: The rows' ids, in order.
        source_ids_BS: int64, padded with the tokenizer's padding id.
        source_mask_BS: int64, 1 where there is a token.
        labels_BT: int64, -100 where there is none.
    """

    ids: tuple[str, ...]
    source_ids_BS: torch.Tensor
    source_mask_BS: torch.Tensor
    labels_BT: torch.Tensor

    @cached_property
    def places(self) -> LabelPlaces:
        """Where the labels are."""
        return LabelPlaces.of(self.labels_BT)

    def to(self, device: str) -> TokenBatch:
        """The same on another device."""
        moved = attrs.evolve(
            self,
            source_ids_BS=self.source_ids_BS.to(device),
            source_mask_BS=self.source_mask_BS.to(device),
            labels_BT=self.labels_BT.to(device),
        )
        object.__setattr__(moved, "places", self.places)  # found where they are cheap to find
        return moved


@attrs.frozen(kw_only=True)
class Grid:
    """The grid on which already quantised logits lie: `logit = (q - zero_point) * scale`, q in 0 ... 2**bits - 1."""

    scale: float
    zero_point: float
    bits: int = 8


@attrs.frozen(kw_only=True, eq=False)
class TeacherBlock:
    """What a teacher says of one example's target tokens under teacher forcing.

    Attributes:
        id: The example's id.
        logits_TV: float32; row i is the distribution of target token i. Fewer rows than target tokens are allowed
            (recorded logits may be short); the soft loss then covers the rows there are.
        grid: The grid on which the logits lie exactly, where they were quantised before kdkit saw them.
    """

    id: str
    logits_TV: FloatArray
    grid: Grid | None = None


@attrs.frozen(kw_only=True, eq=False)
class OutputHead:
    """A linear output head: `logits_TV = states_TD @ weight_VD.T + bias_V`.

    Attributes:
        weight_VD: float32.
        bias_V: float32; None where there is none.
    """

    weight_VD: FloatArray
    bias_V: FloatArray | None = None


@attrs.frozen(kw_only=True, eq=False)
class StateBlock:
    """What a teacher with a linear head says of one example's target tokens, before that head.

    Attributes:
        id: The example's id.
        states_TD: float32; row i, put through the `OutputHead`, gives the logits of target token i. Whatever else the
            model does to its last hidden states (T5's factor d_model ** -0.5) has been done to them.
    """

    id: str
    states_TD: FloatArray


@attrs.frozen(kw_only=True, eq=False)
class RecordedLogits:
    """Logits that came with a row of a data set.

    Attributes:
        id: The example's id.
        tokens: How many target tokens there are logits for.
        read: Called with a number of rows R, gives the first min(R, tokens) rows, float32 `[R, V]`, and their grid.
    """

    id: str
    tokens: int
    read: Callable[[int], tuple[FloatArray, Grid | None]]


@attrs.frozen(kw_only=True, eq=False)
class DenseTargets:
    """A batch of teacher logits: every entry of the vocabulary.

    Attributes:
        logits_BTV: Floats of any width, half precision being widened where a loss asks for a row; rows from
            `lengths_B[b]` on are padding and never read.
        lengths_B: How many rows of each example are real, on the CPU.
    """

    logits_BTV: torch.Tensor
    lengths_B: torch.Tensor

    @property
    def width(self) -> int:
        """How many rows there is room for, T."""
        return self.logits_BTV.shape[1]


@attrs.frozen(kw_only=True, eq=False)
class QuantizedTargets:
    """A batch of teacher logits as codes on even grids: `(code - zero_point) * scale`, one operation after the other.

    Where a row has a tail, code 0 stands for it, and each other code for `((code - 1) - zero_point) * scale`.

    Attributes:
        codes_BTV: uint8; rows from `lengths_B[b]` on are padding and never read.
        scale_BT: float32, the step of each row's grid.
        zero_point_BT: float32, the code of logit 0 on it, which may lie between codes or beyond them.
        tail_BT: float32, what code 0 stands for in each row; None where it is a code like any other.
        lengths_B: How many rows of each example are real, on the CPU.
    """

    codes_BTV: torch.Tensor
    scale_BT: torch.Tensor
    zero_point_BT: torch.Tensor
    tail_BT: torch.Tensor | None = None
    lengths_B: torch.Tensor

    @property
    def width(self) -> int:
        """How many rows there is room for, T."""
        return self.codes_BTV.shape[1]


@attrs.frozen(kw_only=True, eq=False)
class FactoredTargets:
    """A batch of teacher logits as coordinates in a space that all share: `coordinates_BTR @ basis_RV + offset_V`.

    Attributes:
        coordinates_BTR: float32; rows from `lengths_B[b]` on are padding and never read.
        basis_RV: float32.
        offset_V: float32.
        lengths_B: How many rows of each example are real, on the CPU.
    """

    coordinates_BTR: torch.Tensor
    basis_RV: torch.Tensor
    offset_V: torch.Tensor
    lengths_B: torch.Tensor

    @property
    def width(self) -> int:
        """How many rows there is room for, T."""
        return self.coordinates_BTR.shape[1]


@attrs.frozen(kw_only=True, eq=False)
class SparseTargets:
    """A batch of teacher distributions of which some entries are kept, and of the others only their mass.

    At temperature t the kept entries share the probability `1 - exp(log_tail_BT[t])` in the proportions of
    `softmax(values_BTK / t)`.

    Attributes:
        ids_BTK: int32 or int64, the entries kept, none twice in a row; -1 where a row keeps fewer than K.
        values_BTK: float32, their logits up to a constant of the row; -inf where there is no entry.
        log_tail_BT: By temperature, the logarithm of the mass of all other entries, float32; -inf for none.
        vocab_size: Width V of the distributions.
        lengths_B: How many rows of each example are real, on the CPU.
    """

    ids_BTK: torch.Tensor
    values_BTK: torch.Tensor
    log_tail_BT: Mapping[float, torch.Tensor]
    vocab_size: int
    lengths_B: torch.Tensor

    @property
    def width(self) -> int:
        """How many rows there is room for, T."""
        return self.ids_BTK.shape[1]


Targets: TypeAlias = DenseTargets | QuantizedTargets | FactoredTargets | SparseTargets


@attrs.frozen(kw_only=True)
class Moment:
    """Where a training stands, for what changes in its course.

    Attributes:
        share: 0 at the first step, 1 at the last.
        epoch: Epochs that are done.
    """

    share: float
    epoch: int


END = Moment(share=1.0, epoch=sys.maxsize)
"""The end of a training, however many epochs it has."""


@attrs.frozen(kw_only=True)
class TokenCounts:
    """Over how many tokens the terms of a loss are averaged.

    Attributes:
        hard: Label tokens.
        soft: Those of them for which the teacher has a row.
    """

    hard: int = 0
    soft: int = 0

    def __add__(self, other: TokenCounts) -> TokenCounts:
        """Those of both."""
        return TokenCounts(hard=self.hard + other.hard, soft=self.soft + other.soft)


@attrs.frozen(kw_only=True, eq=False)
class LossParts:
    """A loss and its parts, each a scalar tensor: `total` is differentiable, the others are not.

    Of some of the tokens of a step they are these tokens' contribution: what the parts of all add up to is the loss.

    Attributes:
        total: The loss, in nats a token.
        hard: Against the labels, in nats a token.
        soft: Against the teacher, in nats a token; NaN where there is no teacher.
        feature: The distance of the hidden states from the teacher's (see `kdkit.interfaces.FeatureLoss`); NaN where
            they are not compared.
    """

    total: torch.Tensor
    hard: torch.Tensor
    soft: torch.Tensor
    feature: torch.Tensor = attrs.field(
        default=attrs.Factory(lambda self: self.hard.new_full((), float("nan")), takes_self=True)
    )


@attrs.frozen(kw_only=True)
class Prediction:
    """A model's text for one example, and the wall time of generating its batch divided by the batch's rows."""

    id: str
    text: str
    seconds: float | None = None


@attrs.frozen(kw_only=True)
class Score:
    """One number of an evaluation.

    Attributes:
        model: "teacher" or "student".
        against: "truth" or "teacher"; "truth and teacher" for the total loss.
        suite: Name of the metric suite; "loss" for a loss.
        metric: Name within the suite.
        value: The mean over the rows that count; of a loss, over their tokens or batches (`evaluation.loss_mean`).
        low: Lower end of its 95 % bootstrap interval.
        high: Upper end.
        count: How many rows counted; of a loss the rows with a token that counts, whatever its mean is over.
    """

    model: str
    against: str
    suite: str
    metric: str
    value: float
    low: float
    high: float
    count: int


@attrs.frozen(kw_only=True)
class Difference:
    """By how much the student differs from the teacher in one metric against the ground truth.

    Both wrote for the same rows, so the interval is that of the mean difference of a row: far narrower than what the
    overlap of two intervals tells.

    Attributes:
        suite: Name of the metric suite.
        metric: Name within the suite.
        value: Student minus teacher, the mean over the rows that count for both.
        low: Lower end of its 95 % bootstrap interval.
        high: Upper end.
        count: How many rows counted.
    """

    suite: str
    metric: str
    value: float
    low: float
    high: float
    count: int


@attrs.frozen(kw_only=True)
class ModelSize:
    """How big a model is, known without its weights: trainable parameters and width of the logits."""

    parameters: int
    vocab_size: int


@attrs.frozen(kw_only=True)
class Cost:
    """What a model costs to keep and to run.

    Attributes:
        parameters: Trainable parameters, shared ones counted once.
        bytes_on_disk: Size of the weight files.
        seconds_per_sample: Median over some batches, timed after a warm-up, of the wall time of generation divided by
            the batch's rows.
        seconds_low: First quartile.
        seconds_high: Third quartile.
        batch_size: Rows a batch in that measurement.
        beams: Beams in that measurement.
    """

    parameters: int
    bytes_on_disk: int
    seconds_per_sample: float
    seconds_low: float
    seconds_high: float
    batch_size: int
    beams: int


@attrs.frozen(kw_only=True)
class Report:
    """The end of a run: its scores, what each model costs, and where everything lies.

    Attributes:
        run_dir: The run folder; `report.html` and `report.md` lie in it.
        scores: Every score of the evaluation.
        costs: "student" always; "teacher" where the teacher is a model that is here to be measured.
    """

    run_dir: Path
    scores: tuple[Score, ...]
    costs: Mapping[str, Cost]
