"""What a run came to: the teacher beside what learnt nothing first, then the student beside labels only, then the price."""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil

import numpy as np
import pytest
from attrs import asdict, evolve, has
from run_folders import RECIPE, without_baselines, write_json, write_run_folder

from kdkit.api.values import Cost, Difference, Direction, Interval, Score
from kdkit.evaluation.row_scores import RowKey, RowScores
from kdkit.report.closing.run import closing_text
from kdkit.report.numbers.conclusion import BETTER, NOISE, WORSE, Beside, Conclusion, Ending, conclude
from kdkit.report.numbers.next_step import next_step
from kdkit.report.numbers.pairs import Pair
from kdkit.report.numbers.student_folder import student_folder
from kdkit.report.page import markdown
from kdkit.report.parts import verdict
from kdkit.report.read.run import read_run
from kdkit.report.run import assemble
from kdkit.report.summary import summary
from kdkit.runs.model_card import CARD_FILE

M = "\u2212"
TINY = Interval(value=-4e-7, low=-5e-7, high=-3e-7, count=60)
"""A difference that is outside noise and less than three decimals show."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run folder. Not to be changed."""
    return write_run_folder(tmp_path_factory.mktemp("runs") / "oracle-small", rows=60)


def score(model, value, direction="higher"):
    return Score(
        model=model, against="truth", suite="text", metric="f1", value=value, low=value - 0.03, high=value + 0.03,
        count=60, direction=Direction(direction),
    )  # fmt: skip


def cost(parameters):
    return Cost(
        parameters=parameters, bytes_on_disk=4 * parameters, seconds_per_sample=1.0, seconds_low=0.9, seconds_high=1.1,
        batch_size=4, beams=4,
    )  # fmt: skip


def beside(model, other, value, other_value, verdict):
    apart = Interval(
        value=value - other_value, low=value - other_value - 0.01, high=value - other_value + 0.01, count=60
    )
    return Beside(model=model, other=other, value=value, other_value=other_value, difference=apart, verdict=verdict)


def conclusion(**parts):
    """A run whose teacher is well above the nearest row, its student between them, labels only a little below it."""
    pair = Pair(
        suite="text", metric="f1", against="truth", teacher=score("teacher", 0.58), student=score("student", 0.57)
    )
    known = {
        "pair": pair,
        "split": "test",
        "teacher": (
            beside("teacher", "constant", 0.58, 0.26, BETTER),
            beside("teacher", "nearest", 0.58, 0.38, BETTER),
        ),
        "gain": beside("student", "labels-only", 0.57, 0.55, BETTER),
        "imitation": beside("student", "teacher", 0.57, 0.58, NOISE),
        "costs": {"teacher": cost(1000), "student": cost(470)},
    }
    return Conclusion(**(known | parts))


