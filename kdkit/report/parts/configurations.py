"""The tables of reports on several runs: every score of every configuration, and what each costs."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

from kdkit.report.numbers.pairs import BASELINES, LABELS_ONLY, METRICS, MODELS
from kdkit.report.numbers.statistics import Unpaired
from kdkit.report.page import formats
from kdkit.report.parts import scores as run_scores
from kdkit.report.parts.scores import Cell, Group, Row, Table, difference_cell
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from kdkit.api.values import Difference
    from kdkit.evaluation.row_scores import RowKey
    from kdkit.report.numbers.statistics import Measure, Statistics
    from kdkit.report.read.scored import Configuration, ScoredRun

SUITES = {"loss": "Losses", **run_scores.SUITES}


def metric_name(key: RowKey) -> str:
    """A metric in words that stand without its suite."""
    if key.suite == "loss":
        return f"{key.metric} loss"
    return METRICS.get((key.suite, key.metric)) or ("token " if key.suite == "tokens" else "") + key.metric.replace(
        "_", " "
    )


def group_name(group: Sequence[RowKey]) -> str:
    """Scores that are equal, by their names: `precision, recall, f1`."""
    return ", ".join(dict.fromkeys(map(metric_name, group)))


def suites_of(group: Sequence[RowKey]) -> str:
    """The suites that they are of."""
    return ", ".join(dict.fromkeys(key.suite for key in group))


def scores(stats: Statistics, *, parts: bool = False) -> list[Table]:
    """A table for each suite and what texts were compared with: a row for each configuration and baseline.

    Args:
        stats: The configurations and their scores.
        parts: Whether of parts of the rows, `recall/equals`; else of all rows.
    """
    found = []
    for (suite, against), every in _grouped(stats.of_student(parts=parts)).items():
        groups_of_keys = stats.folded(every)
        keys = [group[0] for group in groups_of_keys]
        rows = tuple(_row(configuration, stats, keys) for configuration in stats.configurations)
        baselines = tuple(_baselines(stats, keys))
        groups = [Group(title="Configurations", rows=rows)]
        if baselines:
            groups.append(Group(title="To compare with", rows=baselines))
        found.append(
            Table(
                title=_title(suite, against) + (", by part of the rows" if parts else ""),
                note=_note(stats, keys),
                columns=("", *(", ".join(map(_column, group)) for group in groups_of_keys)),
                groups=tuple(groups),
                folded=parts,
            )
        )
    return found


def costs(stats: Statistics) -> Table | None:
    """Size, time and memory of each configuration's student and of the teacher, medians over seeds."""
    rows = [_cost_row(each.label, "student", each.runs) for each in stats.configurations]
    runs = [run for each in stats.configurations for run in each.runs]
    rows.append(_cost_row("teacher", "teacher", runs))
    known = [row for row in rows if any(cell.text != formats.NONE for cell in row.cells)]
    if not known:
        return None
    columns = ("", "parameters", "on disk", "a sample", "a row alone", "tokens a text", "memory", "training")
    kept = [index for index in range(len(columns) - 1) if any(row.cells[index].text != formats.NONE for row in known)]
    return Table(
        title="Size and time",
        note="A sample: generation of a batch, by its rows. A row alone: a batch of 1. Memory: at the peak of "
        "generating a batch, weights included. Training: of the student. Medians over seeds and rows, each measured "
        "where and when its trial ran: trials that ran side by side slowed each other.",
        columns=("", *(columns[index + 1] for index in kept)),
        groups=(
            Group(rows=tuple(Row(label=row.label, cells=tuple(row.cells[index] for index in kept)) for row in known)),
        ),
    )


def cell(measure: Measure | None) -> Cell:
    """A score with its interval."""
    return Cell(formats.NONE) if measure is None else Cell(formats.metric(measure.value), measure.interval)


def apart(found: Difference | Unpaired) -> Cell:
    """A difference with its interval, and what it amounts to; why there is none where there is none."""
    return Cell(formats.NONE, found.reason) if isinstance(found, Unpaired) else difference_cell(found)


