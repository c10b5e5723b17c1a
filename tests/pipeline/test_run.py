from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import tiny
import torch
from filelock import FileLock
from safetensors.torch import load_file, save_file

from kdkit import models
from kdkit.data import corpus as corpora
from kdkit.data.tokens import collate, encode
from kdkit.errors import Interrupted, Mismatch, UsageError
from kdkit.pipeline.run import open_here, run
from kdkit.pipeline.stages import STAGES
from kdkit.recipe import load_recipe
from kdkit.runs import opening
from kdkit.runs.resume import shown_stage
from kdkit.system.progress import Silent

NAMES = [stage.name for stage in STAGES]
# In each stage a function that it calls, and one of its calls.
WITHIN = {
    "data": ("kdkit.data.corpus:write_parts_atomically", 2),
    "check": ("kdkit.pipeline.stages.check:check_space", 1),
    "teacher": ("kdkit.training.loop:Trainer._step", 4),
    "capture": ("kdkit.logits.cache:CacheWriter.add_block", 17),
    "distill": ("kdkit.training.loop:Trainer._step", 6),
    "baseline": ("kdkit.evaluation.labels_only:is_wanted", 1),
    "evaluate": ("kdkit.store.predictions:_line", 5),
    "report": ("kdkit.report.run:assemble", 1),
}
SENTENCES = {
    "data": "stage data is not finished, the stages before it are",
    "check": "stage check is not finished, the stages before it are",
    "teacher": "saved a checkpoint of the teacher at step 4 of 10",
    "capture": r"sealed \d+ records of 50 rows",
    "distill": "saved a checkpoint of the student at step 6 of 10",
    "baseline": "stage baseline is not finished, the stages before it are",
    "evaluate": "kept 5 of 10 predictions",
    "report": "stage report is not finished, the stages before it are",
}


def record(folder) -> dict:
    return json.loads((folder / "run.json").read_text())


def done_before(said: str) -> list[str]:
    return re.findall(r"^(\w+): done before$", said, re.MULTILINE)


def flip_last_byte(path) -> None:
    """In place, as a failing disk or a careless program does it."""
    with path.open("rb+") as file:
        file.seek(-1, 2)
        (last,) = file.read(1)
        file.seek(-1, 2)
        file.write(bytes([last ^ 1]))


def student(folder) -> list[bytes]:
    return [tiny.weights(folder / "student" / name) for name in ("best", "final")]


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return tiny.write_recipe(tmp_path_factory.mktemp("recipe"))


@pytest.fixture(scope="module")
def whole(recipe, tmp_path_factory):
    """A run that nothing disturbs."""
    folder = tmp_path_factory.mktemp("whole") / "runs" / "tiny"
    code, said = tiny.kdkit("run", recipe, "--run-dir", folder, log=recipe.with_name("log"))
    assert code == 0, said
    return folder


# --- what a run leaves


def test_a_run_leaves_what_others_rely_on(whole):
    for name in (
        *("recipe.toml", "run.json", "metrics.jsonl", "evaluation.json", "rows.npz", "report.html", "report.md"),
        *("teacher/config.json", "teacher/model.safetensors", "student/best/README.md", "student/final/README.md"),
        *("predictions/teacher.jsonl", "predictions/student.jsonl", "data/report.json"),
    ):
        assert (whole / name).is_file(), name
    assert record(whole)["status"] == "done"
    assert list(record(whole)["stages"]) == NAMES
    assert not list(whole.rglob("*.partial"))
    assert not list(whole.rglob("checkpoints"))
    assert not (whole / "teacher-training").exists()
    assert {path.suffix for path in whole.rglob("*") if path.is_file()} <= {
        *(".json", ".jsonl", ".npz", ".toml", ".safetensors", ".html", ".md", ""),
    }


def test_the_time_that_is_left_is_told_by_what_other_stages_of_the_run_took(recipe, whole):
    with open_here(load_recipe(recipe), whole, fresh=False, progress=Silent()) as opened:
        facts = opened.record["stages"]["check"]["facts"]
        facts |= {"student_steps": 10, "baseline_steps": 20, "generated_rows": 4, "picking_rows": 2}
        texts = [
            json.loads(line)["seconds"] for line in (whole / "predictions" / "teacher.jsonl").read_text().splitlines()
        ]
        texts_seconds = (2 * 4 + 2) * sum(texts) / len(texts)
        stages = {stage.name: stage for stage in STAGES}
        shown = shown_stage(opened, stages["distill"], STAGES, before=0.0)
        assert (str(shown), shown.count) == ("stage 5 of 8: distill", 8)
        assert shown.later(30.0) == pytest.approx(60.0 + texts_seconds)
        assert shown_stage(opened, stages["evaluate"], STAGES, before=0.0).expected == pytest.approx(texts_seconds)
        assert shown_stage(opened, stages["teacher"], STAGES, before=0.0).later(30.0) is None, "no student trained yet"
        for name in NAMES[1:]:
            del opened.record["stages"][name]
        assert shown_stage(opened, stages["data"], STAGES, before=0.0).later(30.0) is None, "nothing is checked yet"
    begun = re.findall(r"^stage (\d) of 8: (\w+); \d:\d\d so far", recipe.with_name("log").read_text(), re.MULTILINE)
    assert begun == [(str(number), name) for number, name in enumerate(NAMES, 1)]


