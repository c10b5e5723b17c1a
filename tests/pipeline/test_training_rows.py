"""`training.rows`: a student that has fewer rows than its teacher."""

from __future__ import annotations

import json
from collections import Counter

import pytest
import tiny

from kdkit.data.splitting import drawn
from kdkit.errors import Mismatch, UsageError
from kdkit.evaluation.record import read_report
from kdkit.pipeline.estimate import estimate
from kdkit.pipeline.plan import make_plan
from kdkit.recipe import load_recipe
from kdkit.sweeps.reading import load_sweep
from kdkit.system.progress import Silent

CHANGES = {
    "evaluation__baselines": True,
    "training__best_by": "loss",
    "training__epochs": 1,
    "teacher__fine_tune__epochs": 1,
}
COUNTS = (24, 16)
ROLES = ("teacher", "student", "labels-only")


def recipe_of(folder, **changes):
    return load_recipe(tiny.recipe_table(folder, **{**CHANGES, **changes}))


def stages(folder, name) -> dict:
    return json.loads((folder / "runs" / name / "run.json").read_text())["stages"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs in one store: of 24 of 40 rows, then of 16; no two rows are alike."""
    folder = tmp_path_factory.mktemp("rows")
    for split, count in (("train", 40), ("validation", 10)):
        rows = [{"text": f"{split} {n}", "answer": f"{split[0]} {n % 7}"} for n in range(count)]
        (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for count in COUNTS:
        tiny.run_here(folder, f"r{count}", **CHANGES, training__rows=count)
    return folder


def test_only_the_rows_that_are_drawn_are_captured_and_a_cache_of_more_serves_fewer(folder):
    told = [stages(folder, f"r{count}") for count in COUNTS]
    assert [each["capture"]["facts"]["records"] for each in told] == [34, 26]
    assert [each["check"]["facts"]["capture_rows"] for each in told] == [34, 26]
    assert [each["capture"]["facts"]["reused"] for each in told] == [False, True]
    assert len({each["capture"]["facts"]["cache"] for each in told}) == 1


def test_student_and_labels_only_have_these_rows_and_the_teacher_has_all(folder):
    told = [stages(folder, f"r{count}") for count in COUNTS]
    assert [each["distill"]["facts"]["steps"] for each in told] == [3, 2]
    assert [each["baseline"]["facts"]["reused"] for each in told] == [False, False]
    assert [each["teacher"]["facts"]["reused"] for each in told] == [False, True]
    steps = {role: max(line["step"] for line in tiny.metrics(folder / "runs" / "r24", role)) for role in ROLES}
    assert steps == {"teacher": 5, "student": 3, "labels-only": 3}


def test_the_baselines_that_copy_know_no_more_rows_than_the_student(folder):
    recipe = recipe_of(folder)
    train = recipe.data.load(Silent()).train
    for count in COUNTS:
        path = folder / "runs" / f"r{count}" / "predictions"
        targets = [row.target for row in drawn(train, count)]
        said = [json.loads(line)["text"] for line in (path / "nearest.jsonl").read_text().splitlines()]
        assert set(said) <= set(targets)
        constant = json.loads((path / "constant.jsonl").read_text().splitlines()[0])["text"]
        assert constant == Counter(targets).most_common(1)[0][0]


def test_the_report_says_how_many_of_the_rows(folder):
    said = [line for line in (folder / "runs" / "r16" / "report.md").read_text().splitlines() if "16 of 40" in line]
    assert said == ["- rows: 16 of 40"]


def test_another_number_of_rows_is_another_run_and_0_has_the_digest_of_before(folder):
    with pytest.raises(Mismatch, match=r"training\.rows: 16 there, 24 in this recipe"):
        make_plan(recipe_of(folder, training__rows=24), folder / "runs" / "r16", Silent())
    assert recipe_of(folder, training__rows=0).digest == recipe_of(folder).digest
    assert recipe_of(folder, training__rows=16).digest != recipe_of(folder).digest
    assert read_report(folder / "runs" / "r16").scores


def test_the_plan_counts_the_rows_that_are_drawn(tmp_path):
    recipe = recipe_of(tmp_path, training__rows=16, training__epochs=3)
    plan = {each.name: each for each in make_plan(recipe, tmp_path / "runs" / "new", Silent()).stages}
    whole = recipe_of(tmp_path, training__epochs=3)
    plan_of_all = {each.name: each for each in make_plan(whole, tmp_path / "runs" / "new", Silent()).stages}
    assert "6 steps, 3 epochs over 16 of 40 rows" in plan["distill"].work
    assert "6 steps" in plan["baseline"].work
    assert "5 steps" in plan["teacher"].work
    assert "40 train" in plan["data"].work
    assert "logits of 26 rows" in plan["capture"].work
    for name in ("capture", "distill", "baseline"):
        assert 0 < plan[name].tokens < plan_of_all[name].tokens
    assert plan["capture"].bytes < plan_of_all["capture"].bytes
    assert plan["teacher"].tokens == plan_of_all["teacher"].tokens


def test_a_teacher_may_have_fewer_rows_too(tmp_path):
    recipe = recipe_of(tmp_path, training__rows=8, teacher__fine_tune__rows=24)
    found = estimate(recipe, recipe.data.load(Silent()))
    assert (found.rows["train"], found.teacher_steps, found.student_steps, found.capture_rows) == (24, 3, 1, 18)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"training__rows": 41}, r"training\.rows is 41, but the data set has 40 training rows; lower it, or leave it"),
        ({"teacher__fine_tune__rows": 1000}, r"teacher\.fine_tune\.rows is 1,000, but the data set has 40"),
        ({"training__rows": 7}, "7 training rows do not fill one batch of 8"),
    ],
)
def test_rows_that_there_are_not_are_refused(tmp_path, changes, sentence):
    recipe = recipe_of(tmp_path, **changes)
    with pytest.raises(UsageError, match=sentence):
        estimate(recipe, recipe.data.load(Silent()))


def test_a_sweep_over_sizes_plans_each_size_and_says_a_fact_once(tmp_path, capsys):
    import tomli_w

    from kdkit import cli

    changes = CHANGES | {"teacher__fine_tune": None}  # of which a plan says something
    table = tiny.recipe_table(tmp_path, **changes) | {"sweep": {"grid": {"training.rows": [8, 16]}, "seeds": [1, 2]}}
    sweep = load_sweep(table)
    assert [trial.recipe.training.rows for trial in sweep.trials] == [8, 16, 8, 16]
    path = tmp_path / "sizes.toml"
    path.write_text(tomli_w.dumps(table))
    with pytest.raises(SystemExit):
        cli.main(["plan", str(path), "--run-dir", str(tmp_path / "runs" / "sizes")])
    said = capsys.readouterr().out
    assert "\n  training.rows: 8, 16\n  seeds: 1, 2\n" in said
    notes = [line for line in said.splitlines() if line.startswith("note: ")]
    assert len(notes) == len(set(notes)) > 0
    assert "one of 2 trials with 8 rows of this data set, teacher and codec" in said
    assert "one of 2 trials with 16 rows of this data set, teacher and codec" in said
