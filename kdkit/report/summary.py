"""The numbers of reports as JSON can hold them: what `kdkit report --json` prints."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit.report.numbers import pairs
from kdkit.report.numbers.conclusion import conclude
from kdkit.report.numbers.names import MODELS, metric_name
from kdkit.report.numbers.next_step import next_step
from kdkit.report.numbers.selection import headline
from kdkit.report.numbers.statistics import Unpaired
from kdkit.report.numbers.student_folder import student_folder
from kdkit.report.numbers.versus_labels import against_labels
from kdkit.report.page import formats
from kdkit.report.parts import verdict, written
from kdkit.report.read.files import number
from kdkit.report.read.run import read_run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from kdkit.api.values import Difference, Interval
    from kdkit.evaluation.record import Change
    from kdkit.report.numbers.configurations import Configuration
    from kdkit.report.numbers.pairs import Pair
    from kdkit.report.numbers.statistics import Statistics


def summary(folder: Path) -> dict[str, Any]:
    """Verdict, scores of all models, paired differences, costs and calibration of a run; what is not known is null.

    Raises:
        MissingInput: The folder is no run folder.
        DamagedData: A file in it cannot be read.
    """
    run = read_run(folder)
    found = conclude(run)
    judged = verdict.of_run(run, found)
    scored = [
        *pairs.pairs(run, against="truth"),
        *pairs.pairs(run, against="teacher"),
        *pairs.losses(run),
    ]
    student, step = student_folder(run), next_step(run, found)
    return {
        "run_dir": str(folder),
        **({"scored": {key: run.scored.get(key) for key in ("run_dir", "overrides")}} if run.scored else {}),
        "html": str(folder / "report.html"),
        "markdown": str(folder / "report.md"),
        "split": run.split,
        "row_count": run.evaluation.row_count,
        "verdict": judged.text,
        "ending": found.ending,
        "headline": None if found.pair is None else f"{found.pair.suite}.{found.pair.metric}",
        "detail": judged.detail,
        "missing": list(run.missing),
        "rows": list(map(_row, scored)),
        "fine_tuning": list(map(_change, run.evaluation.fine_tuning)),
        "written_targets": written.counts(run),
        "student": None if student is None else student.path,
        "next": [] if step is None else list(step.commands),
        "costs": {model: _plain(attrs.asdict(cost)) for model, cost in run.evaluation.costs.items()},
        "calibration": {model: [attrs.asdict(each) for each in bins] for model, bins in run.calibration.items()},
    }


def _row(pair: Pair) -> dict[str, Any]:
    scores = {model: score for model in MODELS if (score := pair.score(model)) is not None}
    return {
        "against": pair.against,
        "suite": pair.suite,
        "metric": pair.metric,
        "better": {1: "more", -1: "less", 0: None}[pair.sense],
        "teacher": None if pair.teacher is None else number(pair.teacher.value),
        "student": None if pair.student is None else number(pair.student.value),
        "retention": pair.retention,
        "within_noise": pair.within_noise,
        "scores": {model: _numbers(score) for model, score in scores.items()},
        "student_minus_teacher": _difference(pair.difference),
        "student_minus_labels_only": _difference(pair.gain),
    }


def _change(change: Change) -> dict[str, Any]:
    """What fine-tuning did to a score of the teacher."""
    named = {"suite": change.difference.suite, "metric": change.difference.metric}
    scores = {"before": _numbers(change.before), "after": _numbers(change.after)}
    return {
        **named,
        **scores,
        "after_minus_before": _difference(change.difference),
        "verdict": change.difference.verdict,
    }


def _difference(difference: Difference | None) -> dict[str, Any] | None:
    if difference is None:
        return None
    return {**_numbers(difference), "within_noise": difference.holds_zero}


def configurations(stats: Statistics) -> list[dict[str, Any]]:
    """Each configuration: its values, its runs, and every score with its interval."""
    return [
        {
            "label": each.label,
            "values": dict(each.values),
            "runs": [str(run.folder) for run in each.runs],
            "scores": _scores(stats, each),
        }
        for each in stats.configurations
    ]


def differences(stats: Statistics, first: Configuration) -> list[dict[str, Any]]:
    """What the other configurations differ by from one, in every whole score of the student; why not, where not."""
    keys = stats.of_student()
    found = []
    for each in stats.configurations:
        if each is first:
            continue
        for key in keys:
            apart = stats.difference(each, first, key)
            entry: dict[str, Any] = {
                "of": each.label,
                "than": first.label,
                "against": key.against,
                "suite": key.suite,
                "metric": key.metric,
                "seeds": stats.seeds_in_common(each, first),
            }
            if isinstance(apart, Unpaired):
                found.append({**entry, "value": None, "low": None, "high": None, "reason": apart.reason})
            else:
                known = {"within_noise": apart.holds_zero, "lower_is_better": apart.direction.sense < 0}
                found.append({**entry, **_ends(apart), **known})
    return found


def lines(stats: Statistics) -> tuple[list[str], list[list[str]]]:
    """A table for the terminal: columns, and a row for each configuration with its headline score beside labels only.

    Losses that depend on alpha, temperature or codec are never the headline: its column compares like with like.
    """
    key = headline(stats)
    if key is None:
        return [], []
    rows = []
    for each in stats.configurations:
        measure = stats.measure(each, key)
        if measure is None:
            continue
        row = [each.label, str(measure.seeds), formats.metric(measure.value), formats.interval(measure)]
        apart = against_labels(stats, each, key)
        if isinstance(apart, Unpaired):
            row.append("")
        else:
            row.append(f"{formats.signed(apart.value)}{' (within noise)' if apart.holds_zero else ''}")
        rows.append(row)
    columns = ["", "seeds", metric_name(key), "95 % interval", "minus labels only"]
    if not any(row[-1] for row in rows):
        return columns[:-1], [row[:-1] for row in rows]
    return columns, rows


def headline_name(stats: Statistics) -> str | None:
    """The metric that a report on several runs is about: "text.f1"."""
    key = headline(stats)
    return None if key is None else f"{key.suite}.{key.metric}"


def _scores(stats: Statistics, configuration: Configuration) -> list[dict[str, Any]]:
    found = []
    for key in stats.keys:
        measure = stats.measure(configuration, key)
        if measure is not None:
            found.append({**key._asdict(), **_ends(measure), "seeds": measure.seeds, "count": measure.count})
    return found


def _numbers(found: Interval) -> dict[str, Any]:
    return {**_ends(found), "count": found.count}


def _ends(found: Interval) -> dict[str, Any]:
    return {"value": number(found.value), "low": number(found.low), "high": number(found.high)}


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: number(value) for key, value in values.items()}
