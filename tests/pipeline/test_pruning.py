"""Layers that a measure chooses: one choice for the student and its baselines, measured once, shown everywhere."""

from __future__ import annotations

import json
import sys

import pytest
import tiny
from causal_kit import LLAMA

from kdkit.api.values import KeptLayers
from kdkit.errors import UsageError
from kdkit.recipe import load_recipe
from kdkit.system.progress import Silent

WIDTH = {"num_attention_heads": 1, "intermediate_size": 20}
KEEP = {
    "teacher__name": "hf-causal",
    "teacher__config": {**LLAMA, "num_key_value_heads": 2},
    "student__name": "hf-causal",
    "student__from_teacher": {"keep": 2, "by": "loss", "tokens": 60, "width": WIDTH},
    "training__best_by": "loss",
    "training__epochs": 1,
    "evaluation__baselines": True,
}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("chosen")
    said = tiny.Notes()
    report = tiny.run_here(folder, progress=said, **KEEP)
    return folder, report.run_dir, said


def chosen_in(run_dir):
    return json.loads((run_dir / "run.json").read_text())["stages"]["teacher"]["facts"]["pruning"]


def test_the_student_has_the_layers_without_which_the_teacher_is_worst(done):
    _, run_dir, said = done
    chosen = chosen_in(run_dir)
    (stack,) = chosen["layers"]
    worst = sorted(range(3), key=lambda layer: -stack["scores"][layer])
    assert stack["kept"] == sorted(worst[:2])
    assert (stack["stack"], stack["count"], chosen["by"]) == ("layers", 3, "loss")
    assert chosen["tokens"] >= 60
    assert any(
        note.startswith("student: layers ") and "chosen by drop-one loss, in each" in note for note in said.notes
    )
    config = json.loads((run_dir / "student" / "best" / "config.json").read_text())
    assert (config["num_hidden_layers"], config["head_dim"], config["hidden_size"]) == (2, 8, 16)
    assert (config["num_attention_heads"], config["num_key_value_heads"], config["intermediate_size"]) == (1, 1, 20)


def test_the_baseline_and_the_untouched_student_have_the_same_layers(done):
    folder, run_dir, _ = done
    from kdkit import models
    from kdkit.runs.facts_table import from_table
    from kdkit.runs.stage_facts import BaselineMade, TeacherMade

    stages = json.loads((run_dir / "run.json").read_text())["stages"]
    chosen = from_table(TeacherMade, stages["teacher"]["facts"], where="run.json").pruning
    teacher = models.load_model(str(run_dir / "teacher"), models.DecoderOnly().auto)
    recipe = load_recipe(tiny.recipe_table(folder, **KEEP))
    built = recipe.student.build_pruned(chosen, tiny.tokenizer(), run_dir / "teacher", seed=3, device="cpu")
    named = models.keep_width(models.keep_layers(teacher, chosen.kept, seed=4), chosen.width, seed=5).state_dict()
    assert all(tensor.equal(named[name]) for name, tensor in built.module.state_dict().items())
    baseline = from_table(BaselineMade, stages["baseline"]["facts"], where="run.json")
    card = (run_dir / "student" / "best" / "README.md").read_text()
    said = f"It began with the teacher's {chosen.in_words()}."
    assert ", in each of them 1 of 2 heads and 20 of 32 feed-forward channels, chosen by activation norm on " in said
    assert said in card
    assert said in (run_dir / baseline.folder / "README.md").read_text()


def test_the_report_and_the_plan_say_which_and_why(done):
    folder, run_dir, _ = done
    (stack,) = chosen_in(run_dir)["layers"]
    page = (run_dir / "report.md").read_text()
    assert "## What the student is made of" in page
    assert "| layer | loss without it | difference | kept |" in page
    for layer, score in enumerate(stack["scores"]):
        line = next(line for line in page.splitlines() if line.startswith(f"| {layer} | {score:.3f} |"))
        assert line.endswith("| yes |" if layer in stack["kept"] else "| no |")
    html = (run_dir / "report.html").read_text()
    assert "more nats per token" in html
    assert "the teacher&#39;s layers before any training, what pruning alone leaves" in html
    left = page[page.index("What pruning alone leaves") :].partition("\n## ")[0]
    scores = json.loads((run_dir / "evaluation.json").read_text())["scores"]
    for model in ("untouched student", "labels only", "student", "teacher"):
        (hard,) = (
            each["value"]
            for each in scores
            if (each["model"], each["metric"])
            == (model.replace("untouched student", "untouched").replace(" ", "-"), "hard")
        )
        assert f"| {model} | {hard:.3f} (" in left

    from kdkit.pipeline.plan import make_plan

    recipe = load_recipe(tiny.recipe_table(folder, **KEEP))
    before = {stage.name: stage.work for stage in make_plan(recipe, folder / "runs" / "new", Silent()).stages}
    assert (
        "(2 layers, chosen by drop-one loss; heads and channels chosen by activation norm once the teacher is there)"
        in before["distill"]
    )
    assert any("made of the teacher's layers" in note for note in make_plan(recipe, run_dir, Silent()).notes)


