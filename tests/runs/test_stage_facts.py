"""What stages tell is the same value after it was written to run.json and read, and damage is said in a sentence."""

from __future__ import annotations

import json
from pathlib import Path

import attrs
import pytest

from kdkit.api.values import ModelSize
from kdkit.errors import DamagedData
from kdkit.pipeline.stages import STAGES, WRITE
from kdkit.runs import stage_facts
from kdkit.runs.facts_table import as_facts, facts_in, from_facts
from kdkit.runs.record import read_record
from kdkit.runs.stage import STAGE_NAMES
from kdkit.runs.stage_facts import BaselineMade, Captured, DataRead, Estimate, StageFacts, TeacherMade

ESTIMATE = Estimate(
    rows={"train": 3, "validation": 2, "test": 0},
    source_tokens={"train": 30},
    target_tokens={"train": 20},
    teacher=None,
    student=ModelSize(parameters=10, vocab_size=5),
    **dict.fromkeys(
        (
            "capture_rows", "capture_tokens", "capture_bytes", "teacher_bytes", "student_bytes", "teacher_steps",
            "student_steps", "generated_rows",
        ),
        1,
    ),
)  # fmt: skip
CAPTURED = Captured(
    identity="i", tokenizer="t", cache="/c", codec="float", records=0, tokens=0, bytes=0, bytes_per_token=None
)
TOLD = [
    DataRead(digest="d", rows={"train": 1}, outputs=("data/test.jsonl",)),
    ESTIMATE,
    attrs.evolve(ESTIMATE, teacher=ModelSize(parameters=20, vocab_size=5)),
    TeacherMade(made=False, folder=None),
    TeacherMade(made=True, folder="teacher", reused=True, store="s", weights="w", outputs=("a", "b")),
    CAPTURED,
    attrs.evolve(CAPTURED, tokens=2, bytes=3, bytes_per_token=1.5, url="memory://c", reused=False),
    BaselineMade(folder=None),
]


@pytest.mark.parametrize("told", TOLD, ids=lambda told: type(told).__name__)
def test_what_a_stage_tells_comes_back_from_a_file(told):
    table = json.loads(json.dumps(as_facts(told)))
    assert from_facts(type(told), table, where="here") == told


def test_what_not_every_run_has_is_left_out_and_what_is_none_is_not():
    assert as_facts(BaselineMade(folder=None)) == {"folder": None}
    assert {"url", "reused"}.isdisjoint(as_facts(CAPTURED))
    assert as_facts(CAPTURED)["bytes_per_token"] is None
    assert as_facts(None) == {}


def test_records_of_older_and_of_later_versions_are_read():
    table = as_facts(ESTIMATE) | {"told by a later version": 1}
    del table["picking_rows"]
    assert from_facts(Estimate, table, where="here") == ESTIMATE


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"folder": 3}, "its folder is 3"),
        ({"made": 1}, "its made is 1"),
        ({"outputs": "teacher"}, "its outputs is 'teacher'"),
        ({"outputs": [None]}, "its outputs is None"),
    ],
)
def test_a_damaged_record_is_said_in_a_sentence(change, said):
    record = {"stages": {"teacher": {"status": "done", "facts": {"made": True, "folder": "teacher"} | change}}}
    with pytest.raises(DamagedData, match=rf"stage teacher in .*run\.json is damaged: {said}; run with --fresh"):
        facts_in(record, TeacherMade, Path("runs/r"))


def test_a_record_without_what_is_asked_for_is_damaged():
    record = {"stages": {"capture": {"status": "done", "facts": {"identity": "i", "tokenizer": "t"}}}}
    with pytest.raises(DamagedData, match="it lacks cache; "):
        facts_in(record, Captured, Path("runs/r"))
    with pytest.raises(DamagedData, match=r"\[\] is not a table; "):
        facts_in({"stages": {"data": {"status": "done", "facts": []}}}, DataRead, Path("runs/r"))


def test_a_stage_that_is_not_finished_has_told_nothing():
    for entry in ({}, {"status": "running", "facts": {}}):
        assert facts_in({"stages": {"data": entry}}, DataRead, Path("runs/r")) is None


def test_the_stages_have_the_names_of_their_modules_and_of_what_they_tell():
    assert tuple(stage.name for stage in STAGES) == tuple(name for name in STAGE_NAMES if name != WRITE.name)
    folder = Path(__file__).parents[2] / "kdkit" / "pipeline" / "stages"
    assert {path.stem for path in folder.glob("*.py")} - {"__init__"} == set(STAGE_NAMES)
    kinds = [kind for kind in vars(stage_facts).values() if isinstance(kind, type) and issubclass(kind, StageFacts)]
    assert {kind.stage for kind in kinds if kind is not StageFacts} == set(STAGE_NAMES) - {"report"}


@pytest.mark.parametrize(
    "entry", [{"facts": None}, {"facts": []}, {"facts": {"outputs": 3}}, {"facts": {}, "seconds": "x"}]
)
def test_what_is_noted_of_a_stage_is_what_a_run_writes(tmp_path, entry):
    table = {"name": "t", "recipe_digest": "d", "status": "done", "stages": {"distill": {"status": "done", **entry}}}
    (tmp_path / "run.json").write_text(json.dumps(table))
    with pytest.raises(DamagedData, match=r"run.json is damaged .*distill"):
        read_record(tmp_path)
