"""Trackers: what they are told, and that nothing they do or fail to do reaches the run."""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
import time
import types

import attrs
import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st

import kdkit
from kdkit import plugins
from kdkit.api.hookspecs import hookimpl
from kdkit.api.interfaces import Tracker
from kdkit.api.trackers import require_package, tracking_id
from kdkit.api.values import Score
from kdkit.errors import MissingInput
from kdkit.recipe import load_recipe
from kdkit.runs.tracking import Guard, numbers_of, scores_of
from kdkit.training import MetricsLog

TRACKERS = ("tensorboard", "wandb", "trackio")


class Told:
    """An open tracker that remembers, and fails or hangs where it is told to."""

    def __init__(self, *, fails_at: str = "", hangs_at: str = "") -> None:
        self.calls: list[tuple] = []
        self.released = threading.Event()
        self._fails_at, self._hangs_at = fails_at, hangs_at

    def begin(self):
        self._note("open")
        return self

    def log(self, numbers, *, step) -> None:
        self._note("log", dict(numbers), step)

    def finish(self, scores) -> None:
        self._note("finish", dict(scores))

    def _note(self, name, *facts) -> None:
        self.calls.append((name, *facts))
        if name == self._hangs_at:
            self.released.wait(20)
        if name == self._fails_at:
            raise SystemExit(f"{name} did not work\nfor a reason of many lines")


def guarded(told: Told, **options):
    notes: list[str] = []
    return Guard("fake", told.begin, notes.append, **options), notes


def line(step: int, **numbers):
    return {"kind": "train", "step": step, **numbers}


def test_a_tracker_is_told_all_in_order():
    told = Told()
    guard, notes = guarded(told)
    guard.start()
    for step in range(1, 4):
        guard.tell("student", line(step, loss=0.5))
    guard.finish({"student/truth/text/f1": 0.25})
    wanted = [("log", {"student/train/loss": 0.5}, step) for step in range(1, 4)]
    assert told.calls == [("open",), *wanted, ("finish", {"student/truth/text/f1": 0.25})]
    assert notes == []


@pytest.mark.parametrize("where", ["open", "log", "finish"])
def test_the_first_failure_is_noted_and_is_the_last_call(where):
    told = Told(fails_at=where)
    guard, notes = guarded(told)
    guard.start()
    for step in range(1, 4):
        guard.tell("student", line(step))
        time.sleep(0.01)
    guard.finish({})
    guard.finish({})
    assert notes == [
        f"warning: the tracker fake failed (SystemExit: {where} did not work); the run continues without it"
    ]
    assert [name for name, *_ in told.calls].count(where) == 1
    assert told.calls[-1][0] == where


@pytest.mark.parametrize("where", ["open", "log", "finish"])
def test_nobody_waits_for_one_that_hangs(where):
    told = Told(hangs_at=where)
    guard, notes = guarded(told)
    began = time.monotonic()
    guard.start(seconds=0.05)
    for step in range(1, 50):
        guard.tell("student", line(step))
    guard.finish({}, seconds=0.1)
    assert time.monotonic() - began < 5
    assert notes == [
        "warning: the tracker fake had not finished 0 s after the end of the run; the run continues without it"
    ]
    told.released.set()


def test_one_that_does_not_keep_up_is_given_up_when_too_much_waits():
    told = Told(hangs_at="log")
    guard, notes = guarded(told, calls=5)
    guard.start()
    for step in range(1, 50):
        guard.tell("student", line(step))
    guard.finish({}, seconds=1)
    assert notes == [
        "warning: the tracker fake does not keep up: 5 lines are waiting for it; the run continues without it"
    ]
    told.released.set()


@given(
    st.dictionaries(
        st.text(st.characters(codec="ascii", categories=["L", "N"]), min_size=1),
        st.floats() | st.booleans() | st.none() | st.text(),
    )
)
def test_only_finite_numbers_are_told(facts):
    line = {"kind": "validation", "step": 3, **facts}
    told = numbers_of("student", {**line, "kind": "validation", "step": 3})
    assert all(name.startswith("student/validation/") and abs(value) < float("inf") for name, value in told.items())
    assert len(told) == sum(
        isinstance(value, float) and abs(value) < float("inf")
        for key, value in facts.items()
        if key not in {"kind", "step"}
    )


def test_names_are_paths():
    line = {"kind": "validation", "step": 3, "epoch": 1, "best": True, "hard": 0.5, "text.f1": 0.25, "soft": None}
    assert numbers_of("teacher", line) == {
        "teacher/validation/epoch": 1.0,
        "teacher/validation/hard": 0.5,
        "teacher/validation/text/f1": 0.25,
    }
    score = Score(
        model="student",
        against="truth and teacher",
        suite="loss",
        metric="total",
        value=0.5,
        low=0.0,
        high=1.0,
        count=3,
    )
    nothing = attrs.evolve(score, metric="soft", value=float("nan"))
    assert scores_of([score, nothing]) == {"student/truth-and-teacher/loss/total": 0.5}


