"""`evaluation.json`: what is written is read again, older files too, and nothing else is taken for it."""

from __future__ import annotations

import json
import math

import attrs
import pytest

from kdkit.api.values import Cost, Difference, Score
from kdkit.errors import DamagedData, Mismatch, MissingInput
from kdkit.evaluation import record
from kdkit.evaluation.record import Bin, Calibration, EvaluationRecord

ENDS = {"value": 0.5, "low": 0.25, "high": 0.75, "count": 8}
SCORE = Score(model="student", against="truth", suite="text", metric="f1", **ENDS)
COST = Cost(
    parameters=9, bytes_on_disk=36, seconds_per_sample=0.5, seconds_low=0.4, seconds_high=0.6, batch_size=4, beams=1
)
RECORD = EvaluationRecord(
    split="test",
    row_count=8,
    scores=(SCORE, attrs.evolve(SCORE, model="teacher", value=0.625)),
    validation_scores=(attrs.evolve(SCORE, value=0.375),),
    differences=(Difference(suite="text", metric="f1", **ENDS),),
    calibration={"student": Calibration(ece=0.25, bins=(Bin(low=0.0, high=1.0, count=8, confidence=0.5, accuracy=0.75),))},
    costs={"student": COST},
    baselines={"constant": {"text": "yes"}, "untouched": {}},
    headline="text.f1",
)  # fmt: skip


def table(folder) -> dict:
    return json.loads((folder / "evaluation.json").read_text())


def rewrite(folder, **changes) -> None:
    record.write(folder, RECORD)
    (folder / "evaluation.json").write_text(json.dumps(table(folder) | changes))


def test_what_is_written_is_read_again(tmp_path):
    record.write(tmp_path, RECORD)
    assert record.read(tmp_path) == RECORD
    report = record.read_report(tmp_path)
    assert (report.run_dir, report.scores, report.costs) == (tmp_path, RECORD.scores, RECORD.costs)
    assert report.headline == "text.f1"


def test_the_file_has_a_format_number_and_flat_entries(tmp_path):
    record.write(tmp_path, RECORD)
    found = table(tmp_path)
    assert found["format"] == 1
    assert found["scores"][0].items() >= {"model": "student", "metric": "f1", **ENDS}.items()
    assert found["differences"][0].items() >= {"model": "student", "than": "teacher", **ENDS}.items()


def test_a_number_that_is_not_known_is_null_in_the_file(tmp_path):
    unknown = attrs.evolve(COST, seconds_per_sample=math.nan, seconds_low=math.nan, seconds_high=math.nan)
    empty = Bin(low=0.0, high=1.0, count=0, confidence=math.nan, accuracy=math.nan)
    record.write(
        tmp_path,
        attrs.evolve(
            RECORD, costs={"teacher": unknown}, calibration={"student": Calibration(ece=math.nan, bins=(empty,))}
        ),
    )
    assert "NaN" not in (tmp_path / "evaluation.json").read_text()
    found = record.read(tmp_path)
    assert math.isnan(found.costs["teacher"].seconds_per_sample)
    assert found.costs["teacher"].latency is None
    assert math.isnan(found.calibration["student"].bins[0].accuracy)
    assert found.calibration["student"].filled == ()


def test_a_file_made_before_there_was_a_format_number_is_read(tmp_path):
    record.write(tmp_path, RECORD)
    found = table(tmp_path)
    for key in ("format", "headline", "validation_scores", "differences", "calibration", "baselines"):
        del found[key]
    for key in ("latency", "latency_low", "latency_high", "tokens_per_sample", "peak_bytes"):
        del found["costs"]["student"][key]
    (tmp_path / "evaluation.json").write_text(json.dumps(found))
    assert record.read(tmp_path) == EvaluationRecord(
        split="test", row_count=8, scores=RECORD.scores, costs=RECORD.costs
    )


