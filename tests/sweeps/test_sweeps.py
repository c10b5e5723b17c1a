"""A sweep runs what is not done, and only that, whatever stops it or works beside it."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import attrs
import pytest
import tiny
from filelock import FileLock

from kdkit import cli
from kdkit import plugins as plugin_loading
from kdkit.api.hookspecs import hookimpl
from kdkit.api.values import AxisValue
from kdkit.errors import DamagedData, Interrupted, Mismatch, MissingInput, RecipeError, UsageError
from kdkit.logits.cache import Part
from kdkit.pipeline import sweep
from kdkit.pipeline.sweep import note_sweep, part_of, run_sweep
from kdkit.store import making, store_of, sweep_of
from kdkit.sweeps import read_sweep, trial_folder
from kdkit.sweeps.display import Table, ending_of, fitting
from kdkit.sweeps.folder import NEEDED, claim_of, log_of, trial_facts
from kdkit.sweeps.process import Places, threads_of_each
from kdkit.sweeps.reading import load_sweep
from kdkit.sweeps.state import Board, Entry
from kdkit.sweeps.titles import columns_of
from kdkit.system.team import Team

ALPHAS = [0.0, 0.25, 0.5, 1.0]


def record(trial, status: str, best: float = 0.5) -> dict:
    """A sweep.json that says so much."""
    stages = {"distill": {"status": status, "seconds": 2.0, "facts": {"best_by": "text.f1", "best_value": best}}}
    return {"name": "t", "recipe_digest": trial.recipe.digest, "status": status, "stages": stages}


def leave_outputs(place: Path) -> None:
    """What a sweep needs of a trial that is done."""
    for name in NEEDED:
        if not (place / name).exists():
            (place / name).write_text("")


@attrs.define
class Ended:
    code: int
    sent: list[int] = attrs.field(factory=list)

    def poll(self):
        return self.code

    def send(self, number):
        self.sent.append(number)


class Runs:
    """Starts trials that end at once; those whose alpha is in `fails` fail."""

    def __init__(self, *fails: float) -> None:
        self.fails, self.started, self.slots = fails, [], []

    def __call__(self, trial, folder, *, slot):
        self.started.append((*trial.values.values(), trial.seed))
        self.slots.append(slot)
        failed = trial.recipe.loss.alpha in self.fails
        place, log = trial_folder(folder, trial.id), log_of(folder, trial.id)
        for each in (place, log.parent):
            each.mkdir(parents=True, exist_ok=True)
        (place / "recipe.toml").write_text(trial.recipe.to_toml())
        (place / "run.json").write_text(json.dumps(record(trial, "failed" if failed else "done")))
        if not failed:
            leave_outputs(place)
        log.write_text("error: it is too large\n" if failed else "all well\n")
        return Ended(1 if failed else 0)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    # The scores of trials that were not run are not there to be reported.
    monkeypatch.setattr(sweep, "write_end", lambda folder: SimpleNamespace(sweep=read_sweep(folder)))
    return tmp_path / "runs" / "s"


def sweep_of_alphas(tmp_path: Path, alphas=ALPHAS, **keys):
    table = tiny.recipe_table(tmp_path) | {"name": "s", "sweep": {"grid": {"loss.alpha": list(alphas)}, **keys}}
    return load_sweep(table)


def statuses(folder: Path) -> dict[float, str]:
    return {trial.values["loss.alpha"]: trial.status for trial in read_sweep(folder).trials}


def test_what_is_done_is_not_run_again_and_a_new_value_runs_alone(tmp_path, folder):
    first, again, more = Runs(), Runs(), Runs()
    assert run_sweep(sweep_of_alphas(tmp_path), folder, launch=first).exit_code == 0
    assert first.started == [(alpha, None) for alpha in ALPHAS]
    end = run_sweep(sweep_of_alphas(tmp_path), folder, launch=again)
    assert (again.started, end.done, end.failed) == ([], 4, 0)
    run_sweep(sweep_of_alphas(tmp_path, [0.1, *ALPHAS], seeds=[3]), folder, launch=more)
    assert more.started == [(alpha, 3) for alpha in [0.1, *ALPHAS]]  # with a seed of its own it is another trial


def test_a_failing_trial_stops_no_other_and_is_told(tmp_path, folder):
    shown = tiny.Notes()
    end = run_sweep(sweep_of_alphas(tmp_path), folder, launch=Runs(0.25), progress=shown)
    assert (end.done, end.failed, end.exit_code) == (3, 1, 3)
    assert statuses(folder) == {0.0: "done", 0.25: "failed", 0.5: "done", 1.0: "done"}
    failed = next(trial for trial in end.facts.trials if trial.status == "failed")
    assert failed.error == "it is too large"
    assert any(f"failed: it is too large; see {log_of(folder, failed.id)}" in note for note in shown.notes)
    assert run_sweep(sweep_of_alphas(tmp_path), folder, launch=Runs(*ALPHAS)).exit_code == 3  # only that one is tried


def test_if_none_is_done_the_sweep_has_failed(tmp_path, folder):
    assert run_sweep(sweep_of_alphas(tmp_path), folder, launch=Runs(*ALPHAS)).exit_code == 1


def test_fresh_deletes_what_trials_left_and_nothing_else(tmp_path, folder):
    run_sweep(sweep_of_alphas(tmp_path), folder, launch=Runs())
    (folder / "mine.txt").write_text("x")
    (folder / "search").mkdir()  # where searches keep theirs
    runs = Runs()
    run_sweep(sweep_of_alphas(tmp_path, [0.5]), folder, fresh=True, launch=runs)
    assert runs.started == [(0.5, None)]
    assert len(list((folder / "trials").iterdir())) == 1
    assert (folder / "mine.txt").exists()
    assert not (folder / "search").exists()


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_parts_share_the_trials_out_without_talking(tmp_path, folder, count):
    sweep, started = sweep_of_alphas(tmp_path, seeds=[1, 2]), []
    for index in range(count):
        runs = Runs()
        end = run_sweep(sweep, folder, part=Part(index=index, count=count), launch=runs)
        assert end.exit_code == 0
        assert len(runs.started) == end.done
        started += runs.started
    assert sorted(started) == sorted((*trial.values.values(), trial.seed) for trial in sweep.trials)
    assert part_of(sweep.trials, None) == sweep.trials
    with pytest.raises(UsageError, match="--fresh with --part would delete the work of other parts"):
        run_sweep(sweep, folder, part=Part(index=0, count=count), fresh=True, launch=Runs())
    assert set(statuses(folder).values()) == {"done"}


def test_jobs_have_places_of_their_own(tmp_path, folder):
    runs = Runs()
    run_sweep(sweep_of_alphas(tmp_path), folder, jobs=3, launch=runs)
    assert set(runs.slots) == {0, 1, 2}


def test_a_trial_that_another_process_works_on_is_waited_for(tmp_path, folder):
    sweep, runs, shown = sweep_of_alphas(tmp_path), Runs(), tiny.Notes()
    first = sweep.trials[0]
    place = trial_folder(folder, first.id)
    place.mkdir(parents=True)
    (folder / "sweep.json").write_text("{}")
    lock = FileLock(place / ".lock", thread_local=False)
    lock.acquire()

    def finish():
        while len(runs.started) < 3:
            time.sleep(0.05)
        leave_outputs(place)
        (place / "run.json").write_text(json.dumps(record(first, "done")))
        lock.release()

    other = threading.Thread(target=finish)
    other.start()
    end = run_sweep(sweep, folder, launch=runs, progress=shown)
    other.join()
    assert [alpha for alpha, _ in runs.started] == ALPHAS[1:]
    assert (end.done, end.failed) == (4, 0)
    assert any("another process is working on it" in note for note in shown.notes)


@pytest.mark.parametrize("name", NEEDED)
def test_a_trial_that_has_lost_an_output_is_not_done_and_is_run_again(tmp_path, folder, name):
    sweep, runs = sweep_of_alphas(tmp_path), Runs()
    run_sweep(sweep, folder, launch=Runs())
    (trial_folder(folder, sweep.trials[1].id) / name).unlink()
    assert statuses(folder) == {0.0: "done", 0.25: "interrupted", 0.5: "done", 1.0: "done"}
    assert run_sweep(sweep, folder, launch=runs).exit_code == 0
    assert runs.started == [(0.25, None)]


@pytest.mark.parametrize("damage", [lambda file: file.write_text("{"), lambda file: file.unlink()])
def test_a_trial_with_a_damaged_record_has_failed_and_blocks_no_other(tmp_path, folder, damage):
    sweep = sweep_of_alphas(tmp_path)
    run_sweep(sweep, folder, launch=Runs())
    place = trial_folder(folder, sweep.trials[1].id)
    damage(place / "run.json")
    assert statuses(folder) == {0.0: "done", 0.25: "failed", 0.5: "done", 1.0: "done"}
    error = read_sweep(folder).trials[1].error
    assert error.endswith(f"delete the folder {place} and run the sweep again, which repeats this trial")
    assert "--fresh" not in error
    shutil.rmtree(place)
    runs = Runs()
    assert run_sweep(sweep, folder, launch=runs).exit_code == 0
    assert runs.started == [(0.25, None)]


def test_a_report_leaves_out_what_cannot_be_read_and_says_how_to_have_it_again(tmp_path):
    sweep, folder = sweep_of_alphas(tmp_path), tmp_path / "runs" / "s"
    end = run_sweep(sweep, folder, launch=Runs())  # their outputs are empty files
    assert (end.done, end.failed, end.exit_code) == (0, 4, 1)
    text = (folder / "report.md").read_text()
    for trial in end.facts.trials:
        assert trial.error.startswith(f"{trial.folder / 'evaluation.json'} is damaged (")
        assert f"Trial {trial.id} is left out of every number here" in text
    assert len(json.loads((folder / "results.json").read_text())["trials"]) == 4


def test_a_trial_that_another_sweep_has_just_started_is_not_started_again(tmp_path, folder):
    sweep, runs, shown = sweep_of_alphas(tmp_path), Runs(), tiny.Notes()
    first = sweep.trials[0]
    claim_of(folder, first.id).parent.mkdir(parents=True)
    (folder / "sweep.json").write_text("{}")
    claim = FileLock(claim_of(folder, first.id), thread_local=False)
    claim.acquire()

    def finish():
        while len(runs.started) < 3:
            time.sleep(0.05)
        Runs()(first, folder, slot=0)
        claim.release()

    other = threading.Thread(target=finish)
    other.start()
    end = run_sweep(sweep, folder, launch=runs, progress=shown)
    other.join()
    assert [alpha for alpha, _ in runs.started] == ALPHAS[1:]
    assert end.exit_code == 0


SWEEP = f"""
import subprocess, sys
from pathlib import Path
from types import SimpleNamespace
sys.path.insert(0, {str(Path(__file__).parents[1] / "helpers")!r})
import attrs, light_trial
from kdkit.cli import main
from kdkit.pipeline import sweep
from kdkit.sweeps import read_sweep, trial_folder
sweep.write_end = lambda folder: SimpleNamespace(sweep=read_sweep(folder))
@attrs.define
class Light:
    running: object
    def poll(self): return self.running.poll()
    def send(self, number): self.running.send_signal(number)
