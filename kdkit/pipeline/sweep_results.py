"""`results.json` and `results.csv`: a row a trial, with its values, its best epoch and every score."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from kdkit.errors import DamagedData, MissingInput
from kdkit.evaluation import record
from kdkit.system.files import write_atomically, write_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kdkit.sweeps.folder import SweepFacts, TrialFacts

RESULTS = "results"


def rows_of(sweep: SweepFacts) -> list[dict[str, Any]]:
    """Everything known about each trial, as JSON."""
    return [_row(trial) for trial in sweep.trials]


def write_results(sweep: SweepFacts) -> None:
    """Write both files."""
    rows = rows_of(sweep)
    write_json(sweep.folder / f"{RESULTS}.json", {"name": sweep.name, "axes": list(sweep.axes), "trials": rows})
    write_atomically(sweep.folder / f"{RESULTS}.csv", _as_csv(sweep, rows).encode())


def _row(trial: TrialFacts) -> dict[str, Any]:
    scores: list[dict[str, Any]] = []
    error = trial.error
    if trial.status == "done":
        try:
            scores = list(map(record.as_json, record.read(trial.folder).scores))
        # One trial's files are no reason to be silent about the others.
        except (DamagedData, MissingInput, OSError) as damage:
            error = str(damage)
    return {
        "id": trial.id,
        "values": dict(trial.values),
        "seed": trial.seed,
        "status": trial.status,
        "seconds": round(trial.seconds, 3),
        "best_by": trial.best_by,
        "best": trial.best,
        "error": error,
        "scores": scores,
    }


def _as_csv(sweep: SweepFacts, rows: list[dict[str, Any]]) -> str:
    named = [{_name_of(score): score["value"] for score in row["scores"]} for row in rows]
    names = list(dict.fromkeys(name for scores in named for name in scores))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["id", *sweep.axes, "seed", "status", "seconds", "best_by", "best", *names, "error"])
    for row, scores in zip(rows, named, strict=True):
        values = [_cell(row["values"].get(axis)) for axis in sweep.axes]
        own = [_cell(row[key]) for key in ("seed", "status", "seconds", "best_by", "best")]
        table.writerow([row["id"], *values, *own, *(_cell(scores.get(name)) for name in names), row["error"]])
    return text.getvalue()


def _name_of(score: Mapping[str, Any]) -> str:
    return f"{score['model']}/{score['against']}/{score['suite']}/{score['metric']}"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
