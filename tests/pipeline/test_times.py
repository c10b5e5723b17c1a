"""How long a run will take: measured by a trial first, then by the last run of its kind."""

from __future__ import annotations

import io
import json

import attrs
import pytest
import tiny
from causal_kit import LLAMA

from kdkit.errors import Interrupted
from kdkit.pipeline import plan_time, times
from kdkit.pipeline.plan import as_json, make_plan
from kdkit.pipeline.plan_time import with_times
from kdkit.pipeline.prepared import Prepared
from kdkit.recipe import load_recipe
from kdkit.system.progress import Lines, Measured, Silent, StageShown, measured

CHANGES = {"test": 12, "training__validation_rows": 6, "evaluation__rows": 9}
SHOWN = StageShown(name="x", number=1, count=1, began=0.0)


def timed(folder, name="tiny", progress=None, **changes):
    recipe = load_recipe(tiny.recipe_table(folder, **{**CHANGES, **changes}))
    progress = progress if progress is not None else Silent()
    path = folder / "runs" / name
    prepared = Prepared(recipe, path, progress)
    return with_times(make_plan(recipe, path, progress, prepared), prepared, progress)


@pytest.fixture(scope="module")
def tried(tmp_path_factory):
    """A plan by a trial, what is in the store then, and a plan after a run."""
    folder, stream = tmp_path_factory.mktemp("timed"), io.StringIO()
    first = timed(folder, progress=Lines(stream, every=1e9))
    shown = stream.getvalue().splitlines()
    left = sorted(path.name for path in (folder / "runs" / "cache").rglob("*") if path.is_file())
    again = tiny.Notes()
    assert timed(folder, progress=again).stages == first.stages
    assert [len([note for note in each if "to measure times" in note]) for each in (shown, again.notes)] == [1, 0]
    tiny.run_here(folder, **CHANGES)
    return folder, first, left, shown


def test_a_trial_shows_its_stages_and_nothing_else_of_its_run(tried):
    _, _, _, shown = tried
    assert [line.partition(", 0:")[0] for line in shown if line.startswith("trial: ")] == [
        "trial: 8 of 8 stages, stage report"
    ]
    assert not [line for line in shown if line.startswith(("stage ", "train ", "capture"))]


def test_what_nothing_tells_of_is_tried_and_leaves_only_its_times(tried):
    _, plan, left, _ = tried
    assert plan.timed_by == "a few steps and rows on this machine"
    assert all(stage.seconds > 0 for stage in plan.stages)
    assert plan.seconds == sum(stage.seconds for stage in plan.stages)
    assert [name for name in left if name.endswith((".safetensors", ".jsonl", ".npz"))] == []
    assert as_json(plan)["seconds"] == plan.seconds
    assert "seconds" in as_json(plan)["stages"][0]


def test_a_run_tells_of_the_next_one_of_its_kind(tried):
    folder, *_ = tried
    took = json.loads((folder / "runs/tiny/run.json").read_text())["stages"]
    plan = timed(folder, "other", training__seed=7, loss__alpha=0.25)
    seconds = {stage.name: stage.seconds for stage in plan.stages}
    for stage in ("teacher", "distill", "evaluate"):
        assert seconds[stage] == pytest.approx(took[stage]["seconds"], rel=0.05, abs=0.02)
    longer = timed(folder, "other", training__epochs=20)
    (more,) = (stage.seconds for stage in longer.stages if stage.name == "distill")
    assert 2 * seconds["distill"] < more < 10.5 * seconds["distill"]
    done = timed(folder)
    assert done.seconds == 0
    assert all(stage.done and stage.seconds is None for stage in done.stages)


def test_of_long_texts_a_trial_reads_a_few_blocks_and_not_a_few_texts(tmp_path, monkeypatch):
    """Eight blocks a text: a batch of texts was nearly all that a run is judged on."""
    words = " ".join(source for source, _ in tiny.pairs(30))
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": f"{n} {words}"}) + "\n" for n in range(40)))
    data = {"name": "jsonl", "train": str(tmp_path / "texts.jsonl"), "text": "text", "test_share": 0.3}
    kept, write = [], plan_time.tables.write
    monkeypatch.setattr(plan_time, "MOST", plan_time.FEWEST)
    monkeypatch.setattr(
        plan_time.tables, "write", lambda path, what, table: [kept.append(table), write(path, what, table)]
    )
    causal = {"teacher__name": "hf-causal", "teacher__config": dict(LLAMA), "training__best_by": "hard"}
    student = {"name": "hf-causal", "from_teacher": {"layers": [0, 2]}}
    plan = timed(
        tmp_path, **causal, data=data, tokens={"max_length": 32}, student=student, evaluation__suites=[],
        training__validation_rows=0, evaluation__rows=0,
    )  # fmt: skip
    assert all(stage.seconds > 0 for stage in plan.stages)
    tried = {name: stage["work"] for name, stage in kept[-1].items()}
    assert tried["teacher"]["train teacher"]["units"] == tried["distill"]["train student"]["units"] == plan_time.FEWEST
    judged = (tried["teacher"]["validate"], tried["distill"]["validate"], tried["evaluate"]["score student"])
    assert [work["units"] for work in judged] == [8, 8, 8]  # the blocks of one text, of 40 and 104 that a run reads


