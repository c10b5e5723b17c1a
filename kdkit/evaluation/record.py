"""`evaluation.json`: the results of an evaluation, as one typed record with one writer and one reader.

{"format": 1, "split", "rows", "headline", "scores", "calibration", "validation_scores", "differences", "costs",
 "baselines", "fine_tuning", "vocabulary"}

A number that is not known is null there and NaN or None here. A file without a format number was made before there was
one; it may lack `validation_scores`, `differences`, `calibration` and `baselines`, and is read as the newest. Where a
score does not say which values are better, the names that had been in use until then say it. `headline`,
`fine_tuning` and `vocabulary` were added to format 1; a file without the first has not decided on one, and one without
the last is of a run that trimmed no vocabulary.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from kdkit.api.values import Cost, Difference, Direction, Interval, Report, Score
from kdkit.errors import DamagedData, Mismatch, MissingInput
from kdkit.runs.stage_facts import TrimmedVocabulary
from kdkit.system.files import write_json
from kdkit.system.reading import read_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FILE = "evaluation.json"
FORMAT = 1
NOT_HIGHER = {
    ("loss", "hard"): Direction.LOWER,
    ("loss", "soft"): Direction.LOWER,
    ("loss", "total"): Direction.LOWER,
    ("tokens", "ece"): Direction.LOWER,
    ("texts", "length"): Direction.NEITHER,
    ("execution", "fails"): Direction.LOWER,
    ("execution", "does_not_run"): Direction.LOWER,
    ("execution", "truth_holds"): Direction.NEITHER,
    ("execution", "not_runnable"): Direction.NEITHER,
}
"""By suite and metric, the scores of older files of which higher is not better; these files do not say so."""
_Entry = TypeVar("_Entry", Score, Difference)


@attrs.frozen(kw_only=True)
class Bin:
    """A bin of a reliability diagram: tokens of like probability.

    Attributes:
        low: From which probability on, it excluded.
        high: Up to which.
        count: How many tokens.
        confidence: Their mean probability; NaN where there is no token.
        accuracy: The share of them that is right; NaN likewise.
    """

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@attrs.frozen(kw_only=True)
class Calibration:
    """The points of a model's reliability diagram.

    Attributes:
        ece: The expected calibration error, 0 to 1.
        bins: All bins, those without a token too.
    """

    ece: float
    bins: tuple[Bin, ...]

    @property
    def filled(self) -> tuple[Bin, ...]:
        """The bins that hold a token."""
        return tuple(each for each in self.bins if each.count > 0)


@attrs.frozen(kw_only=True)
class Change:
    """What fine-tuning did to a score of the teacher on the held-out rows.

    Attributes:
        before: The score of the model that fine-tuning began with.
        after: Of the fine-tuned one.
        difference: After minus before, paired by row; it names the score.
    """

    before: Interval
    after: Interval
    difference: Difference


@attrs.frozen(kw_only=True)
class VocabularyCost:
    """What trimming the teacher's vocabulary costs on the held-out rows.

    Attributes:
        facts: What stays, and how many tokens are read.
        before: Bits per byte of the whole model.
        after: Of the trimmed one, before it was fine-tuned.
    """

    facts: TrimmedVocabulary
    before: Interval
    after: Interval


@attrs.frozen(kw_only=True)
class EvaluationRecord:
    """An evaluation.

    Attributes:
        split: The split that was scored: "test" or "validation".
        row_count: How many rows were scored.
        scores: Every score.
        validation_scores: The student's on the rows that picked the best epoch, where others were scored.
        differences: By how much the student differs from other models.
        calibration: How right each model is about its tokens' probabilities, where those are known.
        costs: What "teacher" and "student" cost, where that was measured.
        baselines: What is known of each baseline; empty where there was none.
        headline: The metric that verdicts are about, as "SUITE.METRIC"; empty where an older kdkit did not decide it.
        fine_tuning: What fine-tuning did to the teacher; empty where a trained model was not fine-tuned.
        vocabulary: What trimming the teacher's vocabulary costs; None where it was not trimmed.
    """

    split: str
    row_count: int
    scores: tuple[Score, ...]
    validation_scores: tuple[Score, ...] = ()
    differences: tuple[Difference, ...] = ()
    calibration: Mapping[str, Calibration] = attrs.field(factory=dict)
    costs: Mapping[str, Cost] = attrs.field(factory=dict)
    baselines: Mapping[str, Mapping[str, Any]] = attrs.field(factory=dict)
    headline: str = ""
    fine_tuning: tuple[Change, ...] = ()
    vocabulary: VocabularyCost | None = None


def write(folder: Path, record: EvaluationRecord) -> None:
    """Write a run's `evaluation.json`, whole or not at all."""
    table = {
        "format": FORMAT,
        "split": record.split,
        "rows": record.row_count,
        "headline": record.headline,
        "scores": list(map(as_json, record.scores)),
        "calibration": {model: as_json(each) for model, each in record.calibration.items()},
        "validation_scores": list(map(as_json, record.validation_scores)),
        "differences": list(map(as_json, record.differences)),
        "costs": {model: as_json(each) for model, each in record.costs.items()},
        "baselines": record.baselines,
        "fine_tuning": list(map(as_json, record.fine_tuning)),
        **({"vocabulary": as_json(record.vocabulary)} if record.vocabulary is not None else {}),
    }
    write_json(folder / FILE, table)


