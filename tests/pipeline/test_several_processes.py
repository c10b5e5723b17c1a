"""Several processes do one run together: what it leaves is what one process leaves, and each failure is said once."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest
import team_kit
import tiny
from cache_kit import records
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from kdkit.api.values import EncodedExample, Prediction
from kdkit.data.tokens import length_sorted
from kdkit.errors import DamagedData, Elsewhere, Interrupted, KdkitError, Lost, UsageError
from kdkit.evaluation.losses import row_losses
from kdkit.logits.cache import CacheWriter, Part, verify
from kdkit.logits.targets import NoTargets
from kdkit.losses import HardLoss
from kdkit.models.generation import own_rows
from kdkit.pipeline.capture_part import capture_part
from kdkit.pipeline.run import run
from kdkit.recipe import load_recipe
from kdkit.runs.opening import open_run
from kdkit.store import predictions
from kdkit.system import heartbeat, launcher, signals
from kdkit.system.devices import pick
from kdkit.system.progress import Silent
from kdkit.system.team import ALONE, Team, exit_code_of
from kdkit.training import Forward

SIZES = st.integers(1, 4)
GONE = "error: another process of this run has ended ("
LATER = "run the same command to resume"
STEP = "kdkit.training.loop:Trainer._step"


# --- shares


@given(st.lists(st.integers()), SIZES)
def test_the_shares_of_all_processes_are_everything_once(items, size):
    shares = [Team(rank=rank, size=size).own(items) for rank in range(size)]
    assert sorted(item for share in shares for item in share) == sorted(items)
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@st.composite
def rows_and_done(draw):
    lengths = draw(st.lists(st.integers(1, 5), max_size=12))
    rows = [EncodedExample(id=str(n), source_ids=(1,) * length, target_ids=(1,)) for n, length in enumerate(lengths)]
    return rows, draw(st.sets(st.sampled_from([row.id for row in rows]))) if rows else set()


@given(rows_and_done(), st.integers(1, 4), SIZES)
def test_each_row_that_is_left_is_predicted_by_one_process_which_has_its_whole_batch(made, batch_size, size):
    rows, done = made
    shares = [own_rows(rows, batch_size, Team(rank=rank, size=size), done=done) for rank in range(size)]
    assert sorted(row_id for share in shares for row_id in share) == sorted({row.id for row in rows} - done)
    for batch in length_sorted(rows, batch_size):
        assert sum(not share.isdisjoint(row.id for row in batch) for share in shares) <= 1


# --- what a launcher says


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, launcher.Started()),
        ({"WORLD_SIZE": "1", "RANK": "0"}, launcher.Started()),
        ({"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1"}, launcher.Started(rank=3, size=4, local_rank=1)),
        ({"WORLD_SIZE": "4", "RANK": "3"}, launcher.Started(rank=3, size=4, local_rank=3)),
    ],
)
def test_a_process_knows_how_it_was_started(environment, expected):
    assert launcher.started(environment) == expected


@pytest.mark.parametrize(
    ("environment", "what"),
    [
        ({"WORLD_SIZE": "2"}, "RANK is missing"),
        ({"WORLD_SIZE": "2", "RANK": "one"}, "RANK is one"),
        ({"WORLD_SIZE": "two", "RANK": "1"}, "WORLD_SIZE is two"),
    ],
)
def test_half_of_an_environment_is_refused(environment, what):
    with pytest.raises(UsageError, match=rf"{what}; use torchrun or accelerate launch, or unset WORLD_SIZE"):
        launcher.started(environment)


def test_accelerate_that_starts_one_process_instead_of_several_is_noticed():
    one = {"ACCELERATE_USE_CPU": "False", "ACCELERATE_MIXED_PRECISION": "no"}
    several = one | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}
    assert "only with --multi_gpu" in launcher.hint(several)
    for quiet in ({}, one, several | {"WORLD_SIZE": "2"}, {"MASTER_ADDR": "127.0.0.1"}):
        assert launcher.hint(quiet) is None


@pytest.mark.parametrize(("gpus", "device", "expected"), [(0, "auto", "cpu"), (2, "auto", "cuda:1"), (2, "cuda", "cuda:1"), (2, "cpu", "cpu")])  # fmt: skip
def test_each_process_has_a_gpu_of_its_own(monkeypatch, gpus, device, expected):
    chosen = with_gpus(monkeypatch, gpus)
    assert pick(device, Team(rank=3, size=4)) == expected
    assert chosen == ([1] if expected == "cuda:1" else [])


@pytest.mark.parametrize(
    ("gpus", "device", "what"),
    [
        (2, "cuda:1", 'device = "cuda:1", but 4 processes cannot share it'),
        (0, "mps", 'device = "mps", but 4 processes cannot share it'),
        (1, "auto", r"this process, number 1 \(from 0\) on its machine, finds 1 GPUs there"),
        (0, "cuda", r"this process, number 1 \(from 0\) on its machine, finds 0 GPUs there"),
    ],
)
def test_a_device_that_processes_cannot_share_is_refused(monkeypatch, gpus, device, what):
    with_gpus(monkeypatch, gpus)
    with pytest.raises(UsageError, match=what):
        pick(device, Team(rank=3, size=4))


def with_gpus(monkeypatch, count) -> list:
    import torch

    chosen = []
    for name, value in {"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    return chosen


# --- a team


def talk(folder: str) -> None:
    """Run by three processes: everything that a team does, and what came of it."""
    import torch

    team = launcher.join()
    said: dict = {"again": launcher.join() is team, "rank": team.rank, "gathered": team.gather(team.rank * 10)}
    said["done"] = team.lead_does(lambda: {"pid of the lead": os.getpid()})
    tensors = [
        torch.tensor([[1.5, 2.0]]) * (team.rank + 1),
        torch.tensor([1.0, 2.0], dtype=torch.bfloat16),
        torch.tensor([0.25, team.rank], dtype=torch.bfloat16),
        torch.tensor(2**40 + team.rank),
    ]
    team.add_up_there(tensors)
    said["sums"] = [tensor.tolist() for tensor in tensors]
    said["types"] = [str(tensor.dtype) for tensor in tensors]
    most = torch.tensor([team.rank, -team.rank])
    team.greatest(most)
    said["most"] = most.tolist()
    copied = torch.full((2,), float(team.rank + 1))
    team.copy_from_lead([copied])
    said["copied"] = copied.tolist()

    def fail(*ranks):
        if team.rank in ranks:
            raise DamagedData(f"in {team.rank}")
        return "went well"

    trials = {
        "lead fails": lambda: team.lead_does(lambda: fail(0)),
        "all well": lambda: team.all_do(fail),
        "two fail": lambda: team.all_do(lambda: fail(1, 2)),
    }
    for name, trial in trials.items():
        try:
            said[name] = trial()
        except KdkitError as error:
            said[name] = [type(error).__name__, str(error), getattr(error, "signal_exit_code", error.exit_code)]
    Path(folder, f"{team.rank}.json").write_text(json.dumps(said))
    with team.watching():
        team.wait()
        fail(2)  # the others do not know
        team.wait()


def test_a_team_talks(tmp_path):
    results = team_kit.together(talk, str(tmp_path), tmp_path / "log", size=3)
    said = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(3)]
    assert len({each["done"]["pid of the lead"] for each in said}) == 1
    for rank, each in enumerate(said):
        assert (each["rank"], each["again"], each["all well"]) == (rank, True, "went well")
        assert each["gathered"] == [0, 10, 20]
        assert each["sums"] == [[[9.0, 12.0]], [3.0, 6.0], [0.75, 3.0], 3 * 2**40 + 3]
        assert each["types"] == ["torch.float32", "torch.bfloat16", "torch.bfloat16", "torch.int64"]
        assert each["most"] == [2, 0]
        assert each["copied"] == [1.0, 1.0]
    assert said[0]["lead fails"] == ["DamagedData", "in 0", 4]
    assert [each["lead fails"][::2] for each in said[1:]] == [["Elsewhere", 4]] * 2
    # Of two that fail the first says so.
    assert said[1]["two fail"] == ["DamagedData", "in 1", 4]
    assert [each["two fail"][::2] for each in (said[0], said[2])] == [["Elsewhere", 4]] * 2
    # And of one that fails unexpectedly the others learn by its being gone, and that it has said why.
    assert [type_of(output) for _, output in results] == ["Elsewhere", "Elsewhere", "DamagedData"]


def wait_for_one_that_hangs(arguments) -> None:
    """Run by three processes, of which one stops; the others wait for it here, or within torch."""
    import torch
    import torch.distributed as dist

    hangs, within_torch, asks = arguments
    heartbeat.ONCE_ASKED = 2.0
    os.environ["KDKIT_PATIENCE"] = "300" if asks else "3"  # more than a busy machine lets a process wait
    signals.keep_signals()
    team = launcher.join()
    team.wait()
    if team.rank == hangs:
        os.kill(os.getpid(), signal.SIGSTOP)
    if asks:
        threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
    try:
        with team.watching():
            dist.all_reduce(torch.zeros(1)) if within_torch else team.wait()
    except KdkitError as error:
        print(f"error: {error}" if not isinstance(error, Elsewhere) else "")
        os._exit(exit_code_of(error))


@pytest.mark.parametrize(
    ("hangs", "within_torch", "asks", "code"),
    [(1, False, False, 1), (0, False, True, 143), (2, True, False, 1), (1, True, True, 143)],
    ids=["one", "the lead, and a signal", "one within torch", "one within torch, and a signal"],
)
def test_a_process_that_hangs_is_named_and_not_waited_for(tmp_path, hangs, within_torch, asks, code):
    results = team_kit.together(
        wait_for_one_that_hangs, (hangs, within_torch, asks), tmp_path, size=3, hangs=hangs, seconds=30
    )
    others = [result for rank, result in enumerate(results) if rank != hangs]
    assert [each for each, _ in others] == [code, code], results
    said = [output for _, output in others if output.strip()]
    assert len(said) == 1, results
    assert re.search(
        rf"^error: process {hangs} of 3 has shown no sign of life for \d+ s, so the others stop waiting for it", said[0]
    )
    assert ("and a signal asked to stop" in said[0]) == asks


def test_a_wait_that_fails_since_another_gave_up_first_ends_as_that_one(monkeypatch, capfd):
    """Torch then says that a connection was closed, which is a consequence."""
    codes: list[int] = []
    monkeypatch.setattr(heartbeat.os, "_exit", codes.append)
    beat = heartbeat.Heartbeat(None, 0, 3, 1.0)
    with pytest.raises(RuntimeError, match="of its own"), beat.ending_waits():
        raise RuntimeError("of its own")
    assert codes == []
    beat._silences[2] = 5.0
    beat._judge()
    with pytest.raises(RuntimeError), beat.ending_waits():
        raise RuntimeError("Connection closed by peer")
    assert codes == [1]
    assert capfd.readouterr().err.startswith("error: process 2 of 3 has shown no sign of life for 5 s")


def test_once_a_signal_has_asked_no_wait_is_without_end(monkeypatch):
    """Also where the others live, and count, but one of them never comes."""
    beat = heartbeat.Heartbeat(None, 0, 2, 300.0)
    times = itertools.count(0.0, 4.0)
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: next(times))
    monkeypatch.setattr(heartbeat, "_signal_in", lambda _: signal.SIGTERM)

    def sleep(_):
        beat._rounds += 1
        beat._counts = [b"%d" % beat._rounds] * 2
        beat._is_over = beat._rounds % 70 == 0

    monkeypatch.setattr(heartbeat.time, "sleep", sleep)
    beat._watch(None)
    beat.check()
    beat._is_over = False
    beat._watch(None)
    with pytest.raises(Lost, match=r"have not stopped 5\d\d s after a signal asked them to") as error:
        beat.check()
    assert exit_code_of(error.value) == 143


@pytest.mark.parametrize("text", ["0", "-1", "soon", "inf", "nan"])
def test_patience_is_a_number_of_seconds(text):
    assert heartbeat.patience({}) == 300
    assert heartbeat.patience({"KDKIT_PATIENCE": "2.5"}) == 2.5
    with pytest.raises(UsageError, match=f"KDKIT_PATIENCE is '{text}'; give a number of seconds"):
        heartbeat.patience({"KDKIT_PATIENCE": text})


def test_a_job_that_was_suspended_misses_nobody(monkeypatch):
    """The clock has moved on by hours, for this process as for the others."""
    beat = heartbeat.Heartbeat(None, 0, 2, 300.0)
    beat._counts = [b"1", b"1"]
    times = iter([0.0, 2.0, 7200.0, 7202.0, 7204.0])
    monkeypatch.setattr(heartbeat.time, "monotonic", lambda: next(times))

    def sleep(_):
        beat._rounds += 1
        beat._is_over = beat._rounds == 4

    monkeypatch.setattr(heartbeat.time, "sleep", sleep)
    beat._watch(None)
    beat.check()
    assert 0 < beat._silences[1] < 15


def type_of(output: str) -> str:
    """The error that a process ended with, by its traceback."""
    return output.strip().splitlines()[-1].split(":")[0].removeprefix("kdkit.errors.")


def test_one_process_is_a_team_too():
    with ALONE.watching():
        assert ALONE.lead_does(lambda: 3) == ALONE.all_do(lambda: 3) == 3
        assert ALONE.gather(3) == [3]
    with pytest.raises(Lost), ALONE.watching():
        raise Lost("x")


class FakeStore:
    """A store in which another process has told that it failed."""

    def __init__(self, **first) -> None:
        self._first = json.dumps({"rank": 1, "code": 4, "sentence": "there", "said": True, **first})

    def compare_set(self, key: str, expected: str, desired: str) -> bytes:
        assert key == "kdkit/0/first failure"
        return self._first.encode()


@pytest.mark.parametrize(
    ("rank", "error", "first", "expected", "code"),
    [
        (0, Lost("gone"), {}, Elsewhere, 4),
        (0, KdkitError("there"), {}, Elsewhere, 4),
        (0, KdkitError("mine"), {}, KdkitError, None),
        (0, Interrupted("mine"), {}, Elsewhere, 4),
        (0, Interrupted("mine"), {"said": False, "code": 143}, Interrupted, 130),
        (0, Lost("gone"), {"said": False, "code": 143}, Interrupted, 143),
        (2, Lost("gone"), {"said": False, "code": 143}, Elsewhere, 143),
        (2, Interrupted("mine"), {"rank": 2, "said": False, "code": 130}, Elsewhere, 130),
        (2, Lost("gone"), {"rank": 2, "code": 1}, Lost, 1),
    ],
)
def test_what_went_wrong_is_said_by_one_process(rank, error, first, expected, code):
    team = Team(rank=rank, size=3, store=FakeStore(**first))
    with pytest.raises(expected) as raised, team.watching():
        raise error
    assert getattr(raised.value, "signal_exit_code", None) == code
    if expected is Interrupted and isinstance(error, Lost):
        assert str(raised.value) == "process 1 of 3: there"


# --- work that is shared


@given(st.lists(st.integers(1, 5), max_size=9), SIZES, SIZES, st.integers(1, 3), st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_texts_are_the_same_however_many_write_them_and_go_on(lengths, size, size_before, batch_size, stop_after):
    rows = [EncodedExample(id=str(n), source_ids=(1,) * length, target_ids=(1,)) for n, length in enumerate(lengths)]
    asked: list[str] = []

    def generate(given_rows, done):
        assert given_rows == rows
        for row in reversed(rows):
            if row.id not in done:
                if len(asked) == stop_after:
                    raise KeyError("stopped")
                asked.append(row.id)
                yield Prediction(id=row.id, text=f"text {row.id}")

    def fill(team):
        predictions.fill(path, rows, generate, progress=Silent(), name="x", team=team, batch_size=batch_size)

    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "p.jsonl"
        try:
            team_kit.in_threads(fill, size_before)
        except (KeyError, threading.BrokenBarrierError):
            stop_after = -1
            team_kit.in_threads(fill, size)
        assert [prediction.text for prediction in predictions.read(path)] == [f"text {row.id}" for row in rows]
        assert sorted(asked) == sorted(row.id for row in rows), "a row was predicted twice"
        assert list(path.parent.iterdir()) == [path]


def test_losses_of_rows_are_the_same_to_the_bit_however_many_compute_them():
    _, rows = tiny.encoded(11)
    forwards = [Forward.of(tiny.model()) for _ in range(3)]  # each process has a model of its own

    def losses(team):
        forward = forwards[team.rank]
        return row_losses(rows, forward, HardLoss(), NoTargets(), pad_id=0, device="cpu", batch_size=3, team=team)

    alone = losses(ALONE)
    for size in (2, 3):
        assert list(map(repr, team_kit.in_threads(losses, size))) == [repr(alone)] * size  # NaN is not itself


def test_processes_that_do_not_see_the_leads_folder_say_so(tmp_path):
    loaded = load_recipe(tiny.recipe_table(tmp_path / "data"))

    def open_one(team):
        path = tmp_path / "runs" / f"on machine {team.rank}"
        try:
            with open_run(loaded, path, fresh=False, progress=Silent(), plugins={}, device="cpu", team=team):
                return "opened"
        except KdkitError as error:
            return f"{type(error).__name__}: {error}"

    lead, other = team_kit.in_threads(open_one, 2)
    assert lead.startswith("Elsewhere")
    assert "on machine 1 is not the run folder that process 0 opened; start all processes in one folder" in other
    # And where another run lies there.
    (tmp_path / "runs" / "on machine 1").mkdir()
    (tmp_path / "runs" / "on machine 1" / "run.json").write_text("{}")
    assert "is not the run folder" in team_kit.in_threads(open_one, 2)[1]


# --- whole runs


CHANGES = {
    "test": 6,
    "training__epochs": 2,
    "teacher": {
        "name": "hf-seq2seq",
        "vocab_size": tiny.VOCAB,
        "config": {**tiny.T5, "dropout_rate": 0.0},
        "capture_batch_size": 4,
        "fine_tune": {"epochs": 1, "batch_size": 8, "learning_rate": 5e-3, "best_by": "loss", "log_every": 1},
    },
}


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    return tiny.write_recipe(tmp_path_factory.mktemp("recipe"), **CHANGES)


@pytest.fixture(scope="module")
def alone(recipe, tmp_path_factory):
    """The folder of a run by one process."""
    folder = tmp_path_factory.mktemp("one") / "runs" / "r"
    assert tiny.kdkit("run", recipe, "--run-dir", folder, log=folder.parent.parent / "log")[0] == 0
    return folder


@pytest.fixture(scope="module")
def two(recipe, tmp_path_factory):
    """The folder of the same run by two processes, and what they wrote."""
    folder = tmp_path_factory.mktemp("two") / "runs" / "r"
    results = team_kit.kdkit("run", recipe, "--run-dir", folder, log=folder.parent.parent / "log")
    assert [code for code, _ in results] == [0, 0], results
    return folder, [output for _, output in results]


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def assert_alike(folder: Path, alone: Path) -> None:
    """Whether two runs left the same: texts to the letter, losses and weights nearly."""
    assert files(folder) == files(alone)
    caches = [next(each for each in (run.parent / "cache" / "logits").iterdir() if each.is_dir()) for run in (folder, alone)]  # fmt: skip
    # Keys hold a digest of the teacher's weights, which differ in their last bits.
    assert len(records(caches[0])) == len(records(caches[1]))
    assert verify(caches[0]) == []
    assert [path for path in caches[0].parent.iterdir() if ".part-" in path.name] == []
    for name in ("teacher", "student"):
        texts, expected = (predictions.read(run / "predictions" / f"{name}.jsonl") for run in (folder, alone))
        assert [(each.id, each.text) for each in texts] == [(each.id, each.text) for each in expected]
        for kind in ("train", "validation"):
            lines, wanted = (tiny.metrics(run, name, kind) for run in (folder, alone))
            assert [line["step"] for line in lines] == [line["step"] for line in wanted]
            for key in ("loss", "hard", "soft"):
                near(*([line[key] for line in each if line[key] is not None] for each in (lines, wanted)), 1e-5)
    scores, wanted = (json.loads((run / "evaluation.json").read_text())["scores"] for run in (folder, alone))
    near(*([score["value"] for score in each] for each in (scores, wanted)), 1e-5)
    for name in ("teacher", "student/best", "student/final"):
        own, other = (load_file(run / name / "model.safetensors") for run in (folder, alone))
        assert own.keys() == other.keys()
        for key, values in own.items():
            near(values, other[key], 1e-4)


def near(found, expected, tolerance) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=tolerance, atol=tolerance)


def test_two_processes_leave_what_one_does_and_one_of_them_speaks(two, alone):
    folder, (lead, other) = two
    assert_alike(folder, alone)
    assert other == ""
    assert "report: " in lead
    assert "capture: 28 of 28 rows" in lead
    assert lead.count("student: epoch 1:") == 1
    record = json.loads((folder / "run.json").read_text())
    assert {entry["status"] for entry in record["stages"].values()} == {"done"}
    assert record["stages"]["capture"]["facts"]["reused"] is False


def test_what_is_lost_of_a_finished_run_is_restored_by_the_lead_alone(two, recipe, tmp_path):
    folder, _ = two
    lost = [folder / "teacher" / "model.safetensors", folder / "data" / "train.jsonl", folder / "predictions" / "teacher.jsonl"]  # fmt: skip
    before = [path.read_bytes() for path in lost[:2]]
    texts = [each.text for each in predictions.read(lost[2])]
    for path in lost:
        path.unlink()
    results = team_kit.kdkit("run", recipe, "--run-dir", folder, log=tmp_path / "log")
    assert [code for code, _ in results] == [0, 0], results
    assert results[0][1].count(": done before") == 8
    assert [path.read_bytes() for path in lost[:2]] == before
    assert [each.text for each in predictions.read(lost[2])] == texts


@pytest.mark.slow
def test_a_killed_process_stops_the_other_and_any_number_goes_on(recipe, alone, tmp_path):
    folder = tmp_path / "runs" / "r"
    command = ("run", recipe, "--run-dir", folder)
    # In its capture: the lead, which has only heard of it at the end of its own part, has kept that.
    killed = {1: ("kdkit.logits.cache:CacheWriter.add_block", 3, signal.SIGKILL)}
    (code, lead), (other_code, other) = team_kit.kdkit(*command, log=tmp_path / "1", at=killed)
    assert (code, other_code, other) == (1, -9, "")
    assert lead.splitlines()[-1].startswith(GONE)
    assert LATER in lead
    record = json.loads((folder / "run.json").read_text())
    assert record["status"] == record["stages"]["capture"]["status"] == "failed"
    # While the student is trained, two going on.
    killed = {1: (STEP, 4, signal.SIGKILL)}
    (code, lead), (other_code, other) = team_kit.kdkit(*command, log=tmp_path / "2", at=killed)
    assert (code, other_code, other) == (1, -9, "")
    assert "teacher: done before" in lead
    assert "capture: 28 of 28 rows" not in lead, "what the lead had captured is captured again"
    assert lead.splitlines()[-1].startswith(GONE)
    # One goes on from the checkpoint.
    code, output = tiny.kdkit(*command, log=tmp_path / "3")
    assert code == 0, output
    assert "student: resuming from the checkpoint at step 2" in output
    assert_alike(folder, alone)


@pytest.mark.slow
def test_two_go_on_where_one_was_killed(recipe, alone, tmp_path):
    folder = tmp_path / "runs" / "r"
    command = ("run", recipe, "--run-dir", folder)
    killed = (STEP, 12)  # five of them are the teacher's
    assert tiny.kdkit(*command, log=tmp_path / "1", at=killed)[0] == -9
    results = team_kit.kdkit(*command, log=tmp_path / "2")
    assert [code for code, _ in results] == [0, 0], results
    assert "student: resuming from the checkpoint at step 6" in results[0][1]
    assert_alike(folder, alone)


# --- what goes wrong


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A recipe that has little to do before its student is trained."""
    folder = tmp_path_factory.mktemp("small")
    tiny.model().save(folder / "model", texts={})
    return tiny.write_recipe(
        folder, train=16, validation=8, teacher={"name": "hf-seq2seq", "model": str(folder / "model")},
        training__best_by="loss", training__epochs=1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("fails", "codes", "said"),
    [
        ({1: (STEP, 2, DamagedData("it is damaged"))}, (4, 4), (None, "error: process 1 of 2: it is damaged")),
        ({0: (STEP, 2, DamagedData("it is damaged"))}, (4, 4), ("error: it is damaged", None)),
        (
            {0: ("kdkit.pipeline.cache_filling:CacheFilling._fill_whole", 1, UsageError("no room"))},
            (2, 2),
            ("error: no room", None),
        ),
        ({0: ("kdkit.pipeline.stages.data:load_rows", 1, KdkitError("no data"))}, (1, 1), ("error: no data", None)),
    ],
    ids=["in the other", "in the lead", "while the other waits", "where the lead works alone"],
)
def test_an_error_of_one_process_is_said_once_and_all_end_with_its_code(small, tmp_path, fails, codes, said):
    folder = tmp_path / "runs" / "r"
    results = team_kit.kdkit("run", small, "--run-dir", folder, log=tmp_path / "log", fails=fails)
    assert tuple(code for code, _ in results) == codes, results
    for (_, output), sentence in zip(results, said, strict=True):
        assert [line for line in output.splitlines() if line.startswith("error")] == ([sentence] if sentence else [])
        assert "Traceback" not in output
    assert json.loads((folder / "run.json").read_text())["status"] == "failed"


