"""A finished run's student is scored again, on the same rows or others; the run stays as it is."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny

import kdkit
from kdkit import cli
from kdkit.errors import DamagedData, Mismatch, MissingInput, RecipeError, UsageError
from kdkit.evaluation import record
from kdkit.pipeline import evaluate as evaluation
from kdkit.pipeline.recapture import check_run
from kdkit.recipe.rescored import name_of
from kdkit.report.closing.run import closing_text
from kdkit.report.read.run import read_run
from kdkit.store import predictions
from kdkit.sweeps import write_sweep

SMALL = {
    "train": 24,
    "test": 6,
    "validation": 6,
    "teacher__fine_tune": None,
    "training__epochs": 1,
    "evaluation__baselines": True,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rescoring")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDKIT_STORE", str(folder / "store"))
        for split, seed in (("train", 90), ("validation", 91), ("test", 92)):
            tiny.write_rows(folder / f"other-{split}.jsonl", 7, seed)
        yield folder


@pytest.fixture(scope="module")
def run_dir(folder):
    return tiny.run_here(folder, **SMALL).run_dir


def other_data(folder):
    return [f"data.{split}={folder}/other-{split}.jsonl" for split in ("train", "validation", "test")]


@pytest.fixture(scope="module")
def elsewhere(folder, run_dir):
    """The run's student on the rows of another data set, and what was noted."""
    notes, before = tiny.Notes(), digests(run_dir)
    found = kdkit.evaluate(run_dir, other_data(folder), progress=notes)
    assert digests(run_dir) == before, "the run stays as it is"
    return found.run_dir, notes.notes


def digests(run_dir):
    files = (path for path in run_dir.rglob("*") if path.is_file() and "evaluations" not in path.parts)
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def facts(folder, stage):
    return json.loads((folder / "run.json").read_text())["stages"][stage]["facts"]


def test_nothing_changed_gives_the_scores_of_the_run(run_dir, monkeypatch):
    notes = tiny.Notes()
    monkeypatch.setattr("kdkit.evaluation.questions.predict", lambda *_, **__: pytest.fail("a text is written"))
    found = kdkit.evaluate(run_dir, limit=6, progress=notes)
    assert found.run_dir == run_dir / "evaluations" / "rows-6"
    ours, theirs = record.read(found.run_dir), record.read(run_dir)
    assert ours.scores == theirs.scores
    assert ours.differences == theirs.differences
    assert (ours.split, ours.row_count, ours.validation_scores) == ("test", 6, ())
    taken = {note.partition(":")[0] for note in notes.notes if ": answers taken from" in note}
    assert taken == {"student", "labels-only", "untouched"}


def test_rows_of_another_data_set_are_scored_with_all_models(folder, run_dir, elsewhere):
    found, _ = elsewhere
    assert found.parent == run_dir / "evaluations"
    told = record.read(found)
    assert (told.split, told.row_count) == ("test", 7)
    scored = {line["source"] for line in map(json.loads, (found / "data" / "test.jsonl").read_text().splitlines())}
    rows = {tuple(json.loads(line).values()) for line in (folder / "other-test.jsonl").read_text().splitlines()}
    assert scored == {text for text, _ in rows}
    kinds = {(each.model, each.against, each.suite, each.metric) for each in told.scores}
    assert kinds == {(each.model, each.against, each.suite, each.metric) for each in record.read(run_dir).scores}
    gains = [each for each in told.differences if each.than == "labels-only"]
    assert {"hard", "soft", "accuracy", "f1"} <= {each.metric for each in gains}
    assert all(each.low <= each.value <= each.high for each in gains)
    assert facts(found, "capture")["cache"] == facts(run_dir, "capture")["cache"], "one teacher, one codec, one cache"
    assert facts(found, "capture")["records"] == len(rows), "logits of no row that is not scored"
    assert len(predictions.read(found / "predictions" / "teacher.jsonl")) == 7


def test_vocabulary_and_training_rows_stay_those_of_the_run(run_dir, elsewhere):
    """The tokenizer of this teacher was trained on the training rows: of others it would have other tokens."""
    found, notes = elsewhere
    assert facts(found, "capture")["tokenizer"] == facts(run_dir, "capture")["tokenizer"]
    assert facts(found, "capture")["identity"] == facts(run_dir, "capture")["identity"]
    assert record.read(found).baselines["constant"] == record.read(run_dir).baselines["constant"]
    assert not (found / "data" / "train.jsonl").exists()
    account = json.loads((found / "data" / "report.json").read_text())
    assert account["rows"] == {"train": 24, "validation": 0, "test": 7}
    assert any(note.startswith("data: 24 train, 7 test rows") for note in notes)
    assert not any("distill" in note or "train " in note for note in notes[1:])