def read(folder: Path) -> EvaluationRecord:
    """Read a run's `evaluation.json`.

    Raises:
        MissingInput: There is none.
        DamagedData: It is not what was written.
        Mismatch: It is of a newer kdkit's format.
    """
    path = folder / FILE
    try:
        table = read_json(path)
        made = _count(table.get("format", FORMAT))
        if made <= FORMAT:
            return _record(table)
    except FileNotFoundError as error:
        raise MissingInput(f"{folder} has no {FILE} yet; run its recipe to the end first") from error
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise DamagedData(f"{path} is damaged ({error}); delete it and run the recipe again") from error
    raise Mismatch(f"{path} has format {made}, but this kdkit reads formats up to {FORMAT}; read it with a newer kdkit")


def read_report(folder: Path) -> Report:
    """The scores and costs of a finished run; see `read` for what can go wrong."""
    record = read(folder)
    return Report(run_dir=folder, scores=record.scores, costs=record.costs, headline=record.headline)


def as_json(value: Score | Difference | Cost | Calibration | Change | VocabularyCost) -> dict[str, Any]:
    """One part of the record as JSON: names first, then numbers; an unknown number is null."""
    table = attrs.asdict(value)
    if isinstance(value, Interval):
        numbers = {field.name: table.pop(field.name) for field in attrs.fields(Interval)}
        table |= numbers
    found: dict[str, Any] = _without_nan(table)
    return found


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _record(table: Mapping[str, Any]) -> EvaluationRecord:
    return EvaluationRecord(
        split=_text(table, "split"),
        row_count=_count(table["rows"]),
        scores=tuple(_named(Score, each) for each in table["scores"]),
        validation_scores=tuple(_named(Score, each) for each in table.get("validation_scores", ())),
        differences=tuple(_named(Difference, each) for each in table.get("differences", ())),
        calibration={model: _calibration(each) for model, each in table.get("calibration", {}).items()},
        costs={model: _cost(each) for model, each in table["costs"].items()},
        baselines={model: dict(facts) for model, facts in table.get("baselines", {}).items()},
        headline=_text(table, "headline") if "headline" in table else "",
        fine_tuning=tuple(map(_change, table.get("fine_tuning", ()))),
        vocabulary=_vocabulary(table["vocabulary"]) if "vocabulary" in table else None,
    )


def _named(kind: type[_Entry], entry: Mapping[str, Any]) -> _Entry:
    """A score or a difference: names, a direction, and an interval."""
    known: dict[str, Any] = {end: _number(entry[end]) for end in ("value", "low", "high")}
    for field in attrs.fields(kind):
        is_name = field.name not in {*attrs.fields_dict(Interval), "direction"}
        if is_name and (field.name in entry or field.default is attrs.NOTHING):
            known[field.name] = _text(entry, field.name)
    # A part of the rows (`errors/x`) goes by the metric that it is a part of.
    usual = NOT_HIGHER.get((known["suite"], known["metric"].partition("/")[0]), Direction.HIGHER)
    return kind(**known, count=_count(entry["count"]), direction=Direction(entry.get("direction", usual)))


def _change(entry: Mapping[str, Any]) -> Change:
    before, after = map(_interval, (entry["before"], entry["after"]))
    return Change(before=before, after=after, difference=_named(Difference, entry["difference"]))


def _vocabulary(entry: Mapping[str, Any]) -> VocabularyCost:
    facts = {name: _count(entry["facts"][name]) for name in attrs.fields_dict(TrimmedVocabulary)}
    before, after = map(_interval, (entry["before"], entry["after"]))
    return VocabularyCost(facts=TrimmedVocabulary(**facts), before=before, after=after)


def _interval(entry: Mapping[str, Any]) -> Interval:
    return Interval(count=_count(entry["count"]), **{end: _number(entry[end]) for end in ("value", "low", "high")})


def _cost(entry: Mapping[str, Any]) -> Cost:
    known: dict[str, Any] = {name: entry.get(name) for name in attrs.fields_dict(Cost)}
    for name in ("seconds_per_sample", "seconds_low", "seconds_high"):
        known[name] = _number(entry[name])
    for name in ("parameters", "bytes_on_disk", "batch_size", "beams"):
        known[name] = _count(entry[name])
    for name in ("latency", "latency_low", "latency_high", "tokens_per_sample"):
        known[name] = _number(known[name]) if known[name] is not None else None
    if known["peak_bytes"] is not None:
        known["peak_bytes"] = _count(known["peak_bytes"])
    return Cost(**known)


def _calibration(entry: Mapping[str, Any]) -> Calibration:
    return Calibration(
        ece=_number(entry["ece"]),
        bins=tuple(
            Bin(
                count=_count(each["count"]),
                **{name: _number(each[name]) for name in ("low", "high", "confidence", "accuracy")},
            )
            for each in entry["bins"]
        ),
    )


def _text(entry: Mapping[str, Any], key: str) -> str:
    if not isinstance(entry[key], str):
        raise TypeError(f"{key} must be text, is {entry[key]!r}")
    return str(entry[key])


def _count(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TypeError(f"{value!r} is not a count")
    return value


def _number(value: object) -> float:
    """A number; NaN for null."""
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is not a number")
    return float(value)
