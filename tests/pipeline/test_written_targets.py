"""Sequence-level distillation: a teacher writes the training targets, from the recipe to the report."""

from __future__ import annotations

import json
from contextlib import suppress

import causal_kit
import pytest
import tiny
from attrs import evolve

from kdkit.errors import Interrupted, UsageError
from kdkit.pipeline.plan import make_plan
from kdkit.pipeline.prepared import Prepared
from kdkit.pipeline.run import open_here
from kdkit.pipeline.shown_rows import YET_TO_WRITE, shown_rows
from kdkit.pipeline.stages import WRITE, stages_of
from kdkit.recipe import load_recipe
from kdkit.report.closing.run import closing_text
from kdkit.report.summary import summary
from kdkit.runs.resume import do
from kdkit.system.progress import Silent

CAUSAL = {
    "teacher__name": "hf-causal",
    "teacher__config": None,
    "teacher__vocab_size": None,
    "teacher__fine_tune": None,
    "teacher__write_targets": {"beams": 1, "temperature": 1.0, "batch_size": 8, "max_new_tokens": 6, "keep_cut": True},
    "student": {"name": "hf-causal", "from_teacher": {"layers": [0, 2]}},
    "training__best_by": "hard",
    "training__batch_size": 4,
    "training__epochs": 1,
    "evaluation__suites": [],
    "evaluation__baselines": True,
}


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def facts_of(run_dir, stage="write"):
    return json.loads((run_dir / "run.json").read_text())["stages"][stage]["facts"]


def write_only(folder, name, *, progress=None, **changes):
    """A run up to the stage that writes; gives its folder."""
    recipe, run_dir = load_recipe(tiny.recipe_table(folder, **changes)), folder / "runs" / name
    stages = stages_of(recipe)
    with open_here(recipe, run_dir, fresh=False, progress=progress or Silent()) as opened:
        for stage in stages[: stages.index(WRITE) + 1]:
            do(opened, stage, stages)
    return run_dir


def without_targets(path, every: int = 2):
    """Take the target from every second training row, and the field from all if `every` is 1."""
    rows = lines(path)
    for row in rows[::every]:
        row.pop("answer", None)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("written")
    model = causal_kit.model()
    model.module.lm_head.weight.data[model.tokenizer.eos_token_id] *= 20  # so that it ends some texts
    model.save(folder / "base", texts={})
    tiny.recipe_table(folder)
    without_targets(folder / "train.jsonl", every=1)
    return folder


@pytest.fixture(scope="module")
def changes(folder):
    return {**CAUSAL, "teacher__model": str(folder / "base")}


@pytest.fixture(scope="module")
def run_dir(folder, changes):
    return tiny.run_here(folder, **changes).run_dir


def test_rows_of_prompts_alone_are_planned_and_shown_before_they_are_written(folder, changes):
    recipe = load_recipe(tiny.recipe_table(folder, **changes))
    stages = {stage.name: stage for stage in make_plan(recipe, folder / "none", Silent()).stages}
    assert list(stages)[2:4] == ["teacher", "write"]
    assert stages["write"].work.startswith(
        "targets of 40 training rows drawn at temperature 1, 6 tokens at most (unless the store has them), which later"
    )
    assert stages["write"].tokens == 40 * 6
    shown = shown_rows(Prepared(recipe, folder / "none", Silent()), 2)
    assert [row.remarks for row in shown.rows] == [(YET_TO_WRITE,), (YET_TO_WRITE,)]
    assert all(row.read.startswith("max of") and not row.labels for row in shown.rows)


def load(recipe):
    from kdkit.recipe.inputs import load_rows

    return load_rows(recipe, Silent())