def launch(trial, folder, *, slot):
    place = trial_folder(folder, trial.id)
    place.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", light_trial.TRIAL, str(place), trial.recipe.digest, "marks.txt", sys.argv[1]]
    return Light(subprocess.Popen(command, start_new_session=True))
sweep.Places = lambda jobs: launch
main(["run", "s.toml", "--run-dir", "s", "--jobs", "2", "--json"])
"""


def start(tmp_path: Path, seconds: float) -> subprocess.Popen:
    """A sweep of such trials in a process of its own."""
    command = [sys.executable, "-c", SWEEP, str(seconds)]
    return subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def write_sweep_recipe(tmp_path: Path, alphas=ALPHAS) -> None:
    tiny.write_recipe(tmp_path, "base")
    (tmp_path / "s.toml").write_text(f'extends = "base.toml"\nname = "s"\n[sweep.grid]\nloss.alpha = {alphas}\n')


def marks(tmp_path: Path) -> list[str]:
    file = tmp_path / "marks.txt"
    return file.read_text().split() if file.exists() else []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_is_passed_on_and_the_same_command_goes_on(tmp_path, number, code):
    write_sweep_recipe(tmp_path)
    stopped = start(tmp_path, 60)
    while len(marks(tmp_path)) < 2:
        assert stopped.poll() is None, stopped.stdout.read()
        time.sleep(0.05)
    time.sleep(0.2)
    stopped.send_signal(number)
    said, _ = stopped.communicate(timeout=30)
    assert stopped.returncode == code, said
    assert "0 of 4 trials finished in s; run the same command to resume" in said
    assert list(statuses(tmp_path / "s").values()) == ["interrupted", "interrupted", "waiting", "waiting"]
    after = start(tmp_path, 0.01)
    said, _ = after.communicate(timeout=60)
    assert after.returncode == 0, said
    assert set(statuses(tmp_path / "s").values()) == {"done"}


def test_two_sweeps_at_once_in_one_folder_run_each_trial_once(tmp_path):
    write_sweep_recipe(tmp_path)
    both = [start(tmp_path, 0.3) for _ in range(2)]
    ends = [(each.communicate(timeout=60)[0], each.returncode) for each in both]
    assert [code for _, code in ends] == [0, 0], ends
    assert len(marks(tmp_path)) == len(set(marks(tmp_path))) == len(ALPHAS)


def test_a_trial_that_was_killed_has_failed_and_says_by_what(tmp_path):
    sweep = sweep_of_alphas(tmp_path, [0.5])
    folder = tmp_path / "s"
    (folder / "logs").mkdir(parents=True)
    running = Places(jobs=1)(sweep.trials[0], folder, slot=0)
    running.send(signal.SIGKILL)
    while running.poll() is None:
        time.sleep(0.01)
    note_sweep(sweep, folder, sweep.trials)
    facts = read_sweep(folder).trials[0]
    assert facts.status == "failed"
    assert facts.error.startswith("the process was killed by SIGKILL")


def test_each_trial_has_its_share_of_the_cores_and_a_gpu_in_turn():
    places = Places(jobs=2, devices=("0", "1"))
    environments = [places.environment(slot, device="auto", of={}) for slot in range(2)]
    cores = len(os.sched_getaffinity(0))
    assert [each["CUDA_VISIBLE_DEVICES"] for each in environments] == ["0", "1"]
    assert {each["OMP_NUM_THREADS"] for each in environments} == {str(max(1, cores // 2))} == {str(threads_of_each(2))}
    assert places.environment(0, device="cpu", of={"OMP_NUM_THREADS": "7"}) == {"OMP_NUM_THREADS": "7"}
    assert Places(jobs=1, devices=()).environment(0, device="auto", of={"A": "b"}) == {"A": "b"}


def test_a_sweeps_folder_is_its_own(tmp_path, folder):
    sweep = sweep_of_alphas(tmp_path)
    for name, content, sentence in (
        ("run.json", "{}", "holds a single run"),
        ("x", "", "is not empty and is not the folder of a sweep"),
    ):
        other = tmp_path / name.replace(".", "-")
        other.mkdir()
        (other / name).write_text(content)
        with pytest.raises(UsageError, match=sentence):
            run_sweep(sweep, other, launch=Runs())
        assert [each.name for each in other.iterdir()] == [name]
    with pytest.raises(UsageError, match="--jobs must be at least 1, is 0"):
        run_sweep(sweep, folder, jobs=0)
    with pytest.raises(MissingInput, match="is not the folder of a sweep"):
        read_sweep(tmp_path)


def test_a_sweep_that_another_process_begins_at_this_moment_is_joined(tmp_path, folder, monkeypatch):
    sweep, listed = sweep_of_alphas(tmp_path), Path.iterdir
    folder.mkdir(parents=True)
    (folder / ".sweep.json.7-a.tmp").write_text("")

    def another_begins(path):
        if path == folder and not (folder / "sweep.json").exists():
            note_sweep(sweep, folder, sweep.trials)
        return listed(path)

    monkeypatch.setattr(Path, "iterdir", another_begins)
    runs = Runs()
    assert run_sweep(sweep, folder, launch=runs).exit_code == 0
    assert [alpha for alpha, _ in runs.started] == ALPHAS


def test_a_sweep_of_the_defaults_of_an_earlier_format_is_resumed_with_these_or_refused(tmp_path, folder):
    table = tiny.recipe_table(tmp_path, training__batch_size=None) | {
        "name": "s",
        "sweep": {"grid": {"loss.alpha": [0, 1]}},
    }
    first, again = Runs(), Runs()
    run_sweep(load_sweep({"kdkit_recipe": 2, **table}), folder, launch=first)
    assert (folder / "sweep.toml").read_text().startswith("kdkit_recipe = 2\n")
    with pytest.raises(Mismatch, match=r"begun when options had other defaults; kdkit_recipe = 2 before the recipe's"):
        run_sweep(load_sweep(table), folder, launch=again)
    assert read_sweep(folder).trials[0].status == "done"
    run_sweep(load_sweep({"kdkit_recipe": 2, **table}), folder, launch=again)
    said = {**table, "training": {**table["training"], "batch_size": 2}}  # another text, the same trials
    run_sweep(load_sweep(said), folder, launch=again)
    assert (len(first.started), again.started) == (2, [])


@pytest.mark.parametrize("content", ["{", "[]", '{"kdkit_sweep": 3}', '{"kdkit_sweep": 2, "name": "x"}'])
def test_a_damaged_sweep_is_told(tmp_path, content):
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(DamagedData, match=r"sweep\.json is damaged"):
        read_sweep(tmp_path)


def test_trials_share_the_store_of_a_run_beside_the_sweep(tmp_path, folder, monkeypatch):
    monkeypatch.delenv("KDKIT_STORE", raising=False)
    sweep = sweep_of_alphas(tmp_path)
    run_sweep(sweep, folder, launch=Runs())
    trial = sweep.trials[0]
    place = trial_folder(folder, trial.id)
    assert (
        store_of(trial.recipe.store.dir, place)
        == store_of(trial.recipe.store.dir, folder.with_name("plain"))
        == tmp_path / "runs" / "cache"
    )
    assert sweep_of(place) == folder
    assert sweep_of(tmp_path / "trials" / "x") is None


def test_who_makes_what_another_makes_waits_and_says_so(tmp_path):
    entry, made, notes = tmp_path / "teachers" / "k", [], []

    def make(name):
        with making(entry, notes.append, what="teacher"):
            made.append(f"{name} in")
            time.sleep(0.3)
            made.append(f"{name} out")

    threads = [threading.Thread(target=make, args=(name,)) for name in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made in (["a in", "a out", "b in", "b out"], ["b in", "b out", "a in", "a out"])
    assert notes == [f"waiting for another run that makes the same teacher ({entry})"]


def test_the_table_has_never_more_rows_than_the_screen_and_shows_what_runs(tmp_path):
    from rich.console import Console

    trials = sweep_of_alphas(tmp_path, seeds=list(range(20))).trials
    entries = [Entry(trial=trial, log=tmp_path / "log") for trial in trials]
    states = ["done"] * 40 + ["failed"] + ["running"] * 2
    for entry, state in zip(entries, states, strict=False):
        entry.state, entry.seconds = state, 60.0
    shown = fitting(entries, 10)
    assert len(shown) == 10
    assert [entry.state for entry in shown].count("running") == 2
    assert any(entry.state == "failed" for entry in shown)
    console = Console(width=100, height=16, record=True, file=io.StringIO())
    board = Board(jobs=2, entries=entries)
    console.print(Table(board=board, axes=("loss.alpha",), console=console).drawn())
    text = console.export_text()
    assert len(text.splitlines()) <= 16
    assert "40 of 80 trials done, 2 running, 1 failed, 0:00 so far, about" in text


@pytest.mark.parametrize("width", [110, 80, 60, 40, 20])
def test_no_column_of_the_table_is_cut_but_the_last_which_goes_where_there_is_no_room(tmp_path, width):
    from rich.console import Console

    log = tmp_path / "log"
    log.write_text("x" * 500 + "\n")
    entries = [Entry(trial=trial, log=log) for trial in sweep_of_alphas(tmp_path, seeds=[11, 12]).trials]
    entries[0].state, entries[0].began = "running", time.monotonic() - 61
    entries[1].state, entries[1].seconds, entries[1].best = "done", 3600.0, 0.123456
    console = Console(width=width, height=30, record=True, file=io.StringIO())
    console.print(Table(board=Board(jobs=1, entries=entries), axes=("learning_rate",), console=console).drawn())
    lines = [line.split() for line in console.export_text().splitlines()]
    assert all(len(line) <= width for line in console.export_text().splitlines())
    if width < 40:
        return  # then all are cut alike
    head = "learning_rate" if width > 40 else lines[1][0]
    assert head.removesuffix("…") in "learning_rate"
    assert lines[1][:5] == [head, "seed", "state", "time", "f1"]
    assert lines[3][:4] == ["0.0", "11", "running", "1:01"]
    assert ["0.25", "11", "done", "1:00:00", "0.123"] in lines
    assert any(cell.startswith("xxx") for cell in lines[3]) == (width > 60)


def table_of(entries, axes, *, width=80):
    from rich.console import Console

    console = Console(width=width, height=24, record=True, file=io.StringIO())
    console.print(Table(board=Board(jobs=1, entries=entries), axes=axes, console=console).drawn())
    return console.export_text().splitlines()


def test_long_values_are_cut_in_their_middle_and_no_other_column_is(tmp_path):
    codecs = [{"name": "u8-lz4", "scope": scope, "clip": 15.5} for scope in ("row", "array")]
    files = [f"{'x' * 50}/{name}.jsonl" for name in ("test", "other")]
    table = tiny.recipe_table(tmp_path) | {
        "sweep": {"grid": {"codec": codecs, "training.learning_rate": [0.001, 0.002], "data.test": files}}
    }
    entries = [Entry(trial=trial, log=tmp_path / "log") for trial in load_sweep(table).trials]
    for entry in entries:
        entry.state, entry.seconds, entry.best = "done", 3600.0, 0.5
    lines = table_of(entries, columns_of(tuple(entries[0].trial.told)))
    assert all(len(line) <= 80 for line in lines)
    assert lines[1].split()[-3:] == ["state", "time", "f1"]
    for line in lines[3:5]:
        assert line.split()[-3:] == ["done", "1:00:00", "0.500"]
        assert line.split()[:2] == ["row", "0.001"]
        assert "…" in line


@pytest.mark.parametrize(
    ("axis", "values", "best_by", "shown"),
    [
        ("loss.alpha", [0.25, 0.75], "loss", ("hard loss", "2.500")),
        ("loss.temperature", [1.0, 2.0], "soft", ("hard loss", "2.500")),
        ("loss.alpha", [0.25, 0.75], "text.exact_match", ("exact match", "1.000")),
        ("training.learning_rate", [0.25, 0.75], "loss", ("loss", "1.000")),
    ],
)
def test_total_losses_of_different_alphas_do_not_stand_side_by_side(tmp_path, axis, values, best_by, shown):
    table = tiny.recipe_table(tmp_path, training__best_by=best_by) | {"sweep": {"grid": {axis: values}}}
    board = Board(jobs=1)
    for trial in load_sweep(table).trials:
        place = trial_folder(tmp_path, trial.id)
        place.mkdir(parents=True)
        lines = [
            {"stage": stage, "kind": "validation", "best": best, "loss": 1.0, "hard": hard}
            for stage, best, hard in [("teacher", True, 9.0), ("student", True, 2.5), ("student", False, 3.5)]
        ]
        (place / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
        made = record(trial, "done", best=1.0)
        made["stages"]["distill"]["facts"]["best_by"] = best_by
        (place / "run.json").write_text(json.dumps(made))
        entry = Entry(trial=trial, log=tmp_path / "log", state="done")
        entry.take(trial_facts(tmp_path, trial.id, values=trial.values, seed=None))
        board.entries.append(entry)
    assert [board.value(entry) for entry in board.entries] == [shown] * 2
    text = "\n".join(table_of(board.entries, (axis,)))
    assert shown[0] in text.splitlines()[1]
    assert text.count(shown[1]) == 2
    assert f", {' '.join(shown)}" in ending_of(board.entries[0], board)


def test_the_time_that_is_left_is_by_the_median_of_what_was_measured_here(tmp_path):
    entries = [Entry(trial=trial, log=tmp_path) for trial in sweep_of_alphas(tmp_path, seeds=[1, 2]).trials]
    board = Board(jobs=1, entries=entries)
    assert board.seconds_left() is None
    entries[0].state, entries[0].seconds = "done", 5000.0  # with a first try under another load
    assert board.seconds_left() == 7 * 5000
    for entry, took in zip(entries[1:4], (900.0, 10.0, 12.0), strict=True):
        entry.state, entry.seconds, entry.took = "done", took, took
    assert board.seconds_left() == 4 * 12
    board.wanted = 10
    assert board.seconds_left() == 6 * 12


@attrs.frozen(kw_only=True)
class Downhill:
    """Proposes the alphas in turn, each once; keeps what it is told."""

    wanted: int = 3
    axis: str = "loss.alpha"
    top: float = 1.0
    beyond: float | None = None

    @property
    def axes(self):
        return (self.axis,)

    @property
    def trials(self):
        return self.wanted

    def ends(self):
        return [AxisValue(axis=self.axis, value=self.top, at=("top",))]

    def open(self, folder, *, seed):
        return OpenDownhill([self.beyond] if self.beyond is not None else [])


TOLD = []
HIGHER_IS_BETTER = []


class OpenDownhill:
    known = ()

    def __init__(self, beyond):
        self.order = [*beyond, *ALPHAS]

    def tell(self, outcomes):
        self.known = outcomes
        HIGHER_IS_BETTER.extend(each.higher_is_better for each in outcomes)
        TOLD.append([(each.values["loss.alpha"], each.status, each.value) for each in outcomes])

    def ask(self):
        known = [each.values["loss.alpha"] for each in self.known]
        return {"loss.alpha": next(alpha for alpha in self.order if alpha not in known)}

    def close(self):
        pass


@attrs.frozen(kw_only=True)
class Errors:
    """A suite of which less is better."""

    directions: ClassVar[dict[str, str]] = {"errors": "lower"}

    def score(self, generated, references, examples):
        return {"errors": [float(text != reference) for text, reference in zip(generated, references, strict=True)]}


class Searches:
    @hookimpl
    def register_searches(self, register):
        register("downhill", Downhill)

    @hookimpl
    def register_metrics(self, register):
        register("errors", Errors)


def searching(tmp_path: Path, **keys):
    table = tiny.recipe_table(tmp_path) | {"name": "s", "sweep": {"search": {"name": "downhill", **keys}}}
    return table, plugin_loading.load((Searches(),))


def test_a_search_is_asked_and_told_until_there_are_as_many_trials_as_it_wants(tmp_path, folder):
    TOLD.clear()
    table, plugins = searching(tmp_path)
    table["sweep"]["seeds"] = [1, 2]
    sweep, runs = load_sweep(table, plugins=plugins), Runs(0.25)
    end = run_sweep(sweep, folder, launch=runs)
    assert runs.started == [(alpha, seed) for alpha in ALPHAS[:3] for seed in (1, 2)]
    assert (end.done, end.failed, end.exit_code) == (4, 2, 3)
    assert TOLD[-1] == [(0.0, "done", 0.5), (0.25, "failed", None), (0.5, "done", 0.5)]
    assert [(t.values["loss.alpha"], t.seed) for t in read_sweep(folder).trials] == runs.started


@pytest.mark.parametrize(
    ("best_by", "higher"), [("text.f1", True), ("errors.errors", False), ("hard", False), ("loss", False)]
)
def test_a_search_is_told_which_values_are_better(tmp_path, folder, best_by, higher):
    HIGHER_IS_BETTER.clear()
    table, plugins = searching(tmp_path, wanted=1)
    table["evaluation"] |= {"suites": ["text", "errors"]}
    table["training"] |= {"best_by": best_by}
    run_sweep(load_sweep(table, plugins=plugins), folder, launch=Runs())
    assert set(HIGHER_IS_BETTER) == {higher}


def test_a_lost_study_is_made_again_from_the_run_folders(tmp_path, folder):
    table, plugins = searching(tmp_path, wanted=2)
    run_sweep(load_sweep(table, plugins=plugins), folder, launch=Runs())
    (folder / "sweep.json").write_text("{}")
    TOLD.clear()
    more, runs = searching(tmp_path, wanted=3)[0], Runs()
    run_sweep(load_sweep(more, plugins=plugins), folder, launch=runs)
    assert runs.started == [(0.5, None)]  # what was proposed before is neither lost nor run again
    assert sorted(TOLD[0]) == [(0.0, "done", 0.5), (0.25, "done", 0.5)]


def test_a_search_varies_keys_that_there_are_and_is_not_split(tmp_path, folder):
    table, plugins = searching(tmp_path, axis="loss.alpa")
    with pytest.raises(RecipeError, match=r'sweep\.search: "alpa" is not an option of loss "kd"; did you mean "alpha"'):
        load_sweep(table, plugins=plugins)
    table, plugins = searching(tmp_path)
    table["sweep"]["grid"] = {"loss.alpha": [1]}
    with pytest.raises(RecipeError, match=r"sweep\.grid: cannot be used with \[sweep\.search\]"):
        load_sweep(table, plugins=plugins)
    del table["sweep"]["grid"]
    with pytest.raises(UsageError, match=r"--part cannot be used with \[sweep\.search\]"):
        run_sweep(load_sweep(table, plugins=plugins), folder, part=Part(index=0, count=2), launch=Runs())


def test_an_end_of_a_searchs_range_that_makes_no_recipe_is_wrong_before_any_trial(tmp_path):
    table, plugins = searching(tmp_path, top=2.0)
    with pytest.raises(RecipeError, match=r"^<dict>: loss\.alpha: must be at most 1, is 2$"):
        load_sweep(table, plugins=plugins)


def test_a_proposal_that_makes_no_trial_is_a_failed_one_and_ends_nothing(tmp_path, folder):
    TOLD.clear()
    table, plugins = searching(tmp_path, beyond=1.5)
    runs, shown = Runs(), tiny.Notes()
    end = run_sweep(load_sweep(table, plugins=plugins), folder, launch=runs, progress=shown)
    assert [alpha for alpha, _ in runs.started] == ALPHAS[:2]
    assert (end.done, end.failed, end.exit_code) == (2, 1, 3)
    assert (1.5, "failed", None) in TOLD[-1]
    (note,) = [note for note in shown.notes if "is not a valid trial" in note]
    assert "proposed loss.alpha 1.5" in note
    assert "must be at most 1, is 1.5; correct sweep.search.space" in note
    assert any("2 of 3 trials done, 1 failed" in note for note in shown.notes)


def test_a_searchs_progress_counts_the_trials_that_it_wants(tmp_path, folder):
    table, plugins = searching(tmp_path)
    shown = tiny.Notes()
    run_sweep(load_sweep(table, plugins=plugins), folder, launch=Runs(), progress=shown)
    assert [note.split("; ")[-1].split(", ")[0] for note in shown.notes if "done in" in note] == [
        f"{done} of 3 trials done" for done in (1, 2, 3)
    ]


def test_what_another_process_has_asked_for_is_waited_for_and_reported(tmp_path, folder):
    table, plugins = searching(tmp_path, wanted=2)
    sweep = load_sweep(table, plugins=plugins)
    (other,) = sweep.proposed({"loss.alpha": 1.0})
    place, runs = trial_folder(folder, other.id), Runs()
    lock = FileLock(place / ".lock", thread_local=False)

    def launch(trial, folder, *, slot):
        place.mkdir(parents=True)
        (place / "recipe.toml").write_text(other.recipe.to_toml())
        lock.acquire()
        threading.Thread(target=finish).start()
        return runs(trial, folder, slot=slot)

    def finish():
        time.sleep(0.5)
        Runs()(other, folder, slot=0)
        lock.release()

    end = run_sweep(sweep, folder, launch=launch)
    assert len(runs.started) == 1
    assert (end.done, end.failed) == (2, 0)
    assert set(statuses(folder).values()) == {"done"}


def test_what_a_search_warns_of_is_a_line_of_the_progress(tmp_path, folder, monkeypatch):
    def tell(self, outcomes):
        self.known = outcomes
        warnings.warn("the journal is damaged;\nit is made again", stacklevel=2)

    monkeypatch.setattr(OpenDownhill, "tell", tell)
    table, plugins = searching(tmp_path, wanted=1)
    shown = tiny.Notes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run_sweep(load_sweep(table, plugins=plugins), folder, launch=Runs(), progress=shown)
    assert "the search warns: the journal is damaged; it is made again" in shown.notes


def test_a_second_ctrl_c_ends_at_once_and_says_how_to_go_on(tmp_path, folder):
    class Stuck(Ended):
        def poll(self):
            signal.raise_signal(signal.SIGINT)

    workers = []

    def launch(trial, folder, *, slot):
        workers.append(Stuck(0))
        return workers[-1]

    with pytest.raises(Interrupted, match="stopped at once; run the same command to resume") as left:
        run_sweep(sweep_of_alphas(tmp_path), folder, launch=launch)
    assert left.value.exit_code == 130
    assert workers[0].sent == [signal.SIGINT, signal.SIGKILL]


@pytest.mark.parametrize(("option", "value"), [("--jobs", "2"), ("--part", "0/2")])
def test_a_plain_recipe_has_no_trials_to_share_out(tmp_path, capsys, option, value):
    with pytest.raises(SystemExit) as left:
        cli.main(["run", str(tiny.write_recipe(tmp_path)), option, value])
    assert left.value.code == 2
    assert f"{option} is for sweeps, and {tmp_path / 'r.toml'} has no [sweep]" in capsys.readouterr().err


def test_a_sweep_is_not_for_the_processes_of_a_launcher(tmp_path, monkeypatch, capsys):
    write_sweep_recipe(tmp_path)
    monkeypatch.setattr("kdkit.system.launcher.join", lambda: Team(rank=0, size=2))
    monkeypatch.setattr(Team, "all_do", lambda self, work: work())
    with pytest.raises(SystemExit) as left:
        cli.main(["run", str(tmp_path / "s.toml")])
    assert left.value.code == 2
    assert (
        "is a sweep, whose trials are processes of their own, and a launcher has started 2" in capsys.readouterr().err
    )