def test_the_log_tells_what_it_writes(tmp_path):
    lines = []
    tracked = types.SimpleNamespace(tell=lambda *told: lines.append(told))
    log = MetricsLog(tmp_path / "metrics.jsonl", "student", tracked)
    log.write(kind="train", step=1, loss=float("nan"), hard=0.5)
    assert lines == [("student", {"kind": "train", "step": 1, "loss": None, "hard": 0.5})]


# Whole runs


@pytest.fixture
def fake(monkeypatch):
    """A tracker `fake` that recipes can name, and what it was told."""
    told = Told()
    told.opened = {}

    @attrs.frozen(kw_only=True)
    class Fake:
        """Remembers."""

        def open(self, *, name, folder, recipe):
            told.opened = {"name": name, "folder": folder, "recipe": recipe}
            return told.begin()

    class Plugin:
        @hookimpl
        def register_trackers(self, register):
            register("fake", Fake)

    loaded = plugins.load((Plugin(),))
    monkeypatch.setattr(plugins, "load", lambda extra=(): loaded)
    return told


def run(folder, *, progress=None, name="tiny", **changes):
    training = {"epochs": 1, "batch_size": 8, "log_every": 1, "best_by": "loss"}
    changes = {
        "train": 16,
        "validation": 4,
        "training": training,
        "teacher__fine_tune": None,
        "evaluation__suites": [],
        **changes,
    }
    return tiny.run_here(folder, name, progress=progress, **changes)


@pytest.mark.slow
def test_a_run_tells_its_lines_and_its_scores_and_is_the_same_as_without(tmp_path, fake):
    run(tmp_path / "with", track={"name": "fake"})
    folder = tmp_path / "with" / "runs" / "tiny"
    lines = [json.loads(text) for text in (folder / "metrics.jsonl").read_text().splitlines()]
    names = [name for name, *_ in fake.calls]
    assert names == ["open", *["log"] * len(lines), "finish"]
    assert [call[1:] for call in fake.calls[1:-1]] == [
        (numbers_of(each["stage"], each), each["step"]) for each in lines
    ]
    scores = json.loads((folder / "evaluation.json").read_text())["scores"]
    assert len(fake.calls[-1][1]) == sum(score["value"] is not None for score in scores) > 0
    assert fake.opened["folder"].resolve() == folder.resolve()
    assert fake.opened["recipe"]["track"] == {"name": "fake"}
    run(tmp_path / "without")
    assert tiny.weights(tmp_path / "without" / "runs" / "tiny" / "student" / "final") == tiny.weights(
        folder / "student" / "final"
    )
    run(tmp_path / "with", track={"name": "fake"})  # it is done: nobody is told anything
    assert len(fake.calls) == len(lines) + 2


@pytest.mark.slow
def test_a_failing_tracker_is_noted_once_and_the_run_is_done(tmp_path, fake):
    fake._fails_at = "log"
    notes = tiny.Notes()
    run(tmp_path, track={"name": "fake"}, progress=notes)
    assert len([note for note in notes.notes if "tracker fake failed" in note]) == 1
    assert (tmp_path / "runs" / "tiny" / "report.html").exists()


@pytest.mark.parametrize("name", TRACKERS)
def test_a_tracker_whose_library_is_missing_stops_the_run_before_it_begins(tmp_path, monkeypatch, name):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda module, *rest: None if module == name else found(module, *rest)
    )
    with pytest.raises(MissingInput, match=rf'track\.name is "{name}", .*: pip install {name}, '):
        run(tmp_path, track={"name": name})
    assert not (tmp_path / "runs" / "tiny" / "data").exists()


@pytest.mark.parametrize("name", TRACKERS)
def test_trackers_are_components_and_change_no_digest(tmp_path, name):
    table = tiny.recipe_table(tmp_path)
    recipe = load_recipe({**table, "track": {"name": name}})
    assert isinstance(recipe.track, Tracker)
    assert recipe.digest == load_recipe(table).digest


def test_the_id_of_a_record_is_kept_in_the_run_folder(tmp_path):
    assert tracking_id(tmp_path) == tracking_id(tmp_path)
    assert tracking_id(tmp_path) != tracking_id(tmp_path / "other")


# The trackers that ship


def resumed(tracker, folder):
    """A record that is written in two goes."""
    recipe = {"name": "tiny", "loss": {"alpha": 0.5}}
    for steps, scores in (((1, 2), {}), ((3,), {"student/truth/text/f1": 0.25})):
        opened = tracker.open(name="tiny", folder=folder, recipe=recipe)
        for step in steps:
            opened.log({"student/train/loss": step / 2}, step=step)
        opened.finish(scores)


