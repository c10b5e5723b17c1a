"""What picked a trial's best epoch, and whether its values can stand side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.errors import DamagedData
from kdkit.system.parsing import parse_json
from kdkit.system.reading import read_lines

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

TEACHER_LOSSES = frozenset({"loss", "soft"})
"""Monitors that depend on what a teacher says: of no use to compare trials that vary it."""
OF_TEACHER = ("loss.", "codec.", "codec", "loss", "teacher.", "teacher")


def are_comparable(monitors: Iterable[str], axes: Iterable[str]) -> bool:
    """Whether the best epochs of trials that vary these axes can be compared: one monitor, and no loss of a teacher's.

    A total loss of alpha 0.3 beside one of alpha 0.9 says nothing of either.
    """
    (first, *others) = set(monitors) or {""}
    return not others and (first not in TEACHER_LOSSES or not any(axis.startswith(OF_TEACHER) for axis in axes))


def hard_loss_of_best(folder: Path) -> float | None:
    """The hard loss of the epoch that a trial kept, on its validation rows; None where the trial does not say it."""
    found, path = None, folder / "metrics.jsonl"
    try:
        for line in read_lines(path) if path.is_file() else ():
            if '"validation"' not in line:
                continue
            entry = parse_json(line)
            if (entry["stage"], entry["kind"]) == ("student", "validation") and entry["best"]:
                found = float(entry["hard"])
    except (DamagedData, ValueError, KeyError, TypeError):
        return None  # a value is missing from the table, and the trial's own report says why
    return found
