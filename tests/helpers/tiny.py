"""Tiny data, models, trainings and runs, and a way to kill them at a given call."""

from __future__ import annotations

import contextlib
import functools
import importlib
import itertools
import json
import multiprocessing
import multiprocessing.forkserver
import os
import random
import signal
import sys
import tempfile
import types
from pathlib import Path

T5 = {"model_type": "t5", "d_model": 16, "d_ff": 32, "num_layers": 2, "num_heads": 2, "d_kv": 8}
BART = {
    "model_type": "bart",
    "d_model": 16,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "max_position_embeddings": 64,
}
VOCAB = 270
NO_TEXTS = {"training__best_by": "loss", "evaluation__suites": []}
"""Changes of a recipe for tests that look at no texts, which take a third of a run."""


def pairs(count: int, seed: int = 0) -> list[tuple[str, str]]:
    """Sources and targets: the greater of two digits."""
    draw = random.Random(seed)
    numbers = [(draw.randrange(10), draw.randrange(10)) for _ in range(count)]
    return [(f"max of {a} and {b}" + " x" * (a % 4), f"== {max(a, b)}") for a, b in numbers]


def write_rows(path: Path, count: int, seed: int) -> None:
    lines = [json.dumps({"text": source, "answer": target}) for source, target in pairs(count, seed)]
    path.write_text("\n".join(lines) + "\n")


def recipe_table(folder: Path, *, train: int = 40, validation: int = 10, test: int = 0, **changes) -> dict:
    """A recipe that runs in a second; `changes` are laid over it, `training__epochs=1` being training.epochs.

    Data files that are there already stay.
    """
    folder.mkdir(parents=True, exist_ok=True)
    counts = {"train": train, "validation": validation, "test": test}
    files = {split: folder / f"{split}.jsonl" for split, count in counts.items() if count}
    for seed, (split, file) in enumerate(files.items()):
        if not file.exists():
            write_rows(file, counts[split], seed)
    training = {
        "epochs": 2,
        "batch_size": 8,
        "learning_rate": 5e-3,
        "group_by_length": False,
        "drop_last": True,
        "log_every": 1,
        "checkpoint_every": 2,
    }
    table = {
        "name": "tiny",
        "device": "cpu",
        "data": {"name": "jsonl", "source": "text", "target": "answer", **{k: str(v) for k, v in files.items()}},
        "tokens": {"max_source": 24, "max_target": 8},
        "teacher": {
            "name": "hf-seq2seq",
            "vocab_size": VOCAB,
            "config": dict(T5),
            "fine_tune": {**training, "best_by": "loss"},
        },
        "student": {"name": "hf-seq2seq", "from_teacher": {"encoder_layers": [0], "decoder_layers": [1]}},
        "loss": {"name": "kd", "alpha": 0.5, "temperature": 2.0},
        "training": {**training, "best_by": "text.f1"},
        "generation": {"beams": 1, "max_new_tokens": 7, "batch_size": 4},
        "evaluation": {"bootstrap": 20, "examples": 3, "baselines": False},
    }
    for path, value in changes.items():
        *sections, key = path.split("__")
        place = table
        for section in sections:
            place = place.setdefault(section, {})
        if value is None:
            place.pop(key, None)
        else:
            place[key] = value
    return table


def write_recipe(folder: Path, name: str = "r", **changes) -> Path:
    """The same as a TOML file."""
    import tomli_w

    path = folder / f"{name}.toml"
    path.write_text(tomli_w.dumps(recipe_table(folder, **changes)))
    return path


def run_here(folder: Path, name: str = "tiny", *, progress=None, fresh: bool = False, **changes):
    """A run in this process; gives its report."""
    from kdkit.pipeline.run import run
    from kdkit.recipe import load_recipe

    loaded = load_recipe(recipe_table(folder, **changes))
    return run(loaded, folder / "runs" / name, fresh=fresh, progress=progress)


@functools.cache
def tokenizer():
    """A byte-level BPE of the tiny rows; shared, never changed."""
    from kdkit.models import train_bpe

    return train_bpe([text for pair in pairs(200) for text in pair], vocab_size=VOCAB)