def test_models_of_a_run_open_with_plain_transformers(whole):
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    for name in ("teacher", "student/best", "student/final"):
        model, found = AutoModelForSeq2SeqLM.from_pretrained(whole / name, output_loading_info=True)
        assert not any(found.values()), found
        ids = AutoTokenizer.from_pretrained(whole / name)("max of 3 and 5", return_tensors="pt").input_ids
        assert model.generate(ids, max_length=8).shape[0] == 1


def test_scores_are_of_both_models_and_of_the_student_against_the_teacher(whole):
    scores = json.loads((whole / "evaluation.json").read_text())["scores"]
    keys = {"model", "against", "suite", "metric", "direction", "value", "low", "high", "count"}
    assert all(set(score) == keys for score in scores)
    assert {(s["suite"], s["metric"], s["direction"]) for s in scores if s["direction"] != "higher"} == {
        *(("loss", name, "lower") for name in ("hard", "soft", "total")),
        *(("tokens", name, "lower") for name in ("ece", "perplexity", "bits_per_byte")),
        ("texts", "length", "neither"),
    }
    assert {(s["model"], s["against"], s["suite"]) for s in scores} == {
        *(("teacher", "truth", "text"), ("student", "truth", "text"), ("student", "teacher", "text")),
        *(("teacher", "truth", "loss"), ("student", "truth", "loss")),
        *(("student", "teacher", "loss"), ("student", "truth and teacher", "loss")),
        *(("teacher", "truth", "tokens"), ("student", "truth", "tokens"), ("student", "teacher", "tokens")),
        *(("teacher", "truth", "texts"), ("student", "truth", "texts"), ("student", "teacher", "texts")),
    }


def test_the_losses_of_an_evaluation_are_the_models_own(tmp_path):
    tiny.run_here(tmp_path, codec={"name": "float", "dtype": "fp32"}, loss__temperature=1.0, **tiny.NO_TEXTS)
    folder = tmp_path / "runs" / "tiny"
    rows = corpora.read(folder / "data", record(folder)["stages"]["data"]["facts"]["digest"]).validation
    scores = json.loads((folder / "evaluation.json").read_text())["scores"]
    found = {(s["model"], s["metric"]): s["value"] for s in scores if s["suite"] == "loss"}
    from kdkit.api.options import TokenLimits

    logits = {}
    for name, place in (("teacher", "teacher"), ("student", "student/best")):
        module, tokenizer = models.load_model(str(folder / place)), models.load_tokenizer(str(folder / place))
        batch = collate(encode(rows, tokenizer, TokenLimits(max_source=24, max_target=8)), pad_id=0)
        with torch.no_grad():
            own = module(input_ids=batch.source_ids_BS, attention_mask=batch.source_mask_BS, labels=batch.labels_BT)
        assert found[name, "hard"] == pytest.approx(own.loss.item(), rel=1e-5)
        logits[name] = own.logits[batch.labels_BT >= 0].log_softmax(-1)
    soft = torch.nn.functional.kl_div(logits["student"], logits["teacher"], log_target=True, reduction="batchmean")
    assert found["student", "soft"] == pytest.approx(soft.item(), rel=1e-4)
    assert found["student", "total"] == pytest.approx((found["student", "soft"] + found["student", "hard"]) / 2)
    assert found["student", "hard"] == pytest.approx(
        min(line["hard"] for line in tiny.metrics(folder, kind="validation") if line["best"]), rel=1e-5
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"teacher__config": tiny.BART},
        {"teacher__fine_tune": None, "training__precision": "bf16", "training__group_by_length": True},
        {
            "teacher__config": tiny.BART,
            "teacher__fine_tune": None,
            "student": {"name": "hf-seq2seq", "config": tiny.T5},
        },
        {"generation__beams": 2, "training__accumulation": 2, "training__drop_last": False, "test": 6},
    ],
    ids=["bart", "untrained teacher, bf16", "another architecture", "beams"],
)
def test_other_recipes_run_as_well(tmp_path, changes):
    report = tiny.run_here(tmp_path, **changes)
    assert {(score.model, score.suite) for score in report.scores} >= {("student", "text"), ("teacher", "loss")}
    assert set(report.costs) == {"teacher", "student"}
    assert models.load_config(str(report.run_dir / "student/best")).vocab_size == tiny.VOCAB