@pytest.mark.parametrize(
    ("parts", "ending", "sentence", "support"),
    [
        ({}, Ending.HELPED, "The teacher is worth imitating, and distillation beat training on labels only.",
         "F1 0.570 against 0.550 for labels only: +0.020 (95 % interval +0.010 to +0.030), with 47 % of the teacher's parameters."),
        ({"gain": beside("student", "labels-only", 0.57, 0.565, NOISE)}, Ending.NO_DIFFERENCE,
         "The teacher is worth imitating, but distillation did not clearly beat training on labels only.",
         f"F1 0.570 against 0.565 for labels only: +0.005 (95 % interval {M}0.005 to +0.015), with 47 % of the teacher's parameters."),
        ({"gain": beside("student", "labels-only", 0.57, 0.6, WORSE), "costs": {}}, Ending.HURT,
         "The teacher is worth imitating, but distillation did worse than training on labels only.",
         f"F1 0.570 against 0.600 for labels only: {M}0.030 (95 % interval {M}0.040 to {M}0.020)."),
        ({"gain": evolve(beside("student", "labels-only", 0.57, 0.5700004, WORSE), difference=TINY), "costs": {}}, Ending.HURT,
         "The teacher is worth imitating, but distillation did worse than training on labels only, by less than 0.001.",
         "F1 0.570 against 0.570 for labels only: 0.000 (95 % interval 0.000 to 0.000)."),
        ({"gain": beside("student", "labels-only", 0.57, 0.6, NOISE), "surpassed": beside("teacher", "labels-only", 0.58, 0.6, WORSE)},
         Ending.NO_DIFFERENCE, "Training on labels only beat the teacher itself, and distillation did not clearly beat training on labels only.",
         (f"F1 0.570 against 0.600 for labels only: {M}0.030 (95 % interval {M}0.040 to {M}0.020); teacher 0.580, with 47 % of the "
          "teacher's parameters.")),
        ({"surpassed": beside("teacher", "labels-only", 0.5, 0.55, WORSE), "costs": {}}, Ending.HELPED,
         "The teacher is worth imitating, and distillation beat training on labels only.",
         "F1 0.570 against 0.550 for labels only: +0.020 (95 % interval +0.010 to +0.030); teacher 0.500."),
        ({"teacher": ()}, Ending.HELPED, "Distillation beat training on labels only.",
         "F1 0.570 against 0.550 for labels only: +0.020 (95 % interval +0.010 to +0.030), with 47 % of the teacher's parameters."),
        ({"gain": None}, Ending.NOT_COMPARED, "The student is within noise of its teacher.",
         ("F1 0.570 against 0.580 for the teacher, with 47 % of the teacher's parameters. "
         "Whether distillation beats labels only is not known: the baselines were switched off.")),
        ({"gain": None, "imitation": None, "costs": {}}, Ending.NOT_COMPARED,
         "The student is scored, but there is no score of its teacher in F1.",
         "F1 0.570. Whether distillation beats labels only is not known: the baselines were switched off."),
        ({"ahead": (beside("nearest", "student", 0.7, 0.57, BETTER),)}, Ending.HELPED,
         "The teacher is worth imitating, and distillation beat training on labels only.",
         ("F1 0.570 against 0.550 for labels only: +0.020 (95 % interval +0.010 to +0.030). "
         "Better than the student without having learnt anything: nearest training row 0.700.")),
        ({"pair": None}, Ending.UNSCORED, "This run has no score of its student yet.", ""),
    ],
)  # fmt: skip
def test_the_verdict_asks_of_the_teacher_then_of_labels_only_then_of_the_price(
    tmp_path, parts, ending, sentence, support
):
    (tmp_path / "recipe.toml").write_text(RECIPE.replace("bootstrap = 1000", "bootstrap = 1000\nbaselines = false"))
    found = conclusion(**parts)
    said = verdict.of_run(read_run(tmp_path), found)
    assert found.ending is ending
    assert (said.sentence, said.support) == (sentence, support)


@pytest.mark.parametrize(
    ("student", "price"),
    [
        (470, "with 47 % of the teacher's parameters."),
        (1000, "with as many parameters as the teacher."),
        (999, "with 99.9 % of the teacher's parameters."),
        (1500, "with 150 % of the teacher's parameters."),
        (0, "+0.030)."),
    ],
)
def test_the_price_is_a_share_of_the_parameters_and_no_time(folder, student, price):
    said = verdict.of_run(read_run(folder), conclusion(costs={"teacher": cost(1000), "student": cost(student)}))
    assert said.support.endswith(price)
    assert "time" not in said.text


def changed(folder, tmp_path, **parts):
    """A copy of a run folder with other parts of its evaluation."""
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy)
    found = json.loads((copy / "evaluation.json").read_text())
    for key, value in parts.items():
        found[key] = [asdict(each) if has(type(each)) else each for each in value] if isinstance(value, list) else value
    write_json(copy / "evaluation.json", found)
    return copy


def apart(value, half, than):
    ends = {"low": value - half, "high": value + half}
    return Difference(suite="text", metric="f1", value=value, count=60, than=than, **ends)


def with_scores(folder, tmp_path, **values):
    """A copy in which some models score other than they did, each with an interval of 0.03 either way."""
    scores = json.loads((folder / "evaluation.json").read_text())["scores"]
    for entry in scores:
        if (entry["suite"], entry["metric"], entry["against"]) == ("text", "f1", "truth") and entry["model"] in values:
            value = values[entry["model"]]
            entry.update(value=value, low=value - 0.03, high=value + 0.03)
    return changed(folder, tmp_path, scores=scores)


