"""The stage `check`: metric suites see the rows that they will score, and what they say reaches run.json and report."""

from __future__ import annotations

import json
from types import SimpleNamespace

import attrs
import pytest
import tiny

from kdkit.api import CheckedSuite
from kdkit.api.suites import NamedSuite
from kdkit.errors import KdkitError
from kdkit.pipeline.run import run
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
        store=folder / "store",
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


@attrs.frozen
class Fails:
    """A suite that fails where there are as many rows as this."""

    rows: int

    def score(self, generated, references, examples):
        if len(examples) >= self.rows:
            raise ZeroDivisionError("division by zero")
        return {"exact": [1.0] * len(generated)}


@pytest.mark.parametrize(
    ("suite", "message"),
    [
        (Fails(3), 'metric suite "careful" fails on 3 rows: ZeroDivisionError: division by zero'),
        (SimpleNamespace(score=lambda *_: None), 'metric suite "careful" returned None'),
        (SimpleNamespace(score=lambda *_: {"m": 1.0}), 'returned 1.0 as "m"; it must return one value for each row'),
        (SimpleNamespace(score=lambda *_: {"m": [1.0]}), 'returned 1 values of "m" for 3 rows'),
        (SimpleNamespace(score=lambda g, *_: {3: [1.0] * len(g)}), "names a metric 3; a name must be text"),
        (
            SimpleNamespace(score=lambda g, *_: {"m": [len(t) and 1.0 for t in g[:-1]] + ["x"]}),
            "returned 'x' as \"m\" of row 2",
        ),
        (
            SimpleNamespace(score=lambda g, *_: {"m": [1 / 2] * len(g)}, directions={"m": "up"}),
            "states 'up' as the direction",
        ),
    ],
)
def test_a_suite_that_fails_does_so_before_any_training(tmp_path, suite, message):
    with pytest.raises(KdkitError) as raised:
        checked(tmp_path, suite)
    assert message in str(raised.value)


def test_a_suite_that_fails_when_all_is_trained_loses_no_scores_of_others(tmp_path):
    recipe = load_recipe(tiny.recipe_table(tmp_path, test=6, training__epochs=1, teacher__fine_tune__epochs=1))
    suites = (NamedSuite("late", Fails(6)), *recipe.evaluation.suites)
    late = attrs.evolve(recipe, evaluation=attrs.evolve(recipe.evaluation, suites=suites))
    folder = tmp_path / "runs" / "late"
    with pytest.raises(
        KdkitError, match=r'"late" fails on 6 rows: ZeroDivisionError.*; all other scores are in .*json'
    ):
        run(late, folder)
    kept = json.loads((folder / "evaluation.json").read_text())["scores"]
    assert {"text", "loss"} <= {score["suite"] for score in kept}
    assert "late" not in {score["suite"] for score in kept}
    written = (folder / "predictions" / "student.jsonl").read_bytes()
    run(recipe, folder)  # with the suite mended: nothing is trained or written again
    assert (folder / "predictions" / "student.jsonl").read_bytes() == written
    assert json.loads((folder / "evaluation.json").read_text())["scores"] == kept


def test_suites_that_say_nothing_leave_no_note(tmp_path):
    facts, said = checked(tmp_path, SimpleNamespace(score=Careful().score))
    assert said == []
    assert "notes" not in facts
    assert setup._notes(SimpleNamespace(run={"stages": {"check": {"facts": facts}}})) == []
