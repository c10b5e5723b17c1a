"""What comes out of a run: texts, scores, costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


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
