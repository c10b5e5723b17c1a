"""Where a run's student is, and how it is used."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from kdkit.runs.model_card import CARD_FILE, code_of
from kdkit.system.reading import read_text

if TYPE_CHECKING:
    from kdkit.report.read.run import RunFacts

BEST = Path("student", "best")


@attrs.frozen(kw_only=True)
class StudentFolder:
    """Where a run's student is, and how it is used.

    Attributes:
        path: Its folder, as seen from where the run was started.
        predict: The command that lets it write.
        code: Python that opens it with plain transformers; empty where its model card has none.
    """

    path: str
    predict: str
    code: str


def student_folder(facts: RunFacts) -> StudentFolder | None:
    """The folder of the student that a run kept; None where it is not there."""
    told = facts.scored.get("run_dir")
    run, there = (Path(told), Path(told)) if isinstance(told, str) else (run_dir(facts), facts.path)
    if there is None or not (there / BEST).is_dir():
        return None
    path = (run / BEST).as_posix()
    card = there / BEST / CARD_FILE
    return StudentFolder(
        path=path,
        predict=f"kdkit predict {shlex.quote(str(run))} --input rows.jsonl",
        code=code_of(read_text(card, errors="replace"), folder=path) if card.is_file() else "",
    )


def run_dir(facts: RunFacts) -> Path:
    """The run's folder as it was given to the command that ran it, else its name."""
    told = facts.run.get("run_dir")
    return Path(told) if isinstance(told, str) else Path(facts.folder)