def test_the_student_learns_what_the_teacher_wrote(folder, run_dir):
    written, said = lines(run_dir / "written" / "train.jsonl"), lines(run_dir / "predictions" / "targets.jsonl")
    texts = {row["id"]: row["text"] for row in said}
    assert {row["id"]: row["target"] for row in written} == {id_: text for id_, text in texts.items() if text.strip()}
    facts = facts_of(run_dir)
    assert (facts["asked"], facts["rows"], facts["empty"]) == (40, len(written), 40 - len(written))
    assert facts["cut"] == sum(row.get("is_cut", False) for row in said)
    assert facts["cut"] > 5
    sources = {f"train:{number}": row["text"] for number, row in enumerate(lines(folder / "train.jsonl"), 1)}
    assert all(row["source"] == sources[row["id"]] for row in written)
    held_out = {row["answer"] for row in lines(folder / "validation.jsonl")}
    assert {row["target"] for row in lines(run_dir / "data" / "validation.jsonl")} == held_out
    assert facts_of(run_dir, "capture")["records"] <= len(written) + 10


def test_report_card_and_terminal_say_who_wrote_the_targets(run_dir):
    facts = facts_of(run_dir)
    said = (
        f"raining targets were written by the teacher: {facts['rows']} rows, {facts['cut']} cut by max_new_tokens and "
        f"kept so, {facts['empty']} empty and left out"
    )
    counts = {name: facts[name] for name in ("asked", "rows", "cut", "empty")}
    assert summary(run_dir)["written_targets"] == counts
    page = (run_dir / "report.md").read_text().replace("\\", "")
    assert "## Who wrote the training targets" in page
    assert said in page
    assert "the hard loss is against these texts" in page
    short = f"written by the teacher: {facts['rows']} rows, {facts['cut']} cut and kept, {facts['empty']} empty"
    assert short in closing_text(run_dir)
    assert (
        "distilled from texts that a teacher wrote and its cached logits"
        in (run_dir / "student" / "best" / "README.md").read_text()
    )


def test_another_run_takes_the_texts_from_the_store_and_leaves_out_those_that_are_cut(folder, changes, run_dir):
    notes = tiny.Notes()
    dropping = {**changes["teacher__write_targets"], "keep_cut": False}
    again = write_only(folder, "dropping", progress=notes, **{**changes, "teacher__write_targets": dropping})
    assert any("teacher on training rows writes: texts taken from" in note for note in notes.notes)
    before, facts = facts_of(run_dir), facts_of(again)
    assert facts["rows"] == before["rows"] - before["cut"]
    kept = {row["id"] for row in lines(again / "written" / "train.jsonl")}
    cut = {row["id"] for row in lines(again / "predictions" / "targets.jsonl") if row.get("is_cut")}
    assert kept.isdisjoint(cut)
    assert (again / "predictions" / "targets.jsonl").read_bytes() == (
        run_dir / "predictions" / "targets.jsonl"
    ).read_bytes()


def test_written_rows_that_are_lost_come_back_as_they_were(folder, changes, run_dir):
    path = run_dir / "written" / "train.jsonl"
    before = path.read_bytes()
    path.unlink()
    notes = tiny.Notes()
    tiny.run_here(folder, progress=notes, **changes)
    assert path.read_bytes() == before
    assert "distill: done before" in notes.notes


def test_writing_that_is_stopped_is_resumed_where_it_was(folder, changes, run_dir, monkeypatch):
    """As after a kill: each text is in the file once it is written."""
    from kdkit.builtin.teachers.open_hf import OpenHFTeacher

    alone = {**changes, "store__dir": str(folder / "other-store")}
    inner, wrote = OpenHFTeacher.generate, []

    def failing(self, rows, options, *, done=()):
        for prediction in inner(self, rows, options, done=done):
            if len(wrote) == 16:
                raise Interrupted("stopped here")
            wrote.append(prediction.id)
            yield prediction

    monkeypatch.setattr(OpenHFTeacher, "generate", failing)
    with suppress(Interrupted):
        write_only(folder, "stopped", **alone)
    (partial,) = (folder / "runs" / "stopped" / "predictions").glob("targets.jsonl.*partial")
    assert len(lines(partial)) == 16
    later = []

    def counting(self, rows, options, *, done=()):
        for prediction in inner(self, rows, options, done=done):
            later.append(prediction.id)
            yield prediction

    monkeypatch.setattr(OpenHFTeacher, "generate", counting)
    resumed = write_only(folder, "stopped", **alone)
    assert set(later).isdisjoint(wrote)
    assert len(later) + len(wrote) == 40
    assert (resumed / "written" / "train.jsonl").read_bytes() == (run_dir / "written" / "train.jsonl").read_bytes()