def test_a_page_says_which_run_was_scored_and_on_what(folder, run_dir, elsewhere):
    found, _ = elsewhere
    assert read_run(found).missing == ()
    told = " ".join(closing_text(found).split())  # a long folder takes a line of its own
    assert f"scored: {run_dir} again, 7 test rows" in told
    assert f"-o data.test={folder}/other-test.jsonl" in told
    assert f"student: {run_dir}/student/best" in told
    assert "next:" not in told
    page = (found / "report.md").read_text()
    assert f"The student of {run_dir} scored again with data.train={folder}/other-train.jsonl, data.val" in page
    assert f"kdkit evaluate {run_dir} -o data.train={folder}/other-train.jsonl" in page
    assert "\n## Training" not in page
    assert "Loss" in (run_dir / "report.md").read_text()


def test_the_same_command_does_nothing_twice_and_resumes(folder, run_dir, elsewhere):
    found, _ = elsewhere
    notes = tiny.Notes()
    written = (found / "evaluation.json").stat().st_mtime_ns
    kdkit.evaluate(run_dir, other_data(folder), progress=notes)
    assert notes.notes == []
    (found / "rows.npz").unlink()
    kdkit.evaluate(run_dir, other_data(folder), progress=notes)
    assert [note for note in notes.notes if note.endswith(": done before")] == [
        f"{stage}: done before" for stage in ("data", "check", "capture")
    ]
    assert (found / "rows.npz").is_file()
    assert (found / "evaluation.json").stat().st_mtime_ns > written


def test_other_suites_need_not_be_the_one_that_picked_the_epoch_and_no_teacher_is_opened_for_none(run_dir, monkeypatch):
    assert 'best_by = "text.f1"' in (run_dir / "recipe.toml").read_text()
    monkeypatch.setattr("kdkit.pipeline.rescoring.stages.open_teacher", lambda *_: pytest.fail("it is opened"))
    found = record.read(kdkit.evaluate(run_dir, suites=[], limit=4).run_dir)
    assert found.headline == "loss.hard"
    assert found.row_count == 4
    assert {each.suite for each in found.scores} == {"loss", "tokens"}


@pytest.mark.parametrize(
    ("changes", "error", "what"),
    [
        (["training.epochs=3"], RecipeError, r"training\.epochs is not part of an evaluation, which trains nothing"),
        (['"training" . epochs=3'], RecipeError, r"training\.epochs is not part of an evaluation"),
        (["tokens.max_source=9"], RecipeError, r"`kdkit evaluate` takes evaluation\.\*, generation\.\*, data\.\* and"),
        (['evaluation.suites=["txt"]'], RecipeError, 'did you mean "text"'),
        (["evaluation.headline=text.f2"], UsageError, r"text\.f1"),
        (["evalution.rows=3"], RecipeError, "did you mean"),
        (["data.test=nowhere.jsonl"], MissingInput, "nowhere.jsonl"),
    ],
)
def test_what_cannot_be_done_is_refused(run_dir, changes, error, what):
    with pytest.raises(error, match=what):
        kdkit.evaluate(run_dir, changes)


def test_a_run_that_lacks_something_is_refused_in_a_sentence(folder, run_dir, elsewhere, tmp_path):
    with pytest.raises(MissingInput, match="there is no run in"):
        kdkit.evaluate(tmp_path)
    with pytest.raises(UsageError, match="is an evaluation itself"):
        kdkit.evaluate(elsewhere[0])
    with pytest.raises(UsageError, match="holds a run and not an evaluation"):
        kdkit.evaluate(run_dir, output=run_dir)
    with pytest.raises(Mismatch, match="name another folder with --output"):
        kdkit.evaluate(run_dir, limit=3, output=elsewhere[0])
    copy = shutil.copytree(run_dir, tmp_path / "copy", ignore=shutil.ignore_patterns("evaluations"))
    with pytest.raises(UsageError, match="holds the evaluation of another run"):
        kdkit.evaluate(copy, other_data(folder), output=elsewhere[0])
    table = json.loads((copy / "run.json").read_text())
    for change, error, what in (
        (lambda: shutil.rmtree(copy / "student"), MissingInput, "the student of .* is gone: there is no folder"),
        ((copy / "data" / "train.jsonl").unlink, MissingInput, "the rows of .* are gone"),
        (lambda: (copy / "run.json").write_text(json.dumps({**table, "status": "failed"})), UsageError, "not finished"),
    ):
        saved = shutil.copytree(copy, tmp_path / "saved", dirs_exist_ok=True)
        change()
        with pytest.raises(error, match=what):
            kdkit.evaluate(copy)
        assert not (copy / "evaluations").exists()
        shutil.rmtree(copy)
        shutil.move(saved, copy)


@pytest.mark.parametrize("verb", [["run"], ["run", "--fresh"], ["plan"], ["capture", "--part", "0/2"], ["layers"]])
def test_the_folder_of_an_evaluation_is_no_place_for_a_run(run_dir, elsewhere, verb, capsys):
    before = {path: path.stat().st_mtime_ns for path in elsewhere[0].rglob("*")}
    with pytest.raises(SystemExit) as ended:
        cli.main([*verb, str(run_dir / "recipe.toml"), "--run-dir", str(elsewhere[0])])
    assert ended.value.code == 2
    said = f"{elsewhere[0]} holds an evaluation of the run {run_dir}, and not a run; name another folder with --run-dir"
    assert said in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in elsewhere[0].rglob("*")} == before