def test_what_is_wrong_for_all_is_said_by_the_lead(small, tmp_path):
    results = team_kit.kdkit("run", small, "-o", "loss.alpah=1", log=tmp_path / "1")
    assert [code for code, _ in results] == [2, 2]
    assert "did you mean" in results[0][1]
    assert results[1][1] == ""
    results = team_kit.kdkit("plan", small, log=tmp_path / "2")
    assert [code for code, _ in results] == [2, 2]
    assert "error: kdkit plan needs one process, but a launcher started 2" in results[0][1]
    assert results[1][1] == ""


@pytest.mark.parametrize(
    ("at", "code", "said"),
    [
        (dict.fromkeys((0, 1), (STEP, 1, signal.SIGTERM)), 143, "terminated; saved a checkpoint of the student"),
        ({1: (STEP, 1, signal.SIGINT)}, 130, "interrupted; saved a checkpoint of the student at step 1 of 2"),
        (
            {1: ("kdkit.models.seq2seq:Seq2SeqModel.write", 1, signal.SIGTERM)},
            143,
            "process 1 of 2: terminated; kept 1 of 4 predictions",
        ),
    ],
    ids=["all", "another in training", "another elsewhere"],
)
def test_a_signal_stops_all_and_is_said_once(small, tmp_path, at, code, said):
    folder = tmp_path / "runs" / "r"
    results = team_kit.kdkit("run", small, "--run-dir", folder, log=tmp_path / "log", at=at)
    assert [each for each, _ in results] == [code, code], results
    errors = [line for line in results[0][1].splitlines() if line.startswith("error")]
    assert len(errors) == 1
    assert errors[0].startswith(f"error: {said}")
    assert errors[0].endswith("run the same command to resume")
    assert results[1][1] == ""


