"""One training by several processes: the same steps as in one."""

from __future__ import annotations

import signal
import socket
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import tiny
import torch

from kdkit.system.team import ALONE

# Dropout is off: its noise is each process's own.
OPTIONS = {"rows": 26, "batch_size": 5, "accumulation": 2, "drop_last": False, "epochs": 2, "checkpoint_every": 2}
STEPS = 6


class Enough(Exception):
    """Ends a training."""


class UpTo:
    """Progress that ends a training when a step is done that is one too many."""

    def __init__(self, steps: int | None, end=None) -> None:
        self.steps, self.done = steps, 0
        self.end = end if end is not None else self.enough

    @contextmanager
    def task(self, name: str, *, total: int, unit: str, done: int = 0):
        self.done = done
        yield self

    def advance(self, amount: int = 1, **facts: str) -> None:
        if self.done == self.steps:
            self.end()
        self.done += amount

    def enough(self) -> None:
        raise Enough

    def note(self, message: str) -> None:
        pass


def train_here(folder: Path, *, stop_after=None, progress=None, validated=False, team=ALONE, **options) -> None:
    """A training in this process, with real validations or with values that are given."""
    model, values = tiny.model(dropout_rate=0.0), [{"loss": 1.0}] * 2
    shown = {"progress": progress or UpTo(stop_after), "values": values if not validated else None}
    trained = tiny.trainer(folder, training_model=model, **shown, **OPTIONS, **options)
    trained.team = team
    with suppress(Enough):
        trained.fit()


def train_together(folder: Path, size: int, **options) -> None:
    """The same by so many processes."""
    for process, log in start_together(folder, size, **options):
        process.join(120)
        assert process.exitcode == 0, log.read_text()


def start_together(folder: Path, size: int, **options) -> list:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    logs = [folder / f"log{rank}" for rank in range(size)]
    folder.mkdir(parents=True, exist_ok=True)
    return [(tiny.start(_one_of, (str(folder), rank, size, port, options), log), log) for rank, log in enumerate(logs)]


def _one_of(arguments) -> None:
    """A process; options in capitals are variables of its environment."""
    import os

    from kdkit.system.launcher import join

    folder, rank, size, port, options = arguments
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
    os.environ |= {name: str(value) for name, value in names.items()}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {name: options.pop(name) for name in list(options) if name.isupper()}
    dies_after = options.pop("dies_after", None)
    if dies_after is not None and rank == 1:
        options["progress"] = UpTo(dies_after, lambda: os.kill(os.getpid(), signal.SIGKILL))
    train_here(Path(folder), team=join(), **options)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    train_here(folder)
    return folder


def assert_same_steps(folder: Path, alone: Path) -> None:
    ours, theirs = tiny.metrics(folder), tiny.metrics(alone)
    assert [line["step"] for line in ours] == list(range(1, STEPS + 1))
    for one, other in zip(ours, theirs, strict=True):
        for name in ("loss", "hard", "grad_norm"):
            assert one[name] == pytest.approx(other[name], rel=1e-5), (one["step"], name)
        for name in ("epoch", "learning_rate", "padding"):
            assert one[name] == other[name]
    assert sorted(path.name for path in folder.glob("student/*")) == ["best", "checkpoints", "final"]


@pytest.mark.parametrize("size", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_any_number_of_processes_takes_the_same_steps(size, alone, tmp_path):
    """A micro-batch of one row among them, of which all but one process have nothing."""
    train_together(tmp_path, size)
    assert_same_steps(tmp_path, alone)


@pytest.mark.parametrize(
    "sizes",
    [(2, 1), (1, 2), pytest.param((4, 2, 1), marks=pytest.mark.slow)],
    ids=lambda sizes: "-".join(map(str, sizes)),
)
def test_a_training_goes_on_with_any_number_of_processes(sizes, alone, tmp_path):
    for number, size in enumerate(sizes, 1):
        stop = {"stop_after": 2 * number} if number < len(sizes) else {}
        if size == 1:
            train_here(tmp_path, **stop)
        else:
            train_together(tmp_path, size, **stop)
        if stop:
            newest = max(path.name for path in (tmp_path / "student" / "checkpoints").iterdir())
            assert newest == f"step-{2 * number:08}"
    assert_same_steps(tmp_path, alone)


# --- a model that is spread over the processes (FSDP)

SPREAD = {
    "ACCELERATE_USE_FSDP": "true",
    "FSDP_VERSION": "2",
    "FSDP_AUTO_WRAP_POLICY": "TRANSFORMER_BASED_WRAP",
    "FSDP_TRANSFORMER_CLS_TO_WRAP": "T5Block",
}


def test_a_model_that_is_spread_takes_the_same_steps_and_is_saved_whole(alone, tmp_path):
    from transformers import AutoModelForSeq2SeqLM

    train_together(tmp_path, 2, stop_after=4, validated=True, **SPREAD)
    train_together(tmp_path, 2, validated=True, **SPREAD)
    assert_same_steps(tmp_path, alone)
    saved, found = AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "student" / "final", output_loading_info=True)
    assert not any(found.values()), found
    other = AutoModelForSeq2SeqLM.from_pretrained(alone / "student" / "final")
    for one, two in zip(saved.parameters(), other.parameters(), strict=True):
        assert torch.allclose(one, two, atol=1e-4)
    assert all((tmp_path / log).read_text() == "" for log in ("log0", "log1"))


@pytest.mark.parametrize("spread", [False, True])
def test_a_killed_process_is_missed_at_once_and_in_a_sentence(spread, tmp_path):
    (lead, log), _ = start_together(tmp_path, 2, dies_after=2, **(SPREAD if spread else {}))
    lead.join(60)
    assert lead.exitcode == 1
    said = log.read_text().splitlines()[-1]
    assert said.startswith("kdkit.errors.Lost: another process of this run has ended (")
    assert said.endswith("); run the same command to resume from the last saved state")