def test_tensorboard_reads_what_was_written_in_two_goes(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from kdkit.builtin.trackers.tensorboard import TensorBoard

    resumed(TensorBoard(), tmp_path)
    read = EventAccumulator(str(tmp_path / "tracking" / "tensorboard"))
    read.Reload()
    assert [(event.step, event.value) for event in read.Scalars("student/train/loss")] == [(1, 0.5), (2, 1.0), (3, 1.5)]
    assert [(event.step, event.value) for event in read.Scalars("student/truth/text/f1")] == [(3, 0.25)]
    assert "recipe/text_summary" in read.Tags()["tensors"]


@pytest.fixture
def stand_in(monkeypatch):
    """A module that is called as wandb and trackio are, and what it was called with."""
    calls: list = []

    class Run:
        summary = types.SimpleNamespace(update=lambda scores: calls.append(("summary", scores)))

        def log(self, metrics, step=None):
            calls.append(("log", metrics, step))

        def define_metric(self, name, step_metric=None, *, hidden=None):
            calls.append(("define", name, step_metric))

        def finish(self, exit_code=None):
            print("to standard output")
            calls.append(("finish", exit_code))

    def init(**options):
        print("to standard output")
        calls.append(("init", options))
        return Run()

    settings = types.SimpleNamespace(mode="online")
    module = types.SimpleNamespace(
        init=init,
        Settings=types.SimpleNamespace,
        setup=lambda settings_: types.SimpleNamespace(settings=settings),
        login=lambda prompt: calls.append(("login", prompt)) or calls.logged_in,
    )
    calls = type("Calls", (list,), {"logged_in": True})()
    for name in ("wandb", "trackio"):
        monkeypatch.setitem(sys.modules, name, module)
    for name in ("wandb", "trackio"):
        monkeypatch.setattr(
            importlib.import_module(f"kdkit.builtin.trackers.{name}"), "require_package", lambda *_, **__: None
        )
    return calls


def test_wandb_goes_on_with_the_run_of_the_folder_and_has_steps_of_its_own(tmp_path, stand_in):
    from kdkit.builtin.trackers.wandb import WandB

    resumed(WandB(project="p", mode="offline"), tmp_path)
    first, second = [options for name, *rest in stand_in if name == "init" for options in rest]
    assert first == second | {"settings": first["settings"]}
    assert (first["project"], first["id"], first["resume"], first["entity"]) == (
        "p",
        tracking_id(tmp_path),
        "allow",
        None,
    )
    assert vars(first["settings"]) == {"silent": True, "console": "off", "mode": "offline"}
    assert ("define", "student/*", "student/step") in stand_in
    assert [call for call in stand_in if call[0] == "log"] == [
        ("log", {"student/train/loss": step / 2, "student/step": step}, None) for step in (1, 2, 3)
    ]
    assert [call for call in stand_in if call[0] == "finish"] == [("finish", 1), ("finish", 0)]
    assert ("summary", {"student/truth/text/f1": 0.25}) in stand_in
    assert not [call for call in stand_in if call[0] == "login"]


def test_a_folder_that_is_called_like_a_package_is_not_the_package(tmp_path, monkeypatch):
    """wandb leaves a folder `wandb` where it is run."""
    (tmp_path / "kdkit_no_package").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(kdkit.errors.MissingInput, match="needs the package kdkit_no_package: pip install"):
        require_package("kdkit_no_package", name="wandb")
    (tmp_path / "kdkit_no_package" / "__init__.py").touch()
    importlib.invalidate_caches()
    require_package("kdkit_no_package", name="wandb")


def test_wandb_asks_for_no_key(tmp_path, stand_in):
    from kdkit.builtin.trackers.wandb import WandB

    stand_in.logged_in = False
    with pytest.raises(kdkit.errors.UsageError, match="you are not logged in to wandb"):
        resumed(WandB(), tmp_path)
    assert stand_in == [("login", False)]


def test_trackio_goes_on_with_the_run_of_the_folder_and_leaves_standard_output_alone(tmp_path, stand_in, capsys):
    from kdkit.builtin.trackers.trackio import Trackio

    resumed(Trackio(project="p"), tmp_path)
    first, second = [options for name, *rest in stand_in if name == "init" for options in rest]
    assert first == second
    assert (first["name"], first["resume"], first["space_id"]) == (f"tiny {tracking_id(tmp_path)}", "allow", None)
    wanted = [("log", {"student/train/loss": step / 2}, step) for step in (1, 2, 3)]
    assert [call for call in stand_in if call[0] == "log"] == [*wanted, ("log", {"student/truth/text/f1": 0.25}, 3)]
    assert capsys.readouterr().out == ""