def test_parts_that_nobody_finishes_are_taken(small, tmp_path, monkeypatch):
    """A process that was killed leaves what it has sealed, without a manifest."""
    loaded = load_recipe(small)
    told = capture_part(loaded, Part(index=0, count=2), tmp_path / "runs" / "part")
    part = Path(told.cache)
    (part / "manifest.json").unlink()
    asked, inner = [], CacheWriter.add_block

    def noting(self, key, block):
        asked.append(key)
        return inner(self, key, block)

    monkeypatch.setattr(CacheWriter, "add_block", noting)
    notes = tiny.Notes()
    run(loaded, tmp_path / "runs" / "r", progress=notes)
    assert not part.exists()
    assert any("merged the parts beside" in note for note in notes.notes)
    assert len(asked) == len(records(part.with_name(part.name.split(".part-")[0]))) - told.records


# --- by the launchers themselves

# As docs/scaling.md has it, for two processes.
FSDP = """
compute_environment: LOCAL_MACHINE
distributed_type: FSDP
num_machines: 1
num_processes: 2
mixed_precision: 'no'
fsdp_config:
  fsdp_version: 2
  fsdp_auto_wrap_policy: TRANSFORMER_BASED_WRAP
  fsdp_transformer_layer_cls_to_wrap: T5Block
  fsdp_reshard_after_forward: true
"""