def encoded(count: int, seed: int = 0):
    """Examples and their ids."""
    from kdkit.api.options import TokenLimits
    from kdkit.api.values import Example
    from kdkit.data.tokens import encode

    examples = [Example(id=f"row{i}", source=s, target=t) for i, (s, t) in enumerate(pairs(count, seed))]
    return examples, encode(examples, tokenizer(), TokenLimits(max_source=24, max_target=8))


def model(config: dict | None = None, *, seed: int = 1, **fields):
    """A new model on the CPU."""
    from kdkit import models

    table = {**(config if config is not None else T5), **fields}
    return models.Seq2SeqModel(
        module=models.new_model(models.config_from(table, tokenizer()), seed=seed).eval(), tokenizer=tokenizer()
    )


class Notes:
    """Progress that keeps its notes."""

    def __init__(self) -> None:
        from kdkit.system.progress import Silent

        self.notes: list[str] = []
        self.task, self.stage = Silent().task, Silent().stage

    def note(self, message: str) -> None:
        self.notes.append(message)


def trainer(
    folder: Path,
    *,
    rows: int = 24,
    values=None,
    training_model=None,
    progress=None,
    log=True,
    direction="lower",
    **options,
):
    """A training of a tiny T5 on labels; validation gives `values` in turn (by default the step's own number)."""
    from kdkit.api.options import Generation, Training
    from kdkit.api.values import Direction
    from kdkit.evaluation.losses import Validator
    from kdkit.logits.targets import NoTargets
    from kdkit.losses import HardLoss
    from kdkit.system.progress import Silent
    from kdkit.training import MetricsLog, Trainer

    usual = {
        "epochs": 2,
        "batch_size": 4,
        "learning_rate": 5e-3,
        "group_by_length": False,
        "drop_last": True,
        "best_by": "loss",
        "log_every": 1,
    }
    training = Training(**{**usual, **options})
    trained = training_model if training_model is not None else model()
    examples, encoded_rows = encoded(rows)
    given = iter(values) if values is not None else None
    validator = Validator(
        model=trained,
        examples=examples[:6],
        rows=encoded_rows[:6],
        prompts=encoded_rows[:6],
        loss=HardLoss(),
        targets=NoTargets(),
        generation=Generation(beams=1, max_new_tokens=7),
        suite=None,
        batch_size=4,
        device="cpu",
        progress=Silent(),
    )
    return Trainer(
        model=trained,
        rows=encoded_rows,
        options=training,
        loss=HardLoss(),
        targets=NoTargets(),
        validate=validator if given is None else lambda: next(given),
        direction=Direction(direction),
        seed=7,
        device="cpu",
        folder=folder / "student",
        texts={"README.md": "card"},
        log=MetricsLog(folder / "metrics.jsonl", "student"),
        progress=progress if progress is not None else Silent(),
        name="student",
    )


def metrics(folder: Path, stage: str = "student", kind: str = "train") -> list[dict]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["stage"] == stage and line["kind"] == kind]


def weights(folder: Path) -> bytes:
    """The bytes of a model's weights."""
    return (folder / "model.safetensors").read_bytes()


# --- other processes: forked from one that has done a run (see warm.py), so that each starts at once


def kdkit(*arguments: object, log: Path, at: tuple[str, int] | None = None, number: int = signal.SIGKILL):
    """`kdkit ARGUMENTS` in a process of its own; gives its exit code and what it wrote.

    Args:
        arguments: The command line.
        log: File for its output.
        at: A function, "module:name", and which of its calls is cut short by the signal.
        number: The signal that the process sends itself there.
    """
    return _apart(_kdkit, [str(argument) for argument in arguments], log, at, number)


def command(*arguments: object, folder: Path, **environment: str) -> tuple[int, str, str]:
    """`kdkit ARGUMENTS` in a process of its own, in a folder and with more in its environment.

    Gives its exit code, standard output and standard error, in which stands too what libraries said when they were
    imported and ran for the first time.
    """
    return _told_apart(_command, [str(argument) for argument in arguments], folder, environment)


def script(path: Path, *arguments: object, **environment: str) -> tuple[int, str, str]:
    """`python PATH ARGUMENTS` in a process of its own: its exit code, standard output and standard error."""
    _ensure_server()
    address = multiprocessing.forkserver._forkserver._forkserver_address
    given = str(path), [str(argument) for argument in arguments], address
    return _told_apart(_script, given, Path.cwd(), environment)


