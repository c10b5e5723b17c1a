"""A sweep runs what is not done, and only that, whatever stops it or works beside it."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import attrs
import pytest
import tiny
from filelock import FileLock

from kdkit import cli
from kdkit import plugins as plugin_loading
from kdkit.cache import Part
from kdkit.errors import DamagedData, MissingInput, RecipeError, UsageError
from kdkit.hookspecs import hookimpl
from kdkit.recipe import load_sweep
from kdkit.store import making, store_of, sweep_of
from kdkit.sweeps import read_sweep, run, trial_folder
from kdkit.sweeps.board import Board, Entry
from kdkit.sweeps.display import Table, fitting
from kdkit.sweeps.facts import log_of
from kdkit.sweeps.process import Places
from kdkit.sweeps.run import part_of, run_sweep
from kdkit.team import Team

ALPHAS = [0.0, 0.25, 0.5, 1.0]


def record(trial, status: str, best: float = 0.5) -> dict:
    """A run.json that says so much."""
    stages = {"distill": {"status": status, "seconds": 2.0, "facts": {"best_by": "text.f1", "best_value": best}}}
    return {"name": "t", "recipe_digest": trial.recipe.digest, "status": status, "stages": stages}


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
        log.write_text("error: it is too large\n" if failed else "all well\n")
        return Ended(1 if failed else 0)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    # The scores of trials that were not run are not there to be reported.
    monkeypatch.setattr(run, "write_end", read_sweep)
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
    runs = Runs()
    run_sweep(sweep_of_alphas(tmp_path, [0.5]), folder, fresh=True, launch=runs)
    assert runs.started == [(0.5, None)]
    assert len(list((folder / "trials").iterdir())) == 1
    assert (folder / "mine.txt").exists()


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_shards_share_the_trials_out_without_talking(tmp_path, folder, count):
    sweep, started = sweep_of_alphas(tmp_path, seeds=[1, 2]), []
    for index in range(count):
        runs = Runs()
        end = run_sweep(sweep, folder, shard=Part(index=index, count=count), launch=runs)
        assert end.exit_code == 0
        assert len(runs.started) == end.done
        started += runs.started
    assert sorted(started) == sorted((*trial.values.values(), trial.seed) for trial in sweep.trials)
    assert part_of(sweep.trials, None) == sweep.trials
    with pytest.raises(UsageError, match="--fresh with --shard would delete what other parts have done"):
        run_sweep(sweep, folder, shard=Part(index=0, count=count), fresh=True, launch=Runs())
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
        (place / "run.json").write_text(json.dumps(record(first, "done")))
        lock.release()

    other = threading.Thread(target=finish)
    other.start()
    end = run_sweep(sweep, folder, launch=runs, progress=shown)
    other.join()
    assert [alpha for alpha, _ in runs.started] == ALPHAS[1:]
    assert (end.done, end.failed) == (4, 0)
    assert any("another process works on it" in note for note in shown.notes)


# A trial as far as a sweep can see: it locks its folder, keeps run.json, and leaves when it is told to.
TRIAL = """
import json, signal, sys, time
from pathlib import Path
from filelock import FileLock
place, digest, marks, seconds = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), float(sys.argv[4])
def say(status):
    table = {"name": "t", "recipe_digest": digest, "status": status, "stages": {}}
    (place / "run.json.new").write_text(json.dumps(table)); (place / "run.json.new").replace(place / "run.json")
def leave(number, frame):
    say("interrupted"); sys.exit(128 + number)
for number in (signal.SIGINT, signal.SIGTERM): signal.signal(number, leave)
with FileLock(place / ".lock", timeout=0):
    with marks.open("a") as file: file.write(place.name + "\\n")
    say("running")
    time.sleep(seconds)
    say("done")
"""
SWEEP = f"""
import subprocess, sys
from pathlib import Path
sys.path.insert(0, {str(Path(__file__).parent)!r})
import attrs, test_sweeps
from kdkit.cli import main
from kdkit.cli import run as verb
from kdkit.sweeps import read_sweep, run, trial_folder
run.write_end = read_sweep
@attrs.define
class Light:
    running: object
    def poll(self): return self.running.poll()
    def send(self, number): self.running.send_signal(number)
def launch(trial, folder, *, slot):
    place = trial_folder(folder, trial.id)
    place.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-c", test_sweeps.TRIAL, str(place), trial.recipe.digest, "marks.txt", sys.argv[1]]
    return Light(subprocess.Popen(command, start_new_session=True))
run.Places = lambda jobs: launch
main(["run", "s.toml", "--run-dir", "s", "--jobs", "2"])
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
    assert "0 of 4 trials are done in s; the same command goes on from there" in said
    assert list(statuses(tmp_path / "s").values()) == ["interrupted", "interrupted", "waiting", "waiting"]
    after = start(tmp_path, 0.01)
    said, _ = after.communicate(timeout=60)
    assert after.returncode == 0, said
    assert set(statuses(tmp_path / "s").values()) == {"done"}


def test_two_sweeps_at_once_in_one_folder_run_each_trial_once(tmp_path):
    write_sweep_recipe(tmp_path)
    both = [start(tmp_path, 0.3) for _ in range(2)]
    for each in both:
        said, _ = each.communicate(timeout=60)
        assert each.returncode == 0, said
    assert len(marks(tmp_path)) == len(set(marks(tmp_path))) == len(ALPHAS)