@pytest.mark.parametrize(
    ("suite", "metric", "direction"),
    [
        *[("loss", name, "lower") for name in ("hard", "soft", "total")],
        *[("tokens", "ece", "lower"), ("tokens", "accuracy", "higher"), ("tokens", "agreement", "higher")],
        *[("texts", "length", "neither"), ("texts", "agreement", "higher"), ("text", "f1", "higher")],
        *[("execution", name, "lower") for name in ("fails", "does_not_run")],
        *[("execution", name, "neither") for name in ("truth_holds", "not_runnable")],
        *[("execution", name, "higher") for name in ("holds", "holds_of_runnable")],
    ],
)
def test_a_score_that_does_not_say_which_values_are_better_is_known_by_its_name(tmp_path, suite, metric, direction):
    entry = {"model": "student", "against": "truth", "suite": suite, "metric": metric, **ENDS}
    rewrite(tmp_path, scores=[entry], differences=[{"suite": suite, "metric": metric, **ENDS}])
    found = record.read(tmp_path)
    assert (found.scores[0].direction, found.differences[0].direction) == (direction, direction)


def test_what_a_score_says_of_its_direction_goes_before_its_name(tmp_path):
    entry = {"model": "student", "against": "truth", "suite": "execution", "metric": "fails", **ENDS}
    rewrite(tmp_path, scores=[entry | {"direction": "higher"}])
    assert record.read(tmp_path).scores[0].direction == "higher"


def test_a_folder_without_one_says_so(tmp_path):
    with pytest.raises(MissingInput, match=r"has no evaluation\.json yet; run its recipe to the end first"):
        record.read(tmp_path)


def test_a_newer_format_is_refused_in_a_sentence(tmp_path):
    rewrite(tmp_path, format=2)
    with pytest.raises(Mismatch, match=r"evaluation\.json has format 2, but this kdkit reads formats up to 1") as error:
        record.read(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("content", ["", "[]", "{}", "3", '{"scores": [{"model": 1}], "costs": {}}', '{"format": "x"}'])
def test_a_damaged_evaluation_says_what_to_do(tmp_path, content):
    (tmp_path / "evaluation.json").write_text(content)
    with pytest.raises(DamagedData, match=r"evaluation\.json is damaged .*; delete it and run the recipe again"):
        record.read(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"split": None},
        {"rows": "many"},
        {"scores": 3},
        {"scores": [{"model": "student", "against": "truth", "suite": "text", "metric": 1, **ENDS}]},
        {"scores": [{"model": "student", "against": "truth", "suite": "text", "metric": "f1", **ENDS, "low": "x"}]},
        {
            "scores": [
                {"model": "student", "against": "truth", "suite": "text", "metric": "f1", "direction": "x", **ENDS}
            ]
        },
        {"differences": [{"suite": "text"}]},
        {"costs": {"student": {}}},
        {"calibration": {"student": {"ece": 0.5}}},
        {"baselines": [1]},
    ],
)
def test_a_part_that_is_something_else_is_damage(tmp_path, changes):
    rewrite(tmp_path, **changes)
    with pytest.raises(DamagedData, match=r"evaluation\.json is damaged .*; delete it and run the recipe again"):
        record.read(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 1.9},
        {"format": -3},
        {"rows": True},
        {"rows": float("inf")},
        {"scores": [{**attrs.asdict(SCORE), "direction": "higher", "value": 10**400}]},
        {"costs": {"student": {**attrs.asdict(COST), "latency": "x"}}},
    ],
)
def test_a_number_that_cannot_be_is_damage(tmp_path, changes):
    rewrite(tmp_path, **changes)
    with pytest.raises(DamagedData, match=r"evaluation.json is damaged"):
        record.read(tmp_path)


def test_bytes_stay_whole_numbers(tmp_path):
    record.write(tmp_path, attrs.evolve(RECORD, costs={"student": attrs.evolve(COST, peak_bytes=39_400_000)}))
    assert type(record.read(tmp_path).costs["student"].peak_bytes) is int
