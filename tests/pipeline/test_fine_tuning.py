"""A trained teacher, fine-tuned in its last layers: what is trained, and what it did to the teacher, from plan to page."""

from __future__ import annotations

import json

import causal_kit
import pytest
import tiny
from attrs import evolve
from safetensors.torch import load_file

from kdkit.errors import RecipeError
from kdkit.evaluation import record
from kdkit.pipeline.plan import make_plan
from kdkit.pipeline.run import do_all, open_here
from kdkit.pipeline.stages import STAGES, teacher
from kdkit.recipe import load_recipe
from kdkit.report.closing.run import closing_text
from kdkit.report.parts import fine_tuning
from kdkit.report.read.run import read_run
from kdkit.report.summary import summary
from kdkit.system.progress import Silent

CHANGES = {
    "teacher__name": "hf-causal",
    "teacher__config": None,
    "teacher__vocab_size": None,
    "teacher__fine_tune": {"layers": 1, "epochs": 2, "batch_size": 8, "learning_rate": 5e-3, "best_by": "hard"},
    "student": {"name": "hf-causal", "from_teacher": {"layers": [0, 2]}},
    "training__best_by": "hard",
    "evaluation__suites": [],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("tuned")


@pytest.fixture(scope="module")
def changes(folder):
    causal_kit.model().save(folder / "base", texts={})
    return {**CHANGES, "teacher__model": str(folder / "base")}


@pytest.fixture(scope="module")
def run_dir(folder, changes):
    return tiny.run_here(folder, **changes).run_dir


def test_a_plan_says_which_layers_are_trained_and_with_how_many_parameters(folder, changes):
    recipe = load_recipe(tiny.recipe_table(folder, **changes))
    stages = {stage.name: stage for stage in make_plan(recipe, None, Silent()).stages}
    work = stages["teacher"].work
    assert "of which 2.35 k in the last layer are trained, 10 steps on the ground truth" in work, work
    all_layers = {**changes, "teacher__fine_tune": {**changes["teacher__fine_tune"], "layers": 0}}
    whole = load_recipe(tiny.recipe_table(folder, **all_layers))
    all_bytes = {stage.name: stage for stage in make_plan(whole, None, Silent()).stages}["teacher"].bytes
    assert stages["teacher"].bytes < all_bytes, "checkpoints hold what is trained"


def test_the_teacher_differs_from_its_beginning_in_the_last_layer_alone(folder, run_dir):
    before, after = (load_file(each / "model.safetensors") for each in (folder / "base", run_dir / "teacher"))
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed == {name for name in before if ".layers.2." in name or name == "model.norm.weight"}


def test_the_report_says_what_it_did_to_the_teacher(run_dir):
    found = record.read(run_dir).fine_tuning
    assert [each.difference.metric for each in found] == ["hard", "perplexity", "bits_per_byte", "accuracy"]
    hard = found[0]
    assert hard.after.value < hard.before.value
    assert hard.difference.value == pytest.approx(hard.after.value - hard.before.value)
    teacher = next(each for each in record.read(run_dir).scores if (each.model, each.metric) == ("teacher", "hard"))
    assert hard.after.value == pytest.approx(teacher.value, abs=0.02), "the cache rounds the same model's logits"
    (first, *_) = summary(run_dir)["fine_tuning"]
    assert (first["metric"], first["after"]["value"], first["verdict"]) == ("hard", hard.after.value, "better")
    page = (run_dir / "report.md").read_text()
    assert "## What fine-tuning did to the teacher" in page
    assert "Fine-tuning made the teacher better: hard loss" in page
    assert f"{hard.after.value:.3f} after (better)" in closing_text(run_dir)


def test_a_teacher_that_fine_tuning_made_worse_is_called_that(run_dir):
    facts = read_run(run_dir)
    hard = facts.evaluation.fine_tuning[0]
    worse = evolve(hard, difference=evolve(hard.difference, value=0.5, low=0.3, high=0.7))
    said = fine_tuning.sentence(evolve(facts, evaluation=evolve(facts.evaluation, fine_tuning=(worse,))))
    assert said is not None
    assert said.startswith("Fine-tuning made the teacher worse: hard loss")
    facts_of_worse = evolve(facts, evaluation=evolve(facts.evaluation, fine_tuning=(worse,)))
    assert [line[:12] for line in fine_tuning.in_short(facts_of_worse)] == [
        "hard loss 5.",
        "train it for",
        "or leave tea",
    ]
    alike = evolve(hard, difference=evolve(hard.difference, value=0.1, low=-0.3, high=0.5))
    said = fine_tuning.sentence(evolve(facts, evaluation=evolve(facts.evaluation, fine_tuning=(alike,))))
    assert said is not None
    assert "no difference to the teacher that is more than noise" in said


def test_the_store_keeps_the_teacher_by_the_layers_too(folder, changes, run_dir):
    stored = json.loads((run_dir / "run.json").read_text())["stages"]["teacher"]["facts"]["store"]
    stages = {}
    for layers, alpha in ((1, 0.25), (2, 0.5)):
        tuning = {**changes["teacher__fine_tune"], "layers": layers}
        table = tiny.recipe_table(folder, **{**changes, "teacher__fine_tune": tuning}, loss__alpha=alpha)
        with open_here(load_recipe(table), folder / "runs" / f"{layers}", fresh=False, progress=Silent()) as opened:
            do_all(opened, STAGES[:2])
            stages[layers] = teacher.entry_of(opened, opened.read_corpus())
    assert str(stages[1]) == stored, "whatever the loss is"
    assert stages[2] != stages[1]


def test_layers_of_a_new_model_are_refused(folder):
    with pytest.raises(RecipeError, match="the other layers of a new model"):
        load_recipe(tiny.recipe_table(folder, teacher__fine_tune__layers=1))
