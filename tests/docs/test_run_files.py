"""docs/run-files.md names every key that the classes behind a run's files can write."""

from __future__ import annotations

import typing
from collections.abc import Mapping

import attrs
import pytest
from pages import ROOT, in_backticks

from kdkit.evaluation.record import EvaluationRecord
from kdkit.runs import stage_facts

NAMED = set(in_backticks(ROOT / "docs" / "run-files.md"))
FACTS = [each for each in vars(stage_facts).values() if attrs.has(each) and issubclass(each, stage_facts.StageFacts)]
CALLED_OTHERWISE = {"row_count": "rows"}
"""Fields of classes that have another name in the file."""


def fields_of(cls, seen):
    """The names of a class's fields, and of those of the classes that they hold."""
    if cls in seen or not attrs.has(cls):
        return
    seen.add(cls)
    hints = typing.get_type_hints(cls, localns={"Mapping": Mapping})
    for field in attrs.fields(cls):
        yield field.name
        waiting = [hints[field.name]]
        while waiting:
            hint = waiting.pop()
            waiting += typing.get_args(hint)
            if isinstance(hint, type):
                yield from fields_of(hint, seen)


@pytest.mark.parametrize("cls", [*FACTS, EvaluationRecord], ids=lambda cls: cls.__name__)
def test_a_page_names_every_key_that_a_class_writes(cls):
    keys = {CALLED_OTHERWISE.get(name, name) for name in fields_of(cls, set())}
    assert keys <= NAMED, sorted(keys - NAMED)


def test_the_classes_of_facts_are_found():
    assert {each.stage for each in FACTS} >= {"data", "check", "teacher", "capture", "distill", "evaluate"}
    assert {"encoder_layers", "low", "parameters", "num_attention_heads"} & set(
        fields_of(stage_facts.TeacherMade, set())
    )