def test_the_folder_of_an_evaluation_is_not_asked_for_a_student_or_logits(run_dir, elsewhere):
    with pytest.raises(MissingInput, match=f"it is an evaluation, of the student of {run_dir}; give a finished run"):
        kdkit.predict(elsewhere[0], ["a"])
    with pytest.raises(UsageError, match="and not a run; give that run, or score"):
        check_run(elsewhere[0], elsewhere[0])


def test_fresh_deletes_an_evaluation_with_other_options_or_a_damaged_record_only_where_it_is_known_to_be_one(
    run_dir, elsewhere, tmp_path, monkeypatch
):
    monkeypatch.setattr(evaluation, "_open", lambda *_, **__: pytest.fail("opened", pytrace=False))
    opened, damaged = pytest.fail.Exception, run_dir / "evaluations" / "rows-5" / "run.json"
    with pytest.raises(opened):
        kdkit.evaluate(run_dir, limit=3, output=elsewhere[0], fresh=True)
    for file in (damaged, tmp_path / "run.json"):
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps({**json.loads((elsewhere[0] / "run.json").read_text()), "scored": {}}))
    with pytest.raises(DamagedData, match=r"the run that it scored is \{\}\); run with --fresh"):
        kdkit.evaluate(run_dir, limit=5)
    with pytest.raises(opened):
        kdkit.evaluate(run_dir, limit=5, fresh=True)
    shutil.rmtree(damaged.parent)
    for fresh in (False, True):
        with pytest.raises(DamagedData, match=r"nothing tells what .* holds; delete that folder, or name another"):
            kdkit.evaluate(run_dir, limit=5, output=tmp_path, fresh=fresh)


def test_an_evaluation_may_lie_below_the_root(run_dir, elsewhere, monkeypatch):
    told = json.loads((elsewhere[0] / "run.json").read_text())
    monkeypatch.setattr(evaluation, "read_record", lambda _: told)
    found = evaluation._student_of(Path("/evaluation"), None, run_dir, fresh=True)
    assert found == told["scored"]["student"] != ""


def test_names_of_evaluations_say_what_was_changed():
    assert name_of(['data.packages=["rich"]', "data.test_rows=80"]) == "packages-rich-test_rows-80"
    assert name_of(["data.test=/some-where/c/other.jsonl"]) == "test-other.jsonl"
    assert name_of(['evaluation.suites=["text", "code"]']) == "suites-text-code"
    assert name_of([]) == "again"
    long, other = (name_of([f"data.packages=[{', '.join(['networkx'] * 9)}, {last}]"]) for last in ("rich", "sympy"))
    assert long != other
    assert long[:60] == other[:60]


def test_every_finished_trial_of_a_sweep_is_scored_and_compared(run_dir, tmp_path, capsys):
    digest = json.loads((run_dir / "run.json").read_text())["recipe_digest"]  # which names the folder of a trial
    sweep, ids = tmp_path / "sweep", (digest[:16], digest[:15], "3" * 16)
    for trial in ids[:2]:
        shutil.copytree(run_dir, sweep / "trials" / trial, ignore=shutil.ignore_patterns("evaluations"))
    trials = [SimpleNamespace(id=trial, values={"loss.alpha": 0.5}, seed=None) for trial in ids]
    write_sweep(sweep, name="s", description="", axes=["loss.alpha"], seeds=(), trials=trials, reference=None)
    with pytest.raises(SystemExit) as ended:
        cli.main(["evaluate", str(sweep), "--suites", "", "--limit", "4", "--json"])
    assert ended.value.code == 0
    said = capsys.readouterr()
    assert f"note: left out 1 unfinished trial of {sweep}" in said.err
    assert said.err.count("answers taken from") >= 3, "the second trial's models are those of the first"
    table = json.loads(said.out)
    assert table["html"] == str(sweep / "evaluations" / "suites-rows-4" / "comparison.html")
    assert (sweep / "evaluations" / "suites-rows-4" / "comparison.md").is_file()
    for trial in ids[:2]:
        assert record.read(sweep / "trials" / trial / "evaluations" / "suites-rows-4").row_count == 4


def test_a_run_is_scored_from_the_command_line(folder, run_dir, elsewhere, capsys):
    changes = [word for each in other_data(folder) for word in ("-o", each)]
    with pytest.raises(SystemExit):
        cli.main(["evaluate", str(run_dir), *changes, "--json"])
    told = json.loads(capsys.readouterr().out)
    assert told["run_dir"] == str(elsewhere[0])
    assert told["row_count"] == 7
    assert told["scored"] == {"run_dir": str(run_dir), "overrides": other_data(folder)}
    with pytest.raises(SystemExit) as ended:
        cli.main(["evaluate", str(run_dir), "--suites", "txt"])
    assert ended.value.code == 2
    assert 'did you mean "text"' in capsys.readouterr().err
