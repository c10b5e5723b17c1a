from __future__ import annotations

import json
import shutil

import attrs
import pytest
import tiny

import kdkit
from kdkit import models
from kdkit.errors import Mismatch, MissingInput, UsageError
from kdkit.pipeline.plan import as_json, make_plan
from kdkit.pipeline.stages import STAGES
from kdkit.recipe import load_recipe
from kdkit.system.progress import Silent

# A test split, and fewer validation rows than there are, so that each number has its own meaning.
CHANGES = {"test": 12, "training__validation_rows": 6, "evaluation__rows": 9, "training__max_steps": 8}


def plan_of(folder, name="tiny", **changes):
    recipe = load_recipe(tiny.recipe_table(folder, **changes))
    return make_plan(recipe, folder / "runs" / name, Silent())


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A plan, and the folder of the run that followed."""
    folder = tmp_path_factory.mktemp("planned")
    plan = plan_of(folder, **CHANGES)
    tiny.run_here(folder, **CHANGES)
    return folder, plan


def stage(plan, name):
    return next(each for each in plan.stages if each.name == name)


def facts(folder, name) -> dict:
    return json.loads((folder / "runs" / "tiny" / "run.json").read_text())["stages"][name]["facts"]


def test_a_plan_lists_the_stages_of_a_run_none_done(run):
    _, plan = run
    assert [each.name for each in plan.stages] == [each.name for each in STAGES]
    assert not any(each.done for each in plan.stages)
    assert all(each.work for each in plan.stages)


def test_the_planned_numbers_are_those_of_the_run(run):
    folder, plan = run
    capture, distill = facts(folder, "capture"), facts(folder, "distill")
    assert "logits of 55 rows" in stage(plan, "capture").work
    assert capture["records"] <= 55  # rows of equal content are kept once
    assert capture["tokens"] <= stage(plan, "capture").tokens
    assert "8 steps" in stage(plan, "distill").work
    assert distill["steps"] == 8
    assert "10 steps" in stage(plan, "teacher").work
    assert [line["step"] for line in tiny.metrics(folder / "runs" / "tiny", "teacher")] == list(range(1, 11))
    assert "9 test rows with 1 beam" in stage(plan, "evaluate").work
    evaluation = json.loads((folder / "runs" / "tiny" / "evaluation.json").read_text())
    assert (evaluation["split"], evaluation["rows"]) == ("test", 9)
    size = evaluation["costs"]["student"]["parameters"]
    assert facts(folder, "check")["student"]["parameters"] == size == distill["parameters"]
    assert facts(folder, "check")["teacher"]["parameters"] == evaluation["costs"]["teacher"]["parameters"]


def test_the_tokens_of_the_capture_are_counted_row_by_row(tmp_path):
    rows = [{"text": f"row {n}", "answer": f"answer {n}"} for n in range(30)]
    tmp_path.joinpath("train.jsonl").write_text("\n".join(map(json.dumps, rows[:20])))
    tmp_path.joinpath("validation.jsonl").write_text("\n".join(map(json.dumps, rows[20:])))
    plan = plan_of(tmp_path, **tiny.NO_TEXTS)
    tiny.run_here(tmp_path, **tiny.NO_TEXTS)
    assert facts(tmp_path, "capture")["tokens"] == stage(plan, "capture").tokens
    assert facts(tmp_path, "capture")["records"] == 30


def size_of(folder) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_the_run_writes_no_more_than_planned(run):
    folder, plan = run
    assert facts(folder, "capture")["bytes"] <= stage(plan, "capture").bytes
    assert 0 < size_of(folder / "runs" / "tiny" / "student") <= stage(plan, "distill").bytes
    assert 0 < size_of(folder / "runs" / "tiny" / "teacher") <= stage(plan, "teacher").bytes
    assert plan.bytes == sum(each.bytes for each in plan.stages)


def test_after_the_run_the_plan_says_done_and_nothing_is_encoded_for_it(run, monkeypatch):
    folder, before = run
    monkeypatch.setattr("kdkit.pipeline.estimate.estimate", None)
    plan = plan_of(folder, **CHANGES)
    assert all(each.done for each in plan.stages)
    assert [(each.work, each.tokens) for each in plan.stages] == [(each.work, each.tokens) for each in before.stages]
    assert plan.notes == before.notes
    assert plan.bytes == 0
    monkeypatch.setattr("kdkit.pipeline.plan._planned", None)  # which needs the stages, and with them torch
    assert attrs.evolve(plan_of(folder, **CHANGES), free={}) == attrs.evolve(plan, free={})
    table = as_json(plan)
    assert json.loads(json.dumps(table)) == table
    assert table["fits"] is True


def test_a_plan_on_a_folder_of_another_recipe_is_refused(run):
    folder, _ = run
    with pytest.raises(Mismatch, match=r"loss\.alpha: 0\.5 there, 0\.1 in this recipe"):
        plan_of(folder, **CHANGES, loss__alpha=0.1)


def test_a_plan_leaves_no_trace(tmp_path):
    tiny.recipe_table(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    plan_of(tmp_path)
    assert sorted(tmp_path.rglob("*")) == before


def test_a_plan_says_which_rows_are_left_out(tmp_path):
    tiny.recipe_table(tmp_path)
    with (tmp_path / "train.jsonl").open("a") as file:
        file.write('{"text": "max of 1 and 2"}\n')
    notes = plan_of(tmp_path).notes
    assert f"of the rows 1 left out, each because it has no target ({tmp_path}/train.jsonl:41)" in notes


@pytest.mark.parametrize("option", ["text", "messages"])
def test_rows_that_no_encoder_decoder_reads_are_refused_before_they_are_read(tmp_path, option):
    with pytest.raises(UsageError, match=rf"data\.{option} makes rows of .*, and encoder-decoder models need a source"):
        plan_of(tmp_path, data={"name": "jsonl", "train": str(tmp_path / "train.jsonl"), option: "x"})


def test_a_plan_opens_no_weights(tmp_path):
    tiny.model(tiny.T5).save(tmp_path / "m", texts={})
    (tmp_path / "m" / "model.safetensors").unlink()
    changes = {
        "teacher": {"name": "hf-seq2seq", "model": str(tmp_path / "m")},
        "student": {"name": "hf-seq2seq", "model": str(tmp_path / "m")},
    }
    plan = plan_of(tmp_path, **changes)
    assert "used as it is" in stage(plan, "teacher").work
    parameters = models.count_parameters(tiny.model(tiny.T5).module)
    assert f"{parameters / 1e3:.1f} k parameters" in stage(plan, "distill").work


@attrs.frozen
class Unread:
    """A data set that must not be read; fetched or not."""

    here: bool = True

    def is_here(self):
        return self.here

    def load(self, progress):
        pytest.fail("the data were read")


@pytest.mark.parametrize("begin", [make_plan, kdkit.run], ids=["plan", "run"])
@pytest.mark.parametrize("role", ["teacher", "student"])
@pytest.mark.parametrize(
    ("missing", "says"),
    [
        ("tokenizer*", r"has no tokenizer: tokenizer\.json is missing there"),
        ("config.json", r"is not a model folder: config\.json is missing there"),
    ],
)
def test_a_model_that_is_not_there_is_named_before_the_data_are_read(tmp_path, begin, role, missing, says):
    for name in ("teacher", "student"):
        tiny.model(tiny.T5).save(tmp_path / name, texts={})
    for file in (tmp_path / role).glob(missing):
        file.unlink()
    models = {name: {"name": "hf-seq2seq", "model": str(tmp_path / name)} for name in ("teacher", "student")}
    recipe = attrs.evolve(load_recipe(tiny.recipe_table(tmp_path, **models)), data=Unread())
    with pytest.raises(MissingInput, match=f"^{role}: .*/{role} {says}"):
        begin(recipe, tmp_path / "run", progress=Silent())


def test_a_plan_fetches_no_data(tmp_path):
    recipe = attrs.evolve(load_recipe(tiny.recipe_table(tmp_path)), data=Unread(here=False))
    with pytest.raises(MissingInput, match=r"^data set jsonl must be fetched before it can be planned with"):
        make_plan(recipe, tmp_path / "run", Silent())


def test_a_plan_of_a_run_in_the_middle_counts_what_is_left(run, tmp_path):
    folder = shutil.copytree(run[0], tmp_path / "copy")
    # Paths of the data are part of a recipe, so it stays that of the original.
    (folder / "runs" / "tiny" / "evaluation.json").unlink()
    recipe = load_recipe(tiny.recipe_table(run[0], **CHANGES))
    plan = make_plan(recipe, folder / "runs" / "tiny", Silent())
    assert [each.name for each in plan.stages if not each.done] == ["evaluate", "report"]
    assert plan.bytes == 0


@pytest.mark.parametrize(("codec", "says"), [("u8-lz4", False), ("subspace", True)])
def test_the_plan_says_that_what_a_codec_learns_is_not_in_its_bytes(tmp_path, codec, says):
    plan = plan_of(tmp_path, codec={"name": codec})
    assert ("without the codec's state" in stage(plan, "capture").work) is says