def test_another_student_of_the_same_teacher_finds_what_was_measured(done, monkeypatch):
    folder, run_dir, _ = done
    from kdkit import models
    from kdkit.pipeline.pruning import choose
    from kdkit.store import store_of

    def ask(**changes):
        from_teacher = {
            key: value
            for key, value in {"keep": 1, "by": "loss", "tokens": 60, "width": WIDTH, **changes}.items()
            if value
        }
        recipe = load_recipe(tiny.recipe_table(folder, **{**KEEP, "student__from_teacher": from_teacher}))
        corpus, store = recipe.data.load(Silent()), store_of(recipe.store.dir, run_dir)
        return choose(recipe, corpus, run_dir / "teacher", store=store, device="cpu", progress=Silent())

    scores = chosen_in(run_dir)["layers"][0]["scores"]
    measured = []
    monkeypatch.setattr(models, "measure_importance", lambda *_: measured.append(1) or 1 / 0)
    (stack,) = ask().layers
    assert list(stack.scores) == scores
    assert stack.kept == (max(range(3), key=lambda layer: scores[layer]),)
    assert ask(by="spacing", keep=2, width=None).layers[0].kept == (0, 2)
    assert not measured
    for change in ({"tokens": 90}, {"by": "influence"}, {"by": "greedy"}):
        with pytest.raises(ZeroDivisionError):
            ask(**change)


def test_layers_are_left_out_one_after_another_unless_a_recipe_is_of_an_earlier_format(tmp_path):
    def by_and_digest(format_=3, **from_teacher):
        table = tiny.recipe_table(tmp_path, **{**KEEP, "student__from_teacher": from_teacher})
        recipe = load_recipe({"kdkit_recipe": format_, **table})
        return recipe.student.from_teacher.by, recipe.digest

    assert by_and_digest(keep=2) == by_and_digest(keep=2, by="greedy") == ("greedy", by_and_digest(keep=2)[1])
    assert by_and_digest(2, keep=2) == by_and_digest(2, keep=2, by="loss")
    assert by_and_digest(2, keep=2)[0] == "loss"
    assert by_and_digest(layers=[0, 2]) == by_and_digest(layers=[0, 2], by="loss")


@pytest.mark.parametrize(
    ("from_teacher", "said"),
    [
        ({"keep": 4}, r"student: from_teacher\.keep asks for 4 layers, but the teacher has 3; set it to 3 or less"),
        ({"keep": 0}, r"student\.from_teacher\.keep: must be at least 1, is 0"),
        ({"keep": 2, "by": "los"}, r'student\.from_teacher\.by: must be .*, is "los"; did you mean "loss"'),
        ({"keep": 2, "layers": [0, 1]}, "a measure chooses, and `layers` names them; leave one of them out"),
        ({}, "give `layers`, or `keep`"),
        ({"layers": [0], "by": "influence"}, "by chooses layers for `keep`, which is not given; leave it out"),
        ({"layers": [0], "tokens": 9}, "tokens says on how much is measured, and with the layers named nothing is"),
        ({"keep": 2, "width": {"intermediate_size": 40}}, "is 40, but the teacher has 32; set it to 32 or less"),
    ],
)
def test_what_cannot_be_chosen_is_refused_before_anything_runs(tmp_path, from_teacher, said):
    from kdkit.pipeline.estimate import estimate

    def planned():
        recipe = load_recipe(tiny.recipe_table(tmp_path, **{**KEEP, "student__from_teacher": from_teacher}))
        return estimate(recipe, recipe.data.load(Silent()))

    with pytest.raises(UsageError, match=said):
        planned()


