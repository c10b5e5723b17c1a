"""The results of a run: texts, scores, costs."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import attrs

from kdkit.errors import UsageError
from kdkit.system.wording import near_or_all

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@attrs.frozen(kw_only=True)
class Prediction:
    """A model's text for one example.

    Attributes:
        id: The example's id.
        text: The text.
        seconds: The wall time of generating its batch divided by the batch's rows; None where that is not known.
        is_cut: Whether the limit on its length ended it, as far as the model tells.
    """

    id: str
    text: str
    seconds: float | None = None
    is_cut: bool = False


@attrs.frozen(kw_only=True)
class WrittenText:
    """A text that a model wrote.

    Attributes:
        text: The text, without special tokens.
        is_cut: Whether the limit on its length ended it, before the model did.
    """

    text: str
    is_cut: bool


class Direction(StrEnum):
    """Which values of a metric are better."""

    HIGHER = "higher"
    LOWER = "lower"
    NEITHER = "neither"

    @property
    def sense(self) -> int:
        """1 if higher is better, -1 if lower is, 0 if neither is."""
        return {"higher": 1, "lower": -1, "neither": 0}[self]


@attrs.frozen(kw_only=True)
class Interval:
    """A number and its 95 % interval.

    Attributes:
        value: The number; NaN where it is not known.
        low: Lower end of the interval.
        high: Upper end.
        count: How many rows counted.
    """

    value: float
    low: float
    high: float
    count: int

    def __str__(self) -> str:
        """`0.482 (0.443 to 0.521)`."""
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"

    @property
    def holds_zero(self) -> bool:
        """Whether 0 is within the interval; also where an end is not known. Of a difference: it is within noise."""
        return not (self.low > 0 or self.high < 0)


@attrs.frozen(kw_only=True)
class Score(Interval):
    """One number of an evaluation, with its 95 % bootstrap interval.

    The value is the mean over the rows that count; of a loss, over their tokens or batches (`evaluation.loss_mean`).
    A loss counts the rows with a token that counts, whatever its mean is over.

    Attributes:
        model: "teacher", "student", or a baseline: "labels-only", "untouched", "constant", "nearest"
            (see `kdkit.evaluation.baselines`).
        against: "truth" or "teacher"; "truth and teacher" for the total loss.
        suite: Name of the metric suite; "loss" for a loss, "tokens" and "texts" for what kdkit itself says of those.
        metric: Name within the suite.
        direction: Which values of the metric are better.
    """

    model: str
    against: str
    suite: str
    metric: str
    direction: Direction = Direction.HIGHER

    @property
    def name(self) -> str:
        """The metric with its suite: "text.f1"."""
        return f"{self.suite}.{self.metric}"


@attrs.frozen(kw_only=True)
class Difference(Interval):
    """The difference between two models in one metric against the ground truth, with its 95 % interval.

    The value is the one minus the other, the mean over the rows that count for both. Both wrote for the same rows, so
    the interval is that of the mean difference of a row: far narrower than what the overlap of two intervals tells.

    Attributes:
        suite: Name of the metric suite, or as in a score.
        metric: Name within the suite.
        model: The one: "student".
        than: The other: "teacher", "labels-only".
        direction: Which values of the metric are better.
    """

    suite: str
    metric: str
    model: str = "student"
    than: str = "teacher"
    direction: Direction = Direction.HIGHER

    @property
    def verdict(self) -> str:
        """Whether the first model is "better", "worse" or "within noise"; "" if neither direction is better."""
        if self.holds_zero:
            return "within noise"
        return {1: "better", -1: "worse", 0: ""}[self.direction.sense * (1 if self.value > 0 else -1)]


@attrs.frozen(kw_only=True)
class ModelSize:
    """The size of a model, known without its weights.

    Attributes:
        parameters: Trainable parameters, shared ones counted once.
        vocab_size: Width of the logits.
        source_vocab_size: Token ids that a source may have; by default as many.
    """

    parameters: int
    vocab_size: int
    source_vocab_size: int = attrs.field()

    @source_vocab_size.default
    def _as_wide_as_the_logits(self) -> int:
        return self.vocab_size


@attrs.frozen(kw_only=True)
class Cost:
    """The costs of keeping and running a model.

    Attributes:
        parameters: Trainable parameters, shared ones counted once.
        bytes_on_disk: Size of the weight files.
        seconds_per_sample: Median over some batches, timed after a warm-up, of the wall time of generation divided by
            the batch's rows.
        seconds_low: First quartile.
        seconds_high: Third quartile.
        batch_size: Rows a batch in that measurement.
        beams: Beams in that measurement.
        latency: Median of the wall time of generating one row alone (a batch of 1), in seconds; None where not timed.
        latency_low: First quartile.
        latency_high: Third quartile.
        tokens_per_sample: Mean tokens of a generated text: who writes more takes longer.
        peak_bytes: Memory at the peak of generating a batch, above what the process held before the model was opened,
            weights included; None where the platform does not tell.
    """

    parameters: int
    bytes_on_disk: int
    seconds_per_sample: float
    seconds_low: float
    seconds_high: float
    batch_size: int
    beams: int
    latency: float | None = None
    latency_low: float | None = None
    latency_high: float | None = None
    tokens_per_sample: float | None = None
    peak_bytes: int | None = None


@attrs.frozen(kw_only=True)
class Report:
    """The end of a run: its scores, the costs of each model, and the paths of everything.

    Attributes:
        run_dir: The run folder; `report.html` and `report.md` lie in it.
        scores: Every score of the evaluation.
        costs: "student" always; "teacher" where the teacher is a model that is here to be measured.
        headline: The metric that the verdict is about: "text.f1"; empty where an older kdkit did not decide it.
    """

    run_dir: Path
    scores: tuple[Score, ...]
    costs: Mapping[str, Cost]
    headline: str = ""

    def score(self, model: str, metric: str = "", *, against: str = "") -> Score:
        """One score, with its interval.

        Args:
            model: Whose it is: "student", "teacher", "labels-only", or another baseline.
            metric: The metric with its suite: "text.f1", "loss.hard"; by default the headline.
            against: "truth" or "teacher"; by default the truth, or what the metric alone is scored against.

        Raises:
            UsageError: There is no such score; the message says which there are.
        """
        wanted = metric or self.headline
        of_model = [score for score in self.scores if score.model == model]
        if not of_model:
            models = list(dict.fromkeys(score.model for score in self.scores))
            raise UsageError(f'{self.run_dir} has no scores of a model "{model}"{near_or_all(model, models)}')
        if not wanted:
            raise UsageError(f"{self.run_dir} has no headline metric; name a metric, such as {of_model[0].name}")
        found = [score for score in of_model if score.name == wanted and against in {"", score.against}]
        if found:
            return next((score for score in found if score.against == "truth"), found[0])
        names = list(dict.fromkeys(score.name for score in of_model if against in {"", score.against}))
        if not names:
            sides = list(dict.fromkeys(score.against for score in of_model))
            raise UsageError(f'the {model} was not scored against "{against}"{near_or_all(against, sides)}')
        meant = [f'; did you mean "{name}"?' for name in names if name.partition(".")[2] == wanted][:1]
        beside = f" against {against}" if against else ""
        raise UsageError(f'the {model} has no score "{wanted}"{beside}{"".join(meant) or near_or_all(wanted, names)}')

    def __repr__(self) -> str:
        """A line: where it is, and how much is in it."""
        models = dict.fromkeys(score.model for score in self.scores)
        return f"<Report of {self.run_dir}: {len(self.scores)} scores of {', '.join(models) or 'no model'}>"


@attrs.frozen(kw_only=True)
class PublishedRun:
    """A run whose numbers were published.

    Attributes:
        name: What it is called there.
        values: The keys of a recipe that tell it from the others, and their values: {"loss.alpha": 0.5}.
        scores: Its numbers, as (against, suite, metric): ("truth", "text", "f1"). Those of the student.
        numbers: Others, by name and with their unit: {"model size (MiB)": 230.76}.
    """

    name: str
    values: Mapping[str, object]
    scores: Mapping[tuple[str, str, str], float]
    numbers: Mapping[str, float] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class AxisValue:
    """A value that a search may propose.

    Attributes:
        axis: The key of the recipe, as `loss.alpha`.
        value: The value.
        at: Where it stands in `[sweep.search]`: the keys and indices on the way.
    """

    axis: str
    value: object
    at: tuple[str | int, ...]


@attrs.frozen(kw_only=True)
class Outcome:
    """The outcome of a trial of a sweep, so far.

    Attributes:
        id: The trial.
        values: Each axis' value.
        status: "done", "running", "interrupted", "failed" or "waiting".
        value: What the search is after: the best epoch's value of `training.best_by` on the validation rows, mean over
            seeds; None unless done.
        higher_is_better: Whether more of it is better.
    """

    id: str
    values: Mapping[str, object]
    status: str
    value: float | None
    higher_is_better: bool