# --- stopping and going on


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)],
    ids=["Ctrl-C", "SIGTERM", "kill -9"],
)
def test_a_run_that_is_stopped_in_every_stage_ends_as_one_that_was_not(number, code, recipe, whole, tmp_path):
    folder = tmp_path / "runs" / "tiny"
    command = ("run", recipe, "--run-dir", folder)
    for index, name in enumerate(NAMES):
        before = record(folder)["stages"] if index else {}
        ended, said = tiny.kdkit(*command, log=tmp_path / "log", at=WITHIN[name], number=number)
        assert ended == code, said
        assert "Traceback" not in said
        assert done_before(said) == NAMES[: max(index - 1, 0)]
        if number != signal.SIGKILL:
            word = "interrupted" if number == signal.SIGINT else "terminated"
            assert re.fullmatch(
                f"error: {word}; {SENTENCES[name]}; run the same command to resume", said.splitlines()[-1]
            )
        now = record(folder)
        expected = "running" if number == signal.SIGKILL else "interrupted"
        assert now["status"] == now["stages"][name]["status"] == expected
        assert list(now["stages"]) == NAMES[: index + 1]
        for earlier in NAMES[: max(index - 1, 0)]:
            assert now["stages"][earlier] == before[earlier], "a finished stage was done again"
    ended, said = tiny.kdkit(*command, log=tmp_path / "log")
    assert ended == 0, said
    assert_ends_as(folder, whole)


def assert_ends_as(folder, whole):
    assert record(folder)["status"] == "done"
    assert tiny.weights(folder / "teacher") == tiny.weights(whole / "teacher")
    assert student(folder) == student(whole)
    for kind in ("train", "validation"):
        for stage in ("teacher", "student"):
            curves = [
                [(line["step"], line["loss"]) for line in tiny.metrics(place, stage, kind)] for place in (folder, whole)
            ]
            assert curves[0] == curves[1]
    assert not list(folder.rglob("*.partial"))
    assert not list(folder.rglob("checkpoints"))


def killed(name, recipe, folder) -> str:
    """A run that is killed in a stage; its output."""
    stages = NAMES[: NAMES.index(name)]
    module, call = WITHIN[name]
    call += 10 if name == "distill" else 20 if name == "evaluate" else 0  # the teacher's calls come first
    code, said = tiny.kdkit("run", recipe, "--run-dir", folder, log=folder.with_name("log"), at=(module, call))
    assert code == -9, said
    assert list(record(folder)["stages"]) == [*stages, name]
    return said


@pytest.mark.slow
def test_data_that_changed_between_two_tries_are_refused_and_fresh_leaves_nothing_of_the_first(tmp_path):
    """The first try's checkpoint is of other rows: going on from it would mix them."""
    path, (one, other) = tiny.write_recipe(tmp_path), (tmp_path / place / "r" for place in "ab")
    one.parent.mkdir()
    killed("distill", path, one)
    assert list((one / "student" / "checkpoints").iterdir())
    tiny.write_rows(tmp_path / "train.jsonl", 40, seed=99)
    (one / "data" / "train.jsonl").unlink()
    code, said = tiny.kdkit("run", path, "--run-dir", one, log=tmp_path / "log")
    assert code == 2
    assert "the data set has changed since" in said
    for folder in (one, other):
        code, said = tiny.kdkit("run", path, "--run-dir", folder, "--fresh", log=tmp_path / "log")
        assert code == 0, said
    assert_ends_as(one, other)


def test_a_teacher_that_is_lost_while_the_student_trains_comes_back_from_the_store(recipe, whole, tmp_path):
    folder = tmp_path / "r"
    killed("distill", recipe, folder)
    shutil.rmtree(folder / "teacher")
    code, said = tiny.kdkit("run", recipe, "--run-dir", folder, log=tmp_path / "log")
    assert code == 0, said
    assert done_before(said) == ["data", "check", "teacher", "capture"]
    assert "resuming from the checkpoint" in said
    assert_ends_as(folder, whole)


def test_a_teacher_that_comes_back_with_other_weights_takes_the_students_checkpoints_with_it(recipe, whole, tmp_path):
    folder = tmp_path / "r"
    killed("distill", recipe, folder)
    shutil.rmtree(folder / "teacher")
    table = record(folder)
    table["stages"]["teacher"]["facts"]["weights"] = "0" * 64
    (folder / "run.json").write_text(json.dumps(table))
    code, said = tiny.kdkit("run", recipe, "--run-dir", folder, log=tmp_path / "log")
    assert code == 0, said
    assert done_before(said) == ["data", "check"]
    assert "resuming from the checkpoint" not in said
    assert_ends_as(folder, whole)


@pytest.mark.parametrize("stored", [True, False])
def test_a_deleted_teacher_costs_no_student(stored, recipe, whole, tmp_path):
    folder = shutil.copytree(whole.parent, tmp_path / "runs") / "tiny"
    shutil.rmtree(folder / "teacher")
    if not stored:
        shutil.rmtree(tmp_path / "runs" / "cache" / "teachers")
    code, said = tiny.kdkit("run", recipe, "--run-dir", folder, log=tmp_path / "log")
    assert code == 0, said
    assert done_before(said) == NAMES
    assert_ends_as(folder, whole)
    assert record(folder)["stages"]["teacher"]["facts"]["reused"] is False