def code(text: str, *arguments: object) -> tuple[int, str, str]:
    """`python -c TEXT ARGUMENTS` in a process of its own: its exit code, standard output and standard error."""
    return _told_apart(_code, (text, [str(argument) for argument in arguments]), Path.cwd(), {})


def _told_apart(target, arguments, folder: Path, environment) -> tuple[int, str, str]:
    with tempfile.TemporaryDirectory() as place:
        output, errors = Path(place) / "out", Path(place) / "err"
        given = (target, arguments, str(folder), {**os.environ, **environment}, str(errors))
        ended, said = _apart(_there, given, output, None, signal.SIGKILL)
        return ended, said, errors.read_text()


def train_apart(folder: Path, *, at: tuple[str, int] | None = None, log: Path, **options):
    """`trainer(folder, **options).fit()` in a process of its own."""
    return _apart(_train, (str(folder), options), log, at, signal.SIGKILL)


def _apart(target, arguments, log: Path, at, number) -> tuple[int, str]:
    process = start(target, arguments, log, at, number)
    process.join(120)
    assert process.exitcode is not None, "it hangs"
    return process.exitcode, log.read_text()


def start(target, arguments, log: Path, at=None, number=signal.SIGKILL):
    _ensure_server()
    process = multiprocessing.get_context("forkserver").Process(
        target=_child, args=(target, arguments, str(log), at, number)
    )
    process.start()
    return process


def _ensure_server() -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    multiprocessing.set_forkserver_preload(["warm"])
    with _found_by_python(Path(__file__).parent):
        multiprocessing.forkserver.ensure_running()


@contextlib.contextmanager
def _found_by_python(folder: Path):
    """Within the block a new Python finds the modules of a folder."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(folder) if before is None else f"{folder}{os.pathsep}{before}"
    try:
        yield
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)


def _child(target, arguments, log: str, at, number) -> None:
    assert "warm" in sys.modules, "the server that forks could not import it, and did not say so"
    _write_to(log, 1)
    os.dup2(1, 2)
    sys.stdout = open(1, "w", buffering=1, closefd=False)  # noqa: SIM115 - for the process's whole life
    sys.stderr = open(2, "w", buffering=1, closefd=False)  # noqa: SIM115
    if at is not None:
        setattr(*signalling(*at, number))
    target(arguments)


def signalling(name: str, call: int, number: int):
    """`at_call` with a signal to this process."""
    return at_call(name, call, lambda: os.kill(os.getpid(), number))


def at_call(name: str, call: int, action):
    """The given function's owner, its name there, and the same function that does something first at its `call`th call."""
    module, _, path = name.partition(":")
    *owners, attribute = path.split(".")
    owner = functools.reduce(getattr, owners, importlib.import_module(module))
    inner, calls = getattr(owner, attribute), itertools.count(1)

    @functools.wraps(inner)
    def wrapped(*args, **kwargs):
        if next(calls) == call:
            action()
        return inner(*args, **kwargs)

    return owner, attribute, wrapped


def _write_to(path: str, number: int) -> None:
    file = os.open(path, os.O_CREAT | os.O_TRUNC | os.O_WRONLY)
    os.dup2(file, number)
    os.close(file)


def _there(given) -> None:
    target, arguments, folder, environment, errors = given
    _write_to(errors, 2)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    target(arguments)


def _command(arguments) -> None:
    sys.stderr.write(sys.modules["warm"].SAID)
    _kdkit(arguments)


def _script(given) -> None:
    path, arguments, address = given
    server = multiprocessing.forkserver._forkserver
    server._forkserver_address, server.ensure_running = address, lambda: None  # its processes come from here as well
    sys.argv = [path, *arguments]
    sys.path.insert(0, str(Path(path).parent))
    main = types.ModuleType("__main__")
    main.__file__ = path
    sys.modules["__main__"] = sys.modules["__mp_main__"] = main  # where what its processes send is looked for
    exec(compile(Path(path).read_bytes(), path, "exec"), main.__dict__)


def _code(given) -> None:
    text, arguments = given
    sys.argv = ["-c", *arguments]
    exec(compile(text, "<string>", "exec"), {"__name__": "__main__"})


def _kdkit(arguments) -> None:
    from kdkit.cli import main

    main(arguments)


def _train(arguments) -> None:
    folder, options = arguments
    trainer(Path(folder), **options).fit()