@pytest.mark.parametrize(
    ("gain", "ending"),
    [(0.03, Ending.HELPED), (-0.03, Ending.HURT), (0.01, Ending.NO_DIFFERENCE), (0.02, Ending.NO_DIFFERENCE)],
)
def test_labels_only_differ_where_the_interval_of_the_difference_leaves_out_0(folder, tmp_path, gain, ending):
    copy = changed(folder, tmp_path, differences=[apart(gain, 0.02, "labels-only"), apart(-0.1, 0.02, "teacher")])
    facts = read_run(copy)
    assert conclude(facts).ending is ending
    page = assemble(facts)
    assert f"student minus teacher | {M}0.100 ({M}0.120 to {M}0.080, worse)" in markdown.render(page)
    assert "picked on the validation rows by text.f1; there the student's F1 is 0.349" in page.verdict.detail
    assert page.verdict.text in closing_text(copy).replace("\n", " ")
    assert (summary(copy)["verdict"], summary(copy)["ending"]) == (page.verdict.text, ending)


@pytest.mark.parametrize(
    ("drawn", "fine_tune", "told"),
    [
        (0, {"rows": 0}, ""),
        (20_000, {"rows": 0}, ""),
        (2000, {"rows": 0}, " The teacher was trained on 18,204 rows, the student and labels only on 2,000."),
        (0, {"rows": 500}, " The teacher was trained on 500 rows, the student and labels only on 18,204."),
        (2000, None, " The student and labels only were trained on 2,000 of 18,204 rows."),
    ],
)
def test_below_the_verdict_stands_how_far_its_numbers_reach(folder, drawn, fine_tune, told):
    facts = read_run(folder)
    teacher = {"name": "hf-seq2seq"} | ({"fine_tune": fine_tune} if fine_tune else {})
    recipe = {**facts.recipe, "training": {**facts.table("training"), "rows": drawn}, "teacher": teacher}
    page = assemble(evolve(facts, recipe=recipe))
    scored = next(each for each in facts.evaluation.scores if each.model == "student").count
    wanted = f"Intervals cover the {scored} test rows of this one run, not other seeds.{told}"
    assert page.verdict.scope == wanted
    assert f"\n\n{wanted}\n\n" in markdown.render(page)


def test_of_a_teacher_that_is_not_above_what_learnt_nothing_only_that_is_said(folder, tmp_path):
    copy = with_scores(folder, tmp_path, teacher=0.04, student=0.29, constant=0.05, nearest=0.02)
    said = assemble(read_run(copy)).verdict
    assert said.sentence == (
        "The teacher is not worth imitating: it is not clearly better than a constant answer or copying the nearest "
        "training row."
    )
    assert said.support == (
        "F1: teacher 0.040, constant 0.050, nearest training row 0.020. "
        "What the student learnt from this teacher cannot be judged."
    )
    assert "0.290" not in said.text + said.detail
    assert not re.search(r"\d %", said.text), "no share of a teacher that is below a constant"
    assert summary(copy)["verdict"] == said.text


def test_the_teacher_and_what_learnt_nothing_are_compared_row_by_row_where_rows_are_there(folder, tmp_path):
    copy = with_scores(folder, tmp_path, teacher=0.12, student=0.1, constant=0.1, nearest=0.11)
    rows = np.random.default_rng(0).random(200) / 5
    key = RowKey("teacher", "truth", "text", "f1")
    RowScores(
        ids=tuple(map(str, range(200))),
        values={
            key: rows + 0.02,  # above by the same in every row, so no interval holds 0
            key._replace(model="constant"): rows,
            key._replace(model="nearest"): rows + 0.02 * (np.arange(200) % 2 * 2),
        },
    ).write(copy)
    said = assemble(read_run(copy)).verdict
    assert said.sentence.endswith("not clearly better than copying the nearest training row.")
    assert re.search(rf"nearest training row 0\.110 \(difference \S+, 95 % interval {M}\S+ to \+\S+\)", said.support)


def test_a_baseline_that_learnt_nothing_and_is_above_the_student_is_in_the_verdict(folder, tmp_path):
    copy = with_scores(folder, tmp_path, teacher=0.9, nearest=0.36)
    told = "Better than the student without having learnt anything: nearest training row 0.360."
    assert told not in summary(copy)["verdict"], "their intervals overlap"
    rows = np.random.default_rng(0).random(200)
    key = RowKey("student", "truth", "text", "f1")
    RowScores(ids=tuple(map(str, range(200))), values={key: rows, key._replace(model="nearest"): rows + 0.008}).write(
        copy
    )
    assert told in summary(copy)["verdict"], "row by row it is above"


