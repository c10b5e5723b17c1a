"""The stage `check`: metric suites see the rows that they will score, and what they say reaches run.json and report."""

from __future__ import annotations

import json
from types import SimpleNamespace

import attrs
import pytest
import tiny

from kdkit.api import CheckedSuite
from kdkit.api.options import NamedSuite
from kdkit.errors import KdkitError
from kdkit.pipeline.stages.check import fit_together
from kdkit.recipe import load_recipe
from kdkit.report.parts import setup
from kdkit.runs.facts_table import as_facts
from kdkit.system.progress import Silent


@attrs.frozen
class Careful:
    """A suite that says how many rows it was shown, or refuses them."""

    refused: str = ""

    def check(self, examples):
        if self.refused:
            raise KdkitError(self.refused)
        return [f"{len(examples)} rows"] if examples else []

    def score(self, generated, references, examples):
        return {"exact": [1.0] * len(generated)}


def checked(folder, suite, **changes):
    recipe = load_recipe(tiny.recipe_table(folder, **changes))
    evaluation = attrs.evolve(recipe.evaluation, suites=(*recipe.evaluation.suites, NamedSuite("careful", suite)))
    recipe = attrs.evolve(recipe, evaluation=evaluation)
    said = []
    run = SimpleNamespace(
        recipe=recipe,
        path=folder,
        progress=SimpleNamespace(note=said.append),
        read_corpus=lambda: recipe.data.load(Silent()),
    )
    return as_facts(fit_together(run)), said


def test_what_a_suite_says_before_a_training_is_noted_and_reported(tmp_path):
    assert isinstance(Careful(), CheckedSuite)
    facts, said = checked(tmp_path, Careful(), test=7, evaluation__rows=4)
    assert said == ['check: suite "careful": 8 rows']
    run = json.loads(json.dumps({"stages": {"check": {"facts": facts}}}))
    (remarks,) = setup._notes(SimpleNamespace(run=run))
    assert remarks.sentences == ('suite "careful": 8 rows',)


def test_what_a_suite_refuses_ends_the_run_before_any_training(tmp_path):
    with pytest.raises(KdkitError, match="no such machine"):
        checked(tmp_path, Careful(refused="no such machine"))


def test_suites_that_say_nothing_leave_no_note(tmp_path):
    facts, said = checked(tmp_path, SimpleNamespace(score=Careful().score))
    assert said == []
    assert "notes" not in facts
    assert setup._notes(SimpleNamespace(run={"stages": {"check": {"facts": facts}}})) == []