@pytest.mark.parametrize(("parameters", "steps"), [(900_000, 30), (3_700_000, 24), (111_000_000, 3), (8 * 10**9, 3)])
def test_a_trial_of_a_small_model_has_more_steps(parameters, steps):
    assert plan_time._steps(parameters, 1900) == steps


def test_a_trial_that_is_stopped_says_that_nothing_of_it_is_kept(tmp_path, monkeypatch):
    def stopped(*_, **__):
        raise Interrupted("terminated; sealed 9 records; run the same command to resume", signal_exit_code=143)

    monkeypatch.setattr(plan_time, "run", stopped)
    with pytest.raises(
        Interrupted, match=r"^stopped while times were measured; nothing of that trial is kept$"
    ) as found:
        timed(tmp_path)
    assert found.value.signal_exit_code == 143
    assert not list((tmp_path / "runs" / "cache" / "times").iterdir())


def test_the_time_is_what_is_fixed_and_so_many_times_the_work():
    work = {
        "train student": {"units": 9, "rate": 0.5, "planned": 10},
        "learn codec": {"units": 3, "rate": 1.0, "planned": 0},
    }
    kept = {"seconds": 9.5, "work": work}  # two seconds of it are neither
    assert times.seconds_of(kept, {"train student": 30}) == pytest.approx(2 + 4.5 * 3 + 3)
    scored = {"seconds": 1.0, "work": {"score labels-only": {"units": 4, "rate": 0.25, "planned": 4}}}
    assert times.seconds_of(scored, {"score": 8, "score student on validation rows": 1}) == pytest.approx(2)


def test_a_unit_costs_the_same_whatever_the_seed_and_the_number_and_not_with_other_models(tmp_path):
    def key(**changes):
        return times.times_key(load_recipe(tiny.recipe_table(tmp_path, **changes)), "cpu")

    same = {"training__seed": 3, "training__epochs": 7, "teacher__fine_tune__max_steps": 2, "loss__alpha": 0.25}
    assert {key(), *(key(**{name: value}) for name, value in same.items()), key(evaluation__rows=3)} == {key()}
    other = {"training__batch_size": 4, "tokens__max_source": 9, "generation__beams": 2, "loss__alpha": 0.0}
    assert len({key(), *(key(**{name: value}) for name, value in other.items())}) == 5
    assert times.times_key(load_recipe(tiny.recipe_table(tmp_path)), "cuda") != key()


def test_work_within_work_counts_once_and_the_first_step_for_itself(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(measured.time, "perf_counter", lambda: now[0])
    progress = Measured(Silent())

    def passes(seconds):
        now[0] += seconds

    with progress.stage(SHOWN):
        passes(1)
        with progress.task("train student", total=3, unit="steps") as task:
            for seconds in (5, 2, 2):
                passes(seconds)
                task.advance()
            with progress.task("validate", total=4, unit="rows") as inner:
                passes(8)
                inner.advance(4)
            passes(1)
    stage = progress.stages["x"]
    train, validate = stage.work["train student"], stage.work["validate"]
    assert (stage.seconds, train.seconds, train.units, train.rate) == (19, 10, 3, 2)
    assert (validate.seconds, validate.units, validate.rate) == (8, 4, 2)
    with pytest.raises(ZeroDivisionError), progress.stage(attrs.evolve(SHOWN, name="failed")):
        raise ZeroDivisionError
    with progress.stage(attrs.evolve(SHOWN, name="resumed", before=3.0)):
        pass
    assert list(progress.stages) == ["x"]


def test_a_stage_that_took_its_result_from_the_store_tells_nothing():
    planned = {"train teacher": 10, "validate": 5}
    whole, taken, resumed = measured.MeasuredStage(), measured.MeasuredStage(), measured.MeasuredStage()
    whole.work["train teacher"] = measured.MeasuredWork(units=10)
    resumed.work["train teacher"] = measured.MeasuredWork(units=10, before=4)
    assert [times._is_whole(each, planned) for each in (whole, taken, resumed)] == [True, False, False]