def with_failures(folder, tmp_path, teacher):
    """A copy whose headline is a metric of which less is better; more of the student's texts than of others' fail."""
    names = {"against": "truth", "suite": "execution", "metric": "does_not_run", "direction": "lower"}
    failures = [
        {"model": model, **names, "value": value, "low": value - 0.05, "high": value + 0.05, "count": 60}
        for model, value in (("labels-only", 0.2), ("constant", 0.2), ("teacher", teacher), ("student", 0.4))
    ]
    differences = [
        {**{key: names[key] for key in names if key != "against"}, "value": 0.2, "low": 0.1, "high": 0.3, "count": 60,
         "model": "student", "than": than}
        for than in ("teacher", "labels-only")
    ]  # fmt: skip
    found = json.loads((folder / "evaluation.json").read_text())
    copy = changed(
        folder, tmp_path, scores=[*found["scores"], *failures], differences=[*found["differences"], *differences]
    )
    (copy / "recipe.toml").write_text(RECIPE.replace("text.f1", "execution.does_not_run"))
    return copy


def test_a_rise_of_a_metric_of_which_less_is_better_is_worse(folder, tmp_path):
    copy = with_failures(folder, tmp_path, teacher=0.08)
    said = assemble(read_run(copy)).verdict
    assert conclude(read_run(copy)).ending is Ending.HURT
    assert said.support == (
        "Does not run 0.400 against 0.200 for labels only: +0.200 (95 % interval +0.100 to +0.300; less is better). "
        "Better than the student without having learnt anything: constant 0.200."
    )
    (told,) = [each for each in summary(copy)["rows"] if each["metric"] == "does_not_run"]
    assert (told["better"], told["retention"]) == ("less", None)


def test_a_teacher_that_errs_more_than_what_learnt_nothing_is_not_better_than_it(folder, tmp_path):
    facts = read_run(with_failures(folder, tmp_path, teacher=0.5))
    assert conclude(facts).ending is Ending.TEACHER_NOT_WORTH_IT
    assert "teacher 0.500, constant 0.200 (less is better)." in verdict.of_run(facts).support


@pytest.mark.parametrize(
    ("sense", "teacher", "student", "nearest", "retention"),
    [
        ("higher", 0.5, 0.4, 0.1, 0.8),
        ("higher", 0.5, 0.6, 0.1, 1.2),
        ("higher", 0.1, 0.5, 0.2, None),  # a share of what is below a baseline
        ("higher", 0.01, 0.5, 0.0, None),  # near 0: 50 times as much of nothing
        ("lower", 0.5, 0.4, 0.6, None),
        ("neither", 3.1, 3.2, 0.1, None),
        ("higher", math.nan, 0.5, 0.1, None),
    ],
)
def test_retention_is_left_out_where_it_says_nothing(sense, teacher, student, nearest, retention):
    pair = Pair(
        suite="text", metric="f1", against="truth", teacher=score("teacher", teacher), student=score("student", student),
        baselines={"nearest": score("nearest", nearest)}, direction=Direction(sense),
    )  # fmt: skip
    assert pair.retention == (None if retention is None else pytest.approx(retention))


def test_without_a_test_split_the_verdict_says_so(folder, tmp_path):
    copy = changed(folder, tmp_path, split="validation")
    assert "There is no test split" in assemble(read_run(copy)).verdict.detail


def test_a_run_whose_loss_needs_no_teacher_has_no_second_student(folder, tmp_path):
    scores = json.loads((folder / "evaluation.json").read_text())["scores"]
    rest = [entry for entry in scores if entry["model"] != "labels-only"]
    copy = changed(folder, tmp_path, scores=rest, differences=[apart(-0.1, 0.02, "teacher")])
    said = assemble(read_run(copy)).verdict
    assert said.sentence == "The student is not as good as its teacher."
    assert "this run's loss does not use the teacher" in said.support