def test_the_verb_prints_the_ranking_that_the_run_had(done, monkeypatch):
    folder, run_dir, _ = done
    from click.testing import CliRunner

    from kdkit import models
    from kdkit.cli.layers import command

    recipe = str(tiny.write_recipe(folder, **KEEP))
    monkeypatch.setattr(models, "measure_importance", lambda *_: 1 / 0)
    said = CliRunner().invoke(command, [recipe, "--run-dir", str(run_dir), "--json"])
    assert said.exit_code == 0, said.output
    assert json.loads(said.stdout) == chosen_in(run_dir)
    said = CliRunner().invoke(command, [recipe, "--run-dir", str(run_dir), "-o", "student.from_teacher.keep=1"])
    (stack,) = chosen_in(run_dir)["layers"]
    best = max(range(3), key=lambda layer: stack["scores"][layer])
    lines = said.stdout.splitlines()
    assert lines[0].split("  ") == ["layer", "loss without it", "kept"]
    assert lines[1].split() == [str(best), f"{stack['scores'][best]:.3f}", "yes"]
    assert [line.split()[-1] for line in lines[2:4]] == ["no", "no"]
    assert lines[5].startswith(f"kept: layer {best} of 3, chosen by drop-one loss")
    said = CliRunner().invoke(command, [recipe, "--run-dir", str(folder / "runs" / "none")])
    assert "is made by a run, and" in str(said.exception)


def test_both_stacks_of_an_encoder_decoder_are_ranked_apart(tmp_path):
    from kdkit.pipeline.pruning import choose

    tiny.model().save(tmp_path / "teacher", texts={})
    teacher = {"name": "hf-seq2seq", "model": str(tmp_path / "teacher")}

    def ask(keep):
        student = {"name": "hf-seq2seq", "from_teacher": {"keep": keep, "tokens": 30}}
        recipe = load_recipe(tiny.recipe_table(tmp_path, teacher=teacher, student=student))
        corpus = recipe.data.load(Silent())
        return recipe, choose(
            recipe, corpus, tmp_path / "teacher", store=tmp_path / "store", device="cpu", progress=Silent()
        )

    recipe, both = ask(1)
    for stack in both.layers:
        assert stack.kept == (max(range(2), key=lambda layer: stack.scores[layer]),)
    _, one = ask({"decoder": 1})
    encoder, decoder = one.layers
    assert (encoder.kept, encoder.scores) == ((0, 1), None)
    assert decoder == both.layers[1]
    built = recipe.student.build_pruned(both, tiny.tokenizer(), tmp_path / "teacher", seed=1, device="cpu")
    assert (built.module.config.num_layers, built.module.config.num_decoder_layers) == (1, 1)
    assert both.in_words().startswith(f"encoder layer {both.layers[0].kept[0]} of 2, decoder layer ")


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        ({"encoder": 3}, r"from_teacher\.keep asks for 3 encoder layers, but the teacher has 2; set it to 2 or less"),
        ({"decoder": 0}, r"student\.from_teacher\.keep\.decoder: must be at least 1, is 0"),
        ({}, r"student\.from_teacher\.keep: give how many layers of the encoder, of the decoder, or of both to keep"),
        ("six", r'student\.from_teacher\.keep: must be a whole number, is "six"'),
        (0, r"student\.from_teacher\.keep: must be at least 1, is 0"),
    ],
)
def test_how_many_layers_of_each_stack_is_checked(tmp_path, keep, said):
    from kdkit.pipeline.estimate import estimate

    def planned():
        student = {"name": "hf-seq2seq", "from_teacher": {"keep": keep}}
        recipe = load_recipe(tiny.recipe_table(tmp_path, student=student))
        return estimate(recipe, recipe.data.load(Silent()))

    with pytest.raises(UsageError, match=said):
        planned()


def test_a_loss_that_was_not_finite_is_not_printed_as_a_number_of_300_digits():
    from kdkit.cli.layers import _rows

    stack = KeptLayers(stack="layers", count=3, kept=(0, 2), scores=(sys.float_info.max, 1.5, None))
    assert _rows(stack) == [("2", "cannot be left out", "yes"), ("0", "not finite", "yes"), ("1", "1.500", "no")]