@pytest.mark.slow
def test_a_run_under_fsdp_ends_with_a_plain_student_and_nearly_the_same_scores(two, recipe, tmp_path):
    """The whole way: fine-tuning, distillation, and texts that pick the best epoch."""
    from transformers import AutoModelForSeq2SeqLM

    (tmp_path / "fsdp.yaml").write_text(FSDP)
    more = {**told_by_accelerate(tmp_path / "fsdp.yaml"), "KDKIT_STORE": str(tmp_path / "store")}  # its own teacher
    command = ["run", recipe, "--run-dir", tmp_path / "run", "--json", "-o", "training.best_by=text.f1"]
    shown = team_kit.kdkit(*command, log=tmp_path / "log", more=more)
    assert [code for code, _ in shown] == [0, 0], shown
    assert "Traceback" not in str(shown)
    _, found = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "run/student/best", output_loading_info=True)
    assert not any(found.values()), found
    assert losses_of(tmp_path / "run") == pytest.approx(losses_of(two[0]), rel=1e-3)


def told_by_accelerate(config):
    """What `accelerate launch --config_file CONFIG` puts into the environment of the processes that it starts."""
    from accelerate.commands.launch import _validate_launch_command, launch_command_parser
    from accelerate.utils.launch import prepare_multi_gpu_env

    arguments = ["--config_file", str(config), "--main_process_port", "0", "-m", "kdkit"]
    checked, *_ = _validate_launch_command(launch_command_parser().parse_args(arguments))
    told = {name: value for name, value in prepare_multi_gpu_env(checked).items() if os.environ.get(name) != value}
    assert told["ACCELERATE_USE_FSDP"] == "true"
    return told


def losses_of(folder):
    scores = json.loads((folder / "evaluation.json").read_text())["scores"]
    return {(score["model"], score["metric"]): score["value"] for score in scores if score["suite"] == "loss"}


# `python -m LAUNCHER`: what it starts are new Pythons.
LAUNCHER = "import runpy, sys; del sys.argv[0]; runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("launch", "noted"),
    [
        (["torch.distributed.run", "--nproc_per_node", "2"], False),
        (["accelerate.commands.launch", "--num_processes", "2"], True),
    ],
    ids=["torchrun", "accelerate without --multi_gpu"],
)
def test_launchers_start_it(two, recipe, launch, noted, tmp_path):
    folder, _ = two
    (folder / "report.md").unlink()  # so that there is something to do
    code, said, errors = tiny.code(LAUNCHER, *launch, "-m", "kdkit", "run", recipe, "--run-dir", folder, "--json")
    assert code == 0, errors
    assert json.loads(said)["run_dir"] == str(folder)
    assert "capture: done before" in errors
    assert ("note: accelerate launch started one process" in errors) == noted
    assert (folder / "report.md").exists()