def test_a_damaged_store_costs_no_student(recipe, whole, tmp_path):
    folder = shutil.copytree(whole.parent, tmp_path / "runs") / "tiny"
    shutil.rmtree(folder / "teacher")
    (weights,) = (tmp_path / "runs" / "cache" / "teachers").glob("*/model.safetensors")
    flip_last_byte(weights)
    code, said = tiny.kdkit("run", recipe, "--run-dir", folder, log=tmp_path / "log")
    assert code == 4
    assert (
        "is damaged (its model.safetensors has changed since it was stored); delete that folder and run again" in said
    )
    assert student(folder) == student(whole)
    shutil.rmtree(weights.parent)
    code, said = tiny.kdkit("run", recipe, "--run-dir", folder, log=tmp_path / "log")
    assert code == 0, said
    assert_ends_as(folder, whole)


def test_logits_that_are_lost_before_they_were_all_read_are_captured_again(recipe, whole, tmp_path):
    folder = tmp_path / "r"
    killed("evaluate", recipe, folder)
    shutil.rmtree(tmp_path / "cache" / "logits")
    code, said = tiny.kdkit("run", recipe, "--run-dir", folder, log=tmp_path / "log")
    assert code == 0, said
    assert done_before(said) == ["data", "check", "teacher", "capture", "distill", "baseline"]
    assert_ends_as(folder, whole)


def test_a_finished_run_is_left_as_it_is(recipe, whole):
    files = {path: path.read_bytes() for path in whole.rglob("*") if path.is_file() and path.name != ".lock"}
    code, said = tiny.kdkit("run", recipe, "--run-dir", whole, log=recipe.with_name("log"))
    assert code == 0
    assert done_before(said) == NAMES
    assert {path: path.read_bytes() for path in files} == files