def test_a_fine_tuned_encoder_decoder_learns_from_the_truth_there_is_and_writes_for_all(tmp_path):
    writing = {"beams": 2, "batch_size": 8, "keep_cut": True, "min_new_tokens": 3}
    tiny.recipe_table(tmp_path)
    without_targets(tmp_path / "train.jsonl")
    changes = {
        "teacher__fine_tune__epochs": 1, "teacher__write_targets": writing, "training__rows": 30,
        "evaluation__suites": [], "teacher__fine_tune__best_by": "hard", "training__best_by": "hard",
    }  # fmt: skip
    run_dir = write_only(tmp_path, "r", **changes)
    facts = facts_of(run_dir)
    assert facts["asked"] == 30, "the student's rows alone"
    assert facts_of(run_dir, "check")["teacher_steps"] == 20 // 8, "the half of the rows that have targets"
    written = {row["id"]: row["target"] for row in lines(run_dir / "written" / "train.jsonl")}
    assert len(written) == facts["rows"]
    plain = load_recipe(tiny.recipe_table(tmp_path, **changes, tokens__max_target=5))
    assert plain.writing is not None
    assert plain.writing.max_new_tokens == 5, "as long as targets"


TEMPLATE = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}{{ eos_token }}{% endfor %}<|assistant|>"


def test_of_a_conversation_the_last_turn_is_written():
    from kdkit.data.chats import chat
    from kdkit.data.written import asked, has_target, with_text

    turns = [{"role": role, "content": role[0]} for role in ("user", "assistant", "user", "assistant")]
    whole, open_end = chat(turns, id="a", meta={"x": 1}, template={"thinks": False}), chat(turns[:3], id="b")
    assert json.loads(asked(whole).target)["template"] == {"thinks": False}
    assert json.loads(with_text(whole, "new").target)["template"] == {"thinks": False}
    assert [has_target(each) for each in (whole, open_end)] == [True, False]
    assert json.loads(asked(whole).target)["messages"] == turns[:3]
    for each in (whole, open_end):
        made = with_text(each, "new")
        assert json.loads(made.target)["messages"] == [*turns[:3], {"role": "assistant", "content": "new"}]
        assert (made.id, made.meta, made.form) == (each.id, each.meta, "chat")
    with pytest.raises(UsageError, match="is a conversation with tools"):
        asked(chat(turns, id="c", tools=[{"name": "f"}]))
    with pytest.raises(UsageError, match="in which nobody asks anything"):
        asked(chat(turns[1:2], id="d"))
    with pytest.raises(UsageError, match="is a text without a prompt"):
        asked(evolve(whole, form="text"))


def test_held_out_rows_need_a_target_of_their_own(tmp_path):
    table = tiny.recipe_table(tmp_path, teacher__write_targets={"beams": 1})
    without_targets(tmp_path / "validation.jsonl")
    corpus = load(load_recipe(table))
    assert len(corpus.validation) == 5
    assert [(drop.reason, drop.count) for drop in corpus.drops] == [
        ("it has no target, which only a training row may lack", 5)
    ]


def test_a_teacher_is_not_fine_tuned_on_rows_without_targets(tmp_path):
    from kdkit.pipeline.estimate import estimate

    recipe = load_recipe(tiny.recipe_table(tmp_path, teacher__write_targets={"beams": 1}))
    without_targets(tmp_path / "train.jsonl", every=1)
    with pytest.raises(UsageError, match=r"teacher\.fine_tune is given, but no training row has a target"):
        estimate(recipe, load(recipe))
