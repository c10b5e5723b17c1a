"""Sweeps of real trials: what they share is made once, what fails is told, and all of it ends in a report."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time

import attrs
import pytest
import tiny
from click.testing import CliRunner

from kdkit.cli.report import command as report
from kdkit.errors import DamagedData
from kdkit.pipeline.run import run as run_one
from kdkit.pipeline.sweep import run_sweep
from kdkit.recipe import load_recipe
from kdkit.sweeps import read_sweep, trial_folder
from kdkit.sweeps.folder import log_of
from kdkit.sweeps.reading import load_sweep

LIGHT = {"training__epochs": 1, "teacher__fine_tune__epochs": 1, "evaluation__bootstrap": 5}


@attrs.define
class Forked:
    """A trial in a process that was forked from one that has imported everything."""

    process: object

    def poll(self):
        return self.process.exitcode

    def send(self, number):
        os.kill(self.process.pid, number)


def launch(trial, folder, *, slot):
    place, log = trial_folder(folder, trial.id), log_of(folder, trial.id)
    for each in (place, log.parent):
        each.mkdir(parents=True, exist_ok=True)
    (place / "recipe.toml").write_text(trial.recipe.to_toml())
    command = ["run", str(place / "recipe.toml"), "--run-dir", str(place)]
    return Forked(tiny.start(tiny._kdkit, command, log))


@pytest.fixture
def sweep(tmp_path, monkeypatch):
    monkeypatch.delenv("KDKIT_STORE", raising=False)
    table = tiny.recipe_table(tmp_path, **LIGHT)
    return load_sweep(table | {"sweep": {"grid": {"loss.alpha": [0.25, 0.75]}}})


def log(folder, trial) -> str:
    return log_of(folder, trial.id).read_text()


@pytest.mark.slow
def test_two_trials_at_once_make_teacher_logits_and_data_once_and_plain_runs_share_them(tmp_path, sweep):
    folder = tmp_path / "runs" / "s"
    end = run_sweep(sweep, folder, jobs=2, launch=launch)
    assert end.exit_code == 0, [log(folder, trial) for trial in sweep.trials]
    logs = [log(folder, trial) for trial in sweep.trials]
    assert sum("data: taken from" in each for each in logs) == 1
    assert sum("teacher: taken from" in each for each in logs) == 1
    assert sum("records are already in" in each for each in logs) == 1
    stages = [json.loads((trial_folder(folder, trial.id) / "run.json").read_text())["stages"] for trial in sweep.trials]
    stored = {each["teacher"]["facts"]["folder"] for each in stages}
    assert stored == {str(next((tmp_path / "runs" / "cache" / "teachers").glob("[!.]*")))}
    assert {each["capture"]["facts"]["cache"] for each in stages} == {
        str(next((tmp_path / "runs" / "cache" / "logits").glob("[!.]*")))
    }
    assert not list((folder / "trials").glob("*/teacher"))
    rows = [(trial_folder(folder, trial.id) / "data" / "train.jsonl").read_bytes() for trial in sweep.trials]
    assert rows[0] == rows[1]

    # Its ends: results of every trial, and a report.
    results = json.loads((folder / "results.json").read_text())
    assert [row["id"] for row in results["trials"]] == [trial.id for trial in sweep.trials]
    assert all(any(score["metric"] == "f1" for score in row["scores"]) for row in results["trials"])
    with (folder / "results.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [row["loss.alpha"] for row in table] == ["0.25", "0.75"]
    assert all(float(row["student/truth/text/f1"]) >= 0 for row in table)
    assert (folder / "report.html").exists()

    # The same trial as a plain run beside the sweep: the same numbers, from the same store, with a teacher of its own.
    plain = run_one(load_recipe(tiny.recipe_table(tmp_path, loss__alpha=0.25, **LIGHT)), tmp_path / "runs" / "plain")
    assert tiny.weights(plain.run_dir / "student" / "best") == tiny.weights(
        trial_folder(folder, sweep.trials[0].id) / "student" / "best"
    )
    assert tiny.weights(plain.run_dir / "teacher") == tiny.weights(
        next((tmp_path / "runs/cache/teachers").glob("[!.]*"))
    )

    # A trial whose evaluation is damaged is left out, with an advice; the advice works, and trains nothing anew.
    file = trial_folder(folder, sweep.trials[0].id) / "evaluation.json"
    file.write_bytes(file.read_bytes()[:-9])
    again = run_sweep(sweep, folder, launch=launch)
    assert (again.done, again.failed, again.exit_code) == (1, 1, 3)
    assert again.facts.trials[0].error.endswith("; delete it and run the recipe again")
    assert f"Trial {sweep.trials[0].id} is left out" in (folder / "report.md").read_text()
    file.unlink()
    assert run_sweep(sweep, folder, launch=launch).exit_code == 0
    assert "distill: done before" in log(folder, sweep.trials[0])
    assert "is left out" not in (folder / "report.md").read_text()

    # A damaged data set in the sweep's folder spreads to no trial.
    kept = next((folder / "data").glob("*/train.jsonl"))
    kept.write_bytes(kept.read_bytes()[:-9] + b"\n")
    with pytest.raises(DamagedData, match=r"the stored data .* is damaged"):
        run_one(sweep.base, folder / "trials" / "other")


@pytest.mark.slow
def test_the_command_line_runs_trials_tells_of_failures_and_goes_on_after_ctrl_c(tmp_path, monkeypatch):
    tiny.write_recipe(tmp_path, "base", **LIGHT)
    (tmp_path / "s.toml").write_text(
        'extends = "base.toml"\n[sweep]\npoints = [{ student = { name = "hf-seq2seq", model = "gone" } }]\n'
        "grid.loss.alpha = [0.5]\n"
    )
    command = [sys.executable, "-m", "kdkit", "run", "s.toml", "--jobs", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    options = {
        "cwd": tmp_path,
        "env": environment,
        "stdout": subprocess.PIPE,
        "stderr": subprocess.STDOUT,
        "text": True,
    }
    folder = tmp_path / "runs" / "s"
    stopped = subprocess.Popen([*command[:-1], "1"], **options)  # the good one first
    good = load_sweep(tmp_path / "s.toml").trials[0]
    while "train" not in str(list(trial_folder(folder, good.id).glob("data/*"))):
        assert stopped.poll() is None, stopped.stdout.read()
        time.sleep(0.05)
    stopped.send_signal(signal.SIGINT)
    said, _ = stopped.communicate(timeout=60)
    assert stopped.returncode == 130, said
    assert "run the same command to resume" in said
    after = subprocess.run(command, check=False, timeout=120, **options)
    assert after.returncode == 3, after.stdout
    assert [trial.status for trial in read_sweep(folder).trials] == ["done", "failed"]
    assert "gone" in next(line for line in after.stdout.splitlines() if "failed:" in line)
    monkeypatch.chdir(tmp_path)
    closing = CliRunner().invoke(report, ["runs/s"])
    assert closing.stdout in after.stdout, "it ends with its verdict"
    assert good.id not in closing.stdout.partition("\nstudent: ")[0], "a verdict, and no ids of trials"
    assert re.search(r"^failed: .*student.model gone: .*gone", closing.stderr, re.MULTILINE)
