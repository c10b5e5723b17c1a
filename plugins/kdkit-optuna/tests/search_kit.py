"""A search to test with: its space, what its trials come to, and a sweep's loop around it."""

from __future__ import annotations

from pathlib import Path

from kdkit.api import Outcome
from kdkit_optuna.search import Optuna

SPACE = {
    "loss.alpha": {"low": 0.0, "high": 1.0},
    "loss.temperature": {"low": 0.5, "high": 8.0, "log": True},
    "training.batch_size": {"choices": [16, 32, 64]},
    "training.epochs": {"low": 1, "high": 4},
}


def goodness(values) -> float:
    """Best at alpha 0.3, temperature 2, batch size 32."""
    return (
        -((values["loss.alpha"] - 0.3) ** 2)
        - (values["loss.temperature"] - 2) ** 2 / 30
        - (values["training.batch_size"] != 32) * 0.2
        - values["training.epochs"] * 0.01
    )


def outcome(values, *, number: int = 0, status: str = "done", value="own", higher: bool = True) -> Outcome:
    own = goodness(values) if value == "own" else value
    return Outcome(
        id=f"{number:016x}",
        values=values,
        status=status,
        value=own if status == "done" else None,
        higher_is_better=higher,
    )


def searched(folder, count: int, *, seed: int = 1, outcomes=(), apart: bool = False, **options) -> list[Outcome]:
    """Outcomes of trials one after another; `apart` makes the search anew for each, as resumption does."""
    found = list(outcomes)
    search = Optuna(**{"space": SPACE, **options})
    opened = search.open(folder, seed=seed)
    for number in range(len(found), count):
        if apart:
            opened.close()
            opened = search.open(folder, seed=seed)
        opened.tell(found)
        found.append(outcome(opened.ask(), number=number))
    opened.close()
    return found


def search(storage: str, space=None, **options):
    return Optuna(space=space if space is not None else SPACE, storage=storage, startup=3, **options)


def ask_thrice(folder: str, storage: str, gate, answers) -> None:
    opened = search(storage).open(Path(folder), seed=1)
    opened.tell([])
    gate.wait()
    answers.put([opened.ask() for _ in range(3)])
    opened.close()