def test_a_finished_run_is_known_without_torch(recipe, whole):
    code = (
        "import atexit, sys; atexit.register(lambda: print(sorted({'torch', 'transformers'} & set(sys.modules))));"
        f"from kdkit.cli import main; main(['run', {str(recipe)!r}, '--run-dir', {str(whole)!r}])"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.splitlines()[-1] == "[]"
    assert done_before(said.stderr) == NAMES


OUTPUTS = {
    "student/final/model.safetensors": "distill",
    "evaluation.json": "evaluate",
    "report.md": "report",
}


@pytest.mark.parametrize(("output", "first"), OUTPUTS.items(), ids=OUTPUTS)
def test_a_deleted_output_is_made_again_and_what_depends_on_it(output, first, recipe, whole, tmp_path):
    folder = shutil.copytree(whole.parent, tmp_path / "runs") / "tiny"
    gone = folder / output
    gone.unlink()
    code, said = tiny.kdkit("run", recipe, "--run-dir", folder, log=tmp_path / "log")
    assert code == 0, said
    assert done_before(said) == NAMES[: NAMES.index(first)]
    assert gone.exists()
    assert_ends_as(folder, whole)


@pytest.mark.parametrize(
    "output",
    ["data/train.jsonl", "data/report.json", "teacher/model.safetensors", "predictions/teacher.jsonl"],
)
def test_a_deleted_output_that_can_be_had_again_costs_no_later_stage(output, recipe, whole, tmp_path):
    folder = shutil.copytree(whole.parent, tmp_path / "runs") / "tiny"
    (folder / output).unlink()
    code, said = tiny.kdkit("run", recipe, "--run-dir", folder, log=tmp_path / "log")
    assert code == 0, said
    assert done_before(said) == NAMES
    texts = [re.sub(rb'"seconds": [^}]*', b"", (place / output).read_bytes()) for place in (folder, whole)]
    assert texts[0] == texts[1]
    assert_ends_as(folder, whole)


# --- sharing, and keeping apart


def test_a_recipe_that_differs_in_its_loss_alone_shares_teacher_and_logits(recipe, whole, tmp_path):
    folder = whole.with_name("other")
    code, said = tiny.kdkit(
        "run", recipe, "--run-dir", folder, "-o", "loss.alpha=0.9", "-o", "loss.temperature=1.0", log=tmp_path / "log"
    )
    assert code == 0, said
    assert "teacher: taken from" in said
    assert re.search(r"capture: \d+ records are already in ", said)
    stages = record(folder)["stages"]
    assert stages["teacher"]["facts"]["reused"] is stages["capture"]["facts"]["reused"] is True
    assert stages["capture"]["facts"]["cache"] == record(whole)["stages"]["capture"]["facts"]["cache"]
    assert tiny.weights(folder / "teacher") == tiny.weights(whole / "teacher")
    assert student(folder) != student(whole)


def test_damage_to_a_runs_teacher_does_not_reach_the_store_nor_other_runs(recipe, whole, tmp_path):
    folder = shutil.copytree(whole.parent, tmp_path / "runs") / "tiny"
    shutil.rmtree(folder)
    for name in ("one", "two"):
        code, said = tiny.kdkit("run", recipe, "--run-dir", folder.with_name(name), log=tmp_path / "log")
        assert code == 0, said
    flip_last_byte(folder.with_name("one") / "teacher" / "model.safetensors")
    (stored,) = (tmp_path / "runs" / "cache" / "teachers").glob("*/model.safetensors")
    assert stored.read_bytes() == tiny.weights(folder.with_name("two") / "teacher") == tiny.weights(whole / "teacher")


def test_a_stored_teacher_that_is_damaged_without_a_trace_in_its_header_is_refused(recipe, whole, tmp_path):
    folder = shutil.copytree(whole.parent, tmp_path / "runs") / "tiny"
    (weights,) = (tmp_path / "runs" / "cache" / "teachers").glob("*/model.safetensors")
    flip_last_byte(weights)
    code, said = tiny.kdkit("run", recipe, "--run-dir", folder.with_name("new"), log=tmp_path / "log")
    assert code == 4
    assert (
        "is damaged (its model.safetensors has changed since it was stored); delete that folder and run again" in said
    )
    assert not list((folder.with_name("new")).glob("*teacher*"))


def named_teacher(folder):
    """Changes that make a recipe take a model as it is, and the one codec whose bytes are the logits' own."""
    tiny.model(tiny.T5).save(folder / "m", texts={})
    return {
        "teacher": {"name": "hf-seq2seq", "model": str(folder / "m")},
        "codec": {"name": "float", "dtype": "fp32"},
        "training__epochs": 1,
        **tiny.NO_TEXTS,
    }


def test_only_rows_that_the_store_lacks_are_captured(tmp_path, monkeypatch):
    from kdkit.logits.cache import CacheWriter, LogitCache

    asked = []
    inner = CacheWriter.add_block
    monkeypatch.setattr(
        CacheWriter, "add_block", lambda self, key, block: (asked.append(key), inner(self, key, block))[1]
    )
    changes = named_teacher(tmp_path)
    facts, counts = [], []
    for name, rows in (("few", 3), ("all", 0), ("some", 6)):
        asked.clear()
        tiny.run_here(tmp_path, name, **changes, training__validation_rows=rows, evaluation__rows=rows)
        facts.append(record(tmp_path / "runs" / name)["stages"]["capture"]["facts"])
        counts.append(len(set(asked)))
    few, whole, some = facts
    assert len({each["cache"] for each in facts}) == 1
    assert [each["reused"] for each in facts] == [False, False, True]
    assert counts == [few["records"], whole["records"] - few["records"], 0]
    assert few["records"] < some["records"] < whole["records"]
    for each in facts:  # what a run says is of its own rows
        assert each["bytes"] == 4 * tiny.VOCAB * each["tokens"]
    assert len(LogitCache.open(Path(few["cache"]))) == whole["records"]


def test_a_capture_that_is_stopped_leaves_the_cache_as_others_know_it(tmp_path, monkeypatch):
    from kdkit.logits.cache import CacheWriter, LogitCache

    changes = named_teacher(tmp_path)
    tiny.run_here(tmp_path, "few", **changes, training__validation_rows=3, evaluation__rows=3)
    folder = Path(record(tmp_path / "runs" / "few")["stages"]["capture"]["facts"]["cache"])
    before = LogitCache.open(folder)

    class Killed(BaseException):
        pass

    def killed(self):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(CacheWriter, "finish", killed)
        with pytest.raises(Killed):
            tiny.run_here(tmp_path, "all", **changes)
    assert set(LogitCache.open(folder)) == set(before)
    assert all(before.decode(key).shape[1] == tiny.VOCAB for key in before)
    tiny.run_here(tmp_path, "all", **changes)
    assert set(LogitCache.open(folder)) > set(before)


def test_a_cache_that_was_deleted_and_begun_anew_by_another_run_is_filled_again(tmp_path):
    changes = named_teacher(tmp_path)
    tiny.run_here(tmp_path, "all", **changes)
    folder = Path(record(tmp_path / "runs" / "all")["stages"]["capture"]["facts"]["cache"])
    shutil.rmtree(folder)
    tiny.run_here(tmp_path, "few", **changes, training__validation_rows=3, evaluation__rows=3)
    (tmp_path / "runs" / "all" / "evaluation.json").unlink()
    notes = tiny.Notes()
    tiny.run_here(tmp_path, "all", **changes, progress=notes)
    assert [note for note in notes.notes if "done before" in note][-1] == "baseline: done before"


def test_room_is_asked_only_for_what_the_store_lacks(recipe, whole, tmp_path, monkeypatch):
    from kdkit.pipeline import estimate
    from kdkit.pipeline.run import run
    from kdkit.recipe import load_recipe

    found = record(whole)["stages"]["check"]["facts"]
    free = found["student_bytes"] + 1
    assert found["teacher_bytes"] > free
    monkeypatch.setattr(estimate.shutil, "disk_usage", lambda _: SimpleNamespace(free=free))
    shutil.copytree(whole.parent / "cache", tmp_path / "runs" / "cache")
    run(load_recipe(recipe), tmp_path / "runs" / "new")
    shutil.rmtree(tmp_path / "runs" / "cache" / "teachers")
    with pytest.raises(UsageError, match="the run may write"):
        run(load_recipe(recipe), tmp_path / "runs" / "newer")
    assert record(tmp_path / "runs" / "newer")["stages"]["teacher"]["status"] == "failed"


def test_room_for_logits_is_asked_before_they_are_captured(tmp_path, monkeypatch):
    from kdkit.pipeline import cache_filling

    changes = named_teacher(tmp_path)
    seen = []
    monkeypatch.setattr(cache_filling, "check_space", lambda needs: seen.extend(needs.values()))
    tiny.run_here(tmp_path, "few", **changes, training__validation_rows=3, evaluation__rows=3)
    few = record(tmp_path / "runs" / "few")["stages"]["capture"]["facts"]
    tiny.run_here(tmp_path, "all", **changes)
    whole = record(tmp_path / "runs" / "all")["stages"]["capture"]["facts"]
    assert len(seen) == 2
    assert few["bytes"] <= seen[0]
    assert whole["bytes"] - few["bytes"] <= seen[1] < whole["bytes"]


@pytest.mark.slow
def test_a_teacher_is_shared_whatever_its_start_is_called_and_whatever_it_is_tested_on(tmp_path):
    tiny.model(tiny.T5).save(tmp_path / "m", texts={})
    shutil.copytree(tmp_path / "m", tmp_path / "n")
    reused = []
    for name, model, test in (("one", "m", 0), ("two", "n", 0), ("three", "n", 6)):
        tiny.run_here(
            tmp_path,
            name,
            test=test,
            teacher__config=None,
            teacher__model=str(tmp_path / model),
            teacher__tokenizer=str(tmp_path / model),
            loss__alpha=0.0,
            training__epochs=1,
            **tiny.NO_TEXTS,
        )
        reused.append(record(tmp_path / "runs" / name)["stages"]["teacher"]["facts"]["reused"])
    assert reused == [False, True, True]


def test_recorded_logits_may_be_narrower_than_the_tokenizer(tmp_path):
    import cache_kit

    from kdkit.logits.targets import keys_of
    from kdkit.pipeline.stages import distill
    from kdkit.runs.stage_facts import Captured

    rows = tiny.encoded(2)[1]
    keys = keys_of(rows, teacher="a" * 64, tokenizer="b" * 64)
    codec = cache_kit.U8LZ4()
    with cache_kit.CacheWriter(tmp_path, cache_kit.identity(codec), codec) as writer:
        for number, row in enumerate(rows):
            writer.add_block(keys[row.id], cache_kit.block(number))
        writer.finish()
    counts = dict.fromkeys(("records", "tokens", "bytes", "bytes_per_token"), 1)
    captured = Captured(cache=str(tmp_path), identity="a" * 64, tokenizer="b" * 64, codec="u8-lz4", **counts)
    codec = cache_kit.U8LZ4()
    targets = distill._targets(captured, tiny.model(), rows, codec=codec, device="cpu")
    assert targets(collate(rows, pad_id=0)).codes_BTV.shape[2] == cache_kit.VOCAB < len(tiny.tokenizer())


def test_two_runs_that_make_the_same_teacher_leave_one_whole_entry(tmp_path):
    from kdkit.store import folders

    for name in ("one", "other"):
        tiny.model(tiny.T5, seed=len(name)).save(tmp_path / name, texts={})
    entry = tmp_path / "store" / "key"
    folders.put(tmp_path / "one", entry)
    before = {path.name: path.read_bytes() for path in entry.iterdir()}
    folders.put(tmp_path / "other", entry)
    assert {path.name: path.read_bytes() for path in entry.iterdir()} == before
    assert tiny.weights(entry) == tiny.weights(tmp_path / "one")
    assert not list(entry.parent.glob("*.partial"))
    with FileLock(entry.with_name(".key.lock")):
        folders.take(entry, tmp_path / "taken")  # readers wait for nobody
    assert {path.name for path in (tmp_path / "taken").iterdir()} == {
        path.name for path in (tmp_path / "one").iterdir()
    }


def test_students_of_other_seeds_share_teacher_and_logits(tmp_path):
    for name, seed in (("one", None), ("other", 7), ("again", 7)):
        changes = {"training__seed": seed} if seed is not None else {}
        tiny.run_here(tmp_path, name, training__epochs=1, **tiny.NO_TEXTS, **changes)
    facts = [record(tmp_path / "runs" / name)["stages"] for name in ("one", "other", "again")]
    assert [each["teacher"]["facts"]["reused"] for each in facts] == [False, True, True]
    assert [each["capture"]["facts"]["reused"] for each in facts] == [False, True, True]
    one, other, again = (tiny.weights(tmp_path / "runs" / name / "student/final") for name in ("one", "other", "again"))
    assert one != other == again


def test_another_teacher_is_not_shared(tmp_path):
    for name, rate in (("one", 5e-3), ("other", 1e-3)):
        tiny.run_here(tmp_path, name, teacher__fine_tune__learning_rate=rate, training__epochs=1, **tiny.NO_TEXTS)
    facts = [record(tmp_path / "runs" / name)["stages"] for name in ("one", "other")]
    assert [each["teacher"]["facts"]["reused"] for each in facts] == [False, False]
    assert facts[0]["capture"]["facts"]["cache"] != facts[1]["capture"]["facts"]["cache"]


@pytest.mark.slow
def test_a_teacher_tuned_from_a_folder_is_not_shared_once_the_folder_changed(tmp_path):
    model = tmp_path / "m"
    tiny.model(tiny.T5).save(model, texts={})
    changes = {"teacher__config": None, "teacher__model": str(model), "loss__alpha": 0.0, "training__epochs": 1}
    changes |= tiny.NO_TEXTS
    reused = []
    for name in ("one", "two", "three", "four"):
        if name == "four":
            rules = json.loads((model / "generation_config.json").read_text())
            (model / "generation_config.json").write_text(json.dumps({**rules, "eos_token_id": [1, 5]}))
        if name == "three":
            weights = load_file(model / "model.safetensors")
            weights["shared.weight"] = weights["shared.weight"] + 1
            save_file(weights, model / "model.safetensors", metadata={"format": "pt"})
        tiny.run_here(tmp_path, name, **changes)
        reused.append(record(tmp_path / "runs" / name)["stages"]["teacher"]["facts"]["reused"])
    assert reused == [False, True, False, False]
    made = json.loads((tmp_path / "runs" / "four" / "teacher" / "generation_config.json").read_text())
    assert made["eos_token_id"] == [1, 5]


class StopsAt(tiny.Notes):
    """Progress that sets an event at the second report of a task."""

    def __init__(self, name, event):
        super().__init__()
        self.task, self._name, self._event, self.done = self.watched, name, event, 0

    @contextmanager
    def watched(self, name, **_):
        self._inside = name == self._name
        yield self

    def advance(self, amount=1, **_):
        self.done += self._inside
        if self.done == 2:
            self._event.set()


def test_another_thread_ends_a_run_as_ctrl_c_does_and_it_resumes(tmp_path):
    recipe = load_recipe(tiny.recipe_table(tmp_path, teacher__fine_tune=None, **tiny.NO_TEXTS))
    ended = []

    def in_a_thread(event, progress):
        with pytest.raises(Interrupted) as error:
            run(recipe, tmp_path / "r", progress=progress, cancel=event)
        ended.append((str(error.value), error.value.signal_exit_code))

    for name, sentence in (
        ("data", "cancelled; stage data is not finished, the stages before it are; run it again to resume"),
        ("train student", "cancelled; saved a checkpoint of the student at step 3 of 10; run it again to resume"),
    ):
        event = threading.Event()
        thread = threading.Thread(target=in_a_thread, args=(event, StopsAt(name, event)))
        thread.start()
        thread.join()
        assert ended.pop() == (sentence, 130)
        assert json.loads((tmp_path / "r" / "run.json").read_text())["status"] == "interrupted"
    notes = tiny.Notes()
    assert (
        run(recipe, tmp_path / "r", progress=notes, cancel=threading.Event()).score("student", "loss.hard").count == 10
    )
    assert "student: resuming from the checkpoint at step 3" in notes.notes


def test_a_run_that_waits_for_its_turn_can_be_cancelled(tmp_path):
    recipe = load_recipe(tiny.recipe_table(tmp_path))
    event, taken, over = threading.Event(), threading.Event(), threading.Event()

    def hold():
        with opening._turn(tiny.Notes()):
            taken.set()
            over.wait(60)

    holder = threading.Thread(target=hold)
    holder.start()
    taken.wait(60)
    event.set()
    try:
        with pytest.raises(Interrupted, match=r"^cancelled; the run has not begun; run it again to resume$"):
            run(recipe, tmp_path / "r", cancel=event)
    finally:
        over.set()
        holder.join()
    assert not (tmp_path / "r").exists()


def test_a_teacher_that_is_replaced_while_a_run_is_under_way_is_refused(tmp_path, monkeypatch):
    """The student would be made of the new one's layers and trained on the logits of the other."""
    model = tmp_path / "m"
    tiny.model(tiny.T5).save(model, texts={})
    changes = {"teacher": {"name": "hf-seq2seq", "model": str(model)}, "training__epochs": 1, **tiny.NO_TEXTS}
    with monkeypatch.context() as patched:
        patched.setattr(*tiny.signalling("kdkit.training.loop:Trainer._step", 1, signal.SIGINT))
        with pytest.raises(Interrupted):
            tiny.run_here(tmp_path, **changes)
    kept = tmp_path / "kept"
    model.rename(kept)
    tiny.model(tiny.T5, seed=2).save(model, texts={})
    with pytest.raises(
        Mismatch, match=r"the teacher in \S+ has other weights .* put the former files back, or run with"
    ):
        tiny.run_here(tmp_path, **changes)
    shutil.rmtree(model)
    kept.rename(model)
    tiny.run_here(tmp_path, **changes)


def test_a_student_that_is_replaced_while_a_run_is_under_way_is_refused(tmp_path, monkeypatch):
    """It would be compared with an untrained one, and one without a teacher, of other weights."""
    model = tmp_path / "m"
    tiny.model(tiny.T5).save(model, texts={})
    same = {"name": "hf-seq2seq", "model": str(model)}
    changes = {"teacher": dict(same), "student": same, "training__epochs": 1, "evaluation__baselines": True}
    changes |= tiny.NO_TEXTS
    changes["teacher"]["model"] = str(shutil.copytree(model, tmp_path / "t"))
    with monkeypatch.context() as patched:
        patched.setattr(*tiny.signalling("kdkit.training.loop:Trainer._step", 1, signal.SIGINT))
        with pytest.raises(Interrupted):
            tiny.run_here(tmp_path, **changes)
    kept = model.rename(tmp_path / "kept")
    tiny.model(tiny.T5, seed=2).save(model, texts={})
    said = r"the student in \S+ has other weights .* put the former files back, or run with --fresh"
    with pytest.raises(Mismatch, match=said):
        tiny.run_here(tmp_path, **changes)
    shutil.rmtree(model)
    kept.rename(model)
    tiny.run_here(tmp_path, **changes)


def test_a_model_that_is_used_as_it_is_stays_where_it_lies(tmp_path):
    model = tmp_path / "m"
    tiny.model(tiny.T5).save(model, texts={})
    before = {path: path.read_bytes() for path in model.iterdir()}
    report = tiny.run_here(tmp_path, teacher={"name": "hf-seq2seq", "model": str(model)})
    assert not (report.run_dir / "teacher").exists()
    assert {path: path.read_bytes() for path in model.iterdir()} == before
    assert report.costs["teacher"].bytes_on_disk == (model / "model.safetensors").stat().st_size


def test_alpha_0_captures_nothing(tmp_path):
    report = tiny.run_here(tmp_path, loss__alpha=0.0)
    assert not (tmp_path / "runs" / "cache" / "logits").exists()
    assert "cache" not in record(report.run_dir)["stages"]["capture"]["facts"]
    assert (report.run_dir / "predictions" / "teacher.jsonl").exists()
    assert {score.metric for score in report.scores if score.suite == "loss"} == {"hard", "total"}


def test_another_recipe_on_the_folder_is_refused_unless_fresh(recipe, whole, tmp_path):
    folder = shutil.copytree(whole.parent, tmp_path / "runs") / "tiny"
    command = ("run", recipe, "--run-dir", folder, "-o", "seed=1", "-o", "loss.alpha=0.25")
    code, said = tiny.kdkit(*command, log=tmp_path / "log")
    assert code == 2
    assert "loss.alpha: 0.5 there, 0.25 in this recipe" in said
    assert "seed: 42 there, 1 in this recipe" in said
    assert student(folder) == student(whole)
    (folder / "stray").write_text("")
    code, said = tiny.kdkit(*command, "--fresh", log=tmp_path / "log")
    assert code == 0, said
    assert not (folder / "stray").exists()
    assert record(folder)["seeds"] == {"seed": 1}
    assert [line["step"] for line in tiny.metrics(folder)] == list(range(1, 11))


def test_a_second_process_on_the_folder_is_refused(recipe, whole, tmp_path):
    folder = shutil.copytree(whole.parent, tmp_path / "runs") / "tiny"
    before = record(folder)
    with FileLock(folder / ".lock"):
        code, said = tiny.kdkit("run", recipe, "--run-dir", folder, "--fresh", log=tmp_path / "log")
    assert code == 2
    assert f"another kdkit process works in {folder}" in said
    assert record(folder) == before


def test_a_loss_that_is_not_finite_ends_with_code_1_and_one_sentence(tmp_path):
    path = tiny.write_recipe(
        tmp_path, training__learning_rate=1e30, training__max_grad_norm=0.0, training__warmup_ratio=0.0
    )
    code, said = tiny.kdkit("run", path, "--run-dir", tmp_path / "runs" / "r", log=tmp_path / "log")
    assert code == 1, said
    assert re.search(
        r"^error: step 2 of the student's training: the .* is not finite .* on rows train:\d+", said, re.MULTILINE
    )
    assert "Traceback" not in said
    assert record(tmp_path / "runs" / "r")["stages"]["distill"]["status"] == "failed"


def test_in_a_script_the_refusal_is_an_exception(recipe, whole):
    from kdkit.pipeline.run import run
    from kdkit.recipe import load_recipe

    with pytest.raises(Mismatch, match="another recipe"):
        run(load_recipe(recipe, ["loss.alpha=0.1"]), whole)