def test_a_trial_that_was_killed_has_failed_and_says_by_what(tmp_path):
    sweep = sweep_of_alphas(tmp_path, [0.5])
    folder = tmp_path / "s"
    (folder / "logs").mkdir(parents=True)
    running = Places(jobs=1)(sweep.trials[0], folder, slot=0)
    running.send(signal.SIGKILL)
    while running.poll() is None:
        time.sleep(0.01)
    run.note_sweep(sweep, folder, sweep.trials)
    facts = read_sweep(folder).trials[0]
    assert facts.status == "failed"
    assert facts.error.startswith("the process was ended by SIGKILL")


def test_each_trial_has_its_share_of_the_cores_and_a_gpu_in_turn():
    places = Places(jobs=2, devices=("0", "1"))
    environments = [places.environment(slot, device="auto", of={}) for slot in range(2)]
    cores = len(os.sched_getaffinity(0))
    assert [each["CUDA_VISIBLE_DEVICES"] for each in environments] == ["0", "1"]
    assert {each["OMP_NUM_THREADS"] for each in environments} == {str(max(1, cores // 2))}
    assert places.environment(0, device="cpu", of={"OMP_NUM_THREADS": "7"}) == {"OMP_NUM_THREADS": "7"}
    assert Places(jobs=1, devices=()).environment(0, device="auto", of={"A": "b"}) == {"A": "b"}


def test_a_sweeps_folder_is_its_own(tmp_path, folder):
    sweep = sweep_of_alphas(tmp_path)
    for name, content, sentence in (("run.json", "{}", "holds a single run"), ("x", "", "is not empty and no sweep's")):
        other = tmp_path / name.replace(".", "-")
        other.mkdir()
        (other / name).write_text(content)
        with pytest.raises(UsageError, match=sentence):
            run_sweep(sweep, other, launch=Runs())
        assert [each.name for each in other.iterdir()] == [name]
    with pytest.raises(UsageError, match="--jobs must be at least 1, is 0"):
        run_sweep(sweep, folder, jobs=0)
    with pytest.raises(MissingInput, match="is no sweep's folder"):
        read_sweep(tmp_path)


@pytest.mark.parametrize("content", ["{", "[]", '{"kdkit_sweep": 2}', '{"kdkit_sweep": 1, "name": "x"}'])
def test_a_damaged_sweep_is_told(tmp_path, content):
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(DamagedData, match=r"sweep\.json is damaged"):
        read_sweep(tmp_path)


def test_trials_share_the_store_of_a_run_beside_the_sweep(tmp_path, folder, monkeypatch):
    monkeypatch.delenv("KDKIT_CACHE", raising=False)
    sweep = sweep_of_alphas(tmp_path)
    run_sweep(sweep, folder, launch=Runs())
    trial = sweep.trials[0]
    place = trial_folder(folder, trial.id)
    assert (
        store_of(trial.recipe, place)
        == store_of(trial.recipe, folder.with_name("plain"))
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
    assert notes == [f"waits for another run that makes the same teacher ({entry})"]


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
    assert "40 of 80 trials done, 2 running, 1 failed, about" in text


@attrs.frozen(kw_only=True)
class Downhill:
    """Proposes the alphas in turn, each once; keeps what it is told."""

    wanted: int = 3
    axis: str = "loss.alpha"

    @property
    def axes(self):
        return (self.axis,)

    @property
    def trials(self):
        return self.wanted

    def open(self, folder, *, seed):
        return OpenDownhill()


TOLD = []


class OpenDownhill:
    known = ()

    def tell(self, outcomes):
        self.known = outcomes
        TOLD.append([(each.values["loss.alpha"], each.status, each.value) for each in outcomes])

    def ask(self):
        known = [each.values["loss.alpha"] for each in self.known]
        return {"loss.alpha": next(alpha for alpha in ALPHAS if alpha not in known)}

    def close(self):
        pass


class Searches:
    @hookimpl
    def register_searches(self, register):
        register("downhill", Downhill)


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
    with pytest.raises(RecipeError, match=r"sweep\.grid: does not go with \[sweep\.search\]"):
        load_sweep(table, plugins=plugins)
    del table["sweep"]["grid"]
    with pytest.raises(UsageError, match=r"--shard does not go with \[sweep\.search\]"):
        run_sweep(load_sweep(table, plugins=plugins), folder, shard=Part(index=0, count=2), launch=Runs())


@pytest.mark.parametrize(("option", "value"), [("--jobs", "2"), ("--shard", "0/2")])
def test_a_plain_recipe_has_no_trials_to_share_out(tmp_path, capsys, option, value):
    with pytest.raises(SystemExit) as left:
        cli.main(["run", str(tiny.write_recipe(tmp_path)), option, value])
    assert left.value.code == 2
    assert f"{option} is for sweeps, and {tmp_path / 'r.toml'} has no [sweep]" in capsys.readouterr().err


def test_a_sweep_is_not_for_the_processes_of_a_launcher(tmp_path, monkeypatch, capsys):
    write_sweep_recipe(tmp_path)
    monkeypatch.setattr("kdkit.launcher.join", lambda: Team(rank=0, size=2))
    monkeypatch.setattr(Team, "all_do", lambda self, work: work())
    with pytest.raises(SystemExit) as left:
        cli.main(["run", str(tmp_path / "s.toml")])
    assert left.value.code == 2
    assert (
        "is a sweep, whose trials are processes of their own, and a launcher has started 2" in capsys.readouterr().err
    )