@pytest.mark.parametrize(
    ("parts", "recipe", "options"),
    [
        ({}, ("seed = 42", "seed = 42"), [["training.seed=43", "oracle-small-seed-43"]]),
        ({"gain": beside("student", "labels-only", 0.57, 0.56, NOISE)}, ("alpha = 0.5", "alpha = 0.5"),
         [["loss.alpha=1", "oracle-small-alpha-1"]]),
        ({"gain": beside("student", "labels-only", 0.57, 0.6, WORSE)}, ("alpha = 0.5", "alpha = 1.0"),
         [["loss.alpha=0.5", "oracle-small-alpha-0.5"]]),
        ({"gain": beside("student", "labels-only", 0.57, 0.6, WORSE)}, ("alpha = 0.5", "alpha = {start = 0, end = 1}"),
         [["training.seed=43", "oracle-small-seed-43"]]),
        ({"teacher": (beside("teacher", "constant", 0.1, 0.2, WORSE),)}, ("epochs = 4", "epochs = 4"),
         [["teacher.fine_tune.epochs=8", "oracle-small-longer-teacher"]]),
        ({"gain": beside("student", "labels-only", 0.57, 0.6, NOISE), "surpassed": beside("teacher", "labels-only", 0.58, 0.6, WORSE)},
         ("epochs = 4", "epochs = 4"), [["teacher.fine_tune.epochs=8", "oracle-small-longer-teacher"]]),
        ({"gain": None}, ("bootstrap = 1000", "bootstrap = 1000\nbaselines = false"),
         [["evaluation.baselines=true", "oracle-small-with-baselines"]]),
        ({"pair": None}, ("", ""), []),
    ],
)  # fmt: skip
def test_the_next_step_follows_from_how_the_run_ended(folder, parts, recipe, options):
    facts = read_run(folder)
    text = facts.recipe_text.replace(*recipe)
    import tomllib

    facts = evolve(facts, recipe=tomllib.loads(text))
    step = next_step(facts, conclusion(**parts))
    runs = [] if step is None else [words for each in step.commands if (words := shlex.split(each))[1] == "run"]
    assert runs == [
        ["kdkit", "run", "runs/oracle-small/recipe.toml", "-o", option, "--run-dir", f"runs/{name}"]
        for option, name in options
    ]


def test_after_a_try_on_few_rows_the_whole_recipe_is_next(folder):
    facts = read_run(folder)
    tried = {**facts.recipe, "name": "oracle-small-limit-80", "data": {**facts.table("data"), "train_rows": 80}}
    steps = [
        next_step(evolve(facts, recipe=recipe), conclusion())
        for recipe in (tried, tried | {"name": "oracle"}, tried | {"data": facts.table("data")})
    ]
    assert steps[0].words == "This was a try on 80 rows of each split at most: run the recipe without --limit."
    assert [bool(step.commands) for step in steps] == [False, True, True]


def test_a_student_is_told_with_the_command_and_the_code_that_use_it(folder, tmp_path):
    copy = changed(folder, tmp_path)
    assert student_folder(read_run(copy)) is None
    best = copy / "student" / "best"
    best.mkdir(parents=True)
    found = student_folder(read_run(copy))
    assert (found.path, found.code) == ("runs/oracle-small/student/best", "")
    assert found.predict == "kdkit predict runs/oracle-small --input rows.jsonl"
    (best / CARD_FILE).write_text('# a card\n\n```python\nopen("PATH/OF/THIS/FOLDER")\n```\n\n```toml\na = 1\n```\n')
    assert student_folder(read_run(copy)).code == 'open("runs/oracle-small/student/best")'
    assert summary(copy)["student"] == "runs/oracle-small/student/best"


def test_baselines_that_were_switched_off_are_named(tmp_path):
    folder = without_baselines(write_run_folder(tmp_path / "run", rows=12))
    (folder / "recipe.toml").write_text(RECIPE.replace("bootstrap = 1000", "bootstrap = 1000\nbaselines = false"))
    assert "the baselines were switched off" in assemble(read_run(folder)).verdict.support


def test_a_teacher_that_labels_only_beat_is_to_be_fine_tuned_first(folder, tmp_path):
    assert conclude(read_run(folder)).surpassed is None
    copy = with_scores(folder, tmp_path, teacher=0.3, student=0.5, **{"labels-only": 0.52})
    facts = read_run(copy)
    surpassed = conclude(facts).surpassed
    assert surpassed is not None
    assert (surpassed.value, surpassed.other_value, surpassed.verdict) == (0.3, 0.52, WORSE)
    teacher = {"name": "hf-causal", "model": "some/model"}
    step = next_step(
        evolve(facts, recipe=facts.recipe | {"teacher": teacher}), conclusion(gain=None, surpassed=surpassed)
    )
    assert step is None or "Fine-tune" not in step.words  # nothing is compared with labels only
    gain = beside("student", "labels-only", 0.5, 0.52, NOISE)
    step = next_step(
        evolve(facts, recipe=facts.recipe | {"teacher": teacher}), conclusion(gain=gain, surpassed=surpassed)
    )
    assert step.words == "Fine-tune the teacher on your rows first, or name a better one in [teacher]."
    assert "-o teacher.fine_tune.epochs=1" in step.commands[0]
