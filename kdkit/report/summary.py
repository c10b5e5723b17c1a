"""The numbers of a report as JSON: what `kdkit report RUN --json` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit.report.numbers import pairs
from kdkit.report.parts import verdict
from kdkit.report.read.files import number
from kdkit.report.read.run import read

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kdkit.api.values import Difference, Score
    from kdkit.report.numbers.pairs import Pair


def summary(folder: Path) -> dict[str, Any]:
    """Verdict, scores of all models, paired differences, costs and calibration of a run; what is not known is null.

    Raises:
        MissingInput: The folder is no run folder.
        DamagedData: A file in it cannot be read.
    """
    run = read(folder)
    judged = verdict.of_run(run)
    found = [
        *pairs.pairs(run, against="truth"),
        *pairs.pairs(run, against="teacher"),
        *pairs.losses(run),
    ]
    return {
        "run_dir": str(folder),
        "html": str(folder / "report.html"),
        "markdown": str(folder / "report.md"),
        "split": run.split,
        "row_count": run.row_count,
        "verdict": judged.sentence,
        "detail": judged.detail,
        "missing": list(run.missing),
        "rows": list(map(_row, found)),
        "costs": {model: _plain(attrs.asdict(cost)) for model, cost in run.costs.items()},
        "calibration": {model: [attrs.asdict(each) for each in bins] for model, bins in run.calibration.items()},
    }


def _row(pair: Pair) -> dict[str, Any]:
    scores = {model: score for model in pairs.MODELS if (score := pair.score(model)) is not None}
    return {
        "against": pair.against,
        "suite": pair.suite,
        "metric": pair.metric,
        "better": {1: "more", -1: "less", 0: None}[pair.sense],
        "teacher": None if pair.teacher is None else number(pair.teacher.value),
        "student": None if pair.student is None else number(pair.student.value),
        "ratio": pair.ratio,
        "within_noise": pair.within_noise,
        "scores": {model: _numbers(score) for model, score in scores.items()},
        "student_minus_teacher": _difference(pair.difference),
        "student_minus_labels_only": _difference(pair.gain),
    }


def _difference(difference: Difference | None) -> dict[str, Any] | None:
    if difference is None:
        return None
    return {**_numbers(difference), "within_noise": difference.holds_zero}


def _numbers(score: Score | Difference) -> dict[str, Any]:
    return {**{key: number(getattr(score, key)) for key in ("value", "low", "high")}, "count": score.count}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: number(value) for key, value in values.items()}