def seeds_note(configuration: Configuration) -> str:
    """How many seeds, where that is told by the runs."""
    return plural(len(configuration.runs), "seed")


def _grouped(keys: Iterable[RowKey]) -> dict[tuple[str, str], list[RowKey]]:
    """Keys by suite and reference; losses in one table, whatever they are against."""
    found: dict[tuple[str, str], list[RowKey]] = {}
    for key in keys:
        found.setdefault((key.suite, "" if key.suite == "loss" else key.against), []).append(key)
    return dict(sorted(found.items(), key=lambda each: (each[0][0] in SUITES, each[0][1] == "teacher")))


def _title(suite: str, against: str) -> str:
    of = {"truth": ", against the truth", "teacher": ", against the teacher"}.get(against, "")
    return f"{SUITES.get(suite, f'Suite {suite}')}{of}"


def _note(stats: Statistics, keys: Sequence[RowKey]) -> str:
    lower = [_column(key) for key in keys if stats.direction(key).sense < 0]
    note = "Mean over seeds; in small print its 95 % interval over rows and seeds."
    if any(key.suite == "loss" and key.metric != "hard" for key in keys):
        note += " Soft and total loss depend on alpha and temperature, and compare only what has the same; "
        note += "those of baselines are left out where they vary."
    if not lower:
        return note
    return f"{note} Lower is better{'' if len(lower) == len(keys) else ' for ' + ', '.join(lower)}."


def _column(key: RowKey) -> str:
    return METRICS.get((key.suite, key.metric)) or key.metric.replace("_", " ")


def _row(configuration: Configuration, stats: Statistics, keys: Sequence[RowKey]) -> Row:
    return Row(
        label=configuration.label,
        note=seeds_note(configuration),
        cells=tuple(cell(stats.measure(configuration, key)) for key in keys),
    )


def _baselines(stats: Statistics, keys: Sequence[RowKey]) -> Iterable[Row]:
    """A row for each other model; several where it is not the same for all configurations."""
    for model in ("teacher", *BASELINES):
        label = MODELS[model]
        wanted = [key._replace(model=model) for key in keys]
        having = [each for each in stats.configurations if any(each in stats.having(key) for key in wanted)]
        # Its soft and total loss vary with the temperature and alpha of the runs beside it, and tell nothing of it.
        told = [key for key in wanted if key.suite != "loss" or key.metric == "hard"] or wanted
        if having and all(stats.is_common(key) for key in told):
            measures = [stats.common(key) for key in wanted]
            known = [measure for measure in measures if measure is not None]
            seeds = max(measure.seeds for measure in known)
            # Of a model without a seed of its own, every run says the same.
            yield Row(
                label=label,
                note=plural(seeds, "seed") if model == LABELS_ONLY else "",
                cells=tuple(map(cell, measures)),
            )
            continue
        for each in having:
            cells = tuple(cell(stats.measure(each, key)) for key in wanted)
            yield Row(label=label, note=f"beside {each.label}", cells=cells)


def _cost_row(label: str, model: str, runs: Sequence[ScoredRun]) -> Row:
    found = [run.costs[model] for run in runs if model in run.costs]

    def middle(values: Iterable[float | None], show: Callable[[float], str]) -> Cell:
        known = [value for value in values if value is not None and math.isfinite(value)]
        return Cell(show(statistics.median(known)) if known else formats.NONE)

    training = (
        [] if model == "teacher" else [run.record.get("stages", {}).get("distill", {}).get("seconds") for run in runs]
    )
    return Row(
        label=label,
        cells=(
            middle((cost.parameters for cost in found), lambda value: formats.parameters(int(value))),
            middle((cost.bytes_on_disk for cost in found), formats.size),
            middle((cost.seconds_per_sample for cost in found), formats.duration),
            middle((cost.latency for cost in found), formats.duration),
            middle((cost.tokens_per_sample for cost in found), lambda value: f"{value:.1f}"),
            middle((cost.peak_bytes for cost in found), formats.size),
            middle(training, formats.duration),
        ),
    )
