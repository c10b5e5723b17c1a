"""What models cost to keep and to run: of a run's teacher and student, or of every configuration."""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

from kdkit.report.numbers.names import capital
from kdkit.report.page import formats
from kdkit.report.page.document import Part
from kdkit.report.page.tables import Cell, Group, Row, Table
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from kdkit.api.values import Cost
    from kdkit.report.numbers.configurations import Configuration
    from kdkit.report.read.scored import ScoredRun

LONGER = 1.05
"""Texts longer by more than this ratio are said to take their part of the time."""


def of_run(costs: Mapping[str, Cost]) -> Part | None:
    """Size, memory and time of both models; None where nothing was measured."""
    found = table(costs)
    return None if found is None else Part(key="costs", title="Size and time", blocks=(found,))


def table(costs: Mapping[str, Cost]) -> Table | None:
    """Size, memory and time of both models; None where nothing was measured."""
    teacher, student = costs.get("teacher"), costs.get("student")
    if teacher is None and student is None:
        return None

    def row(label: str, get: Callable[[Cost], float | None], show: Callable[[Cost], Cell], note: str = "") -> Row:
        ours, theirs = (math.nan if cost is None else _or_nan(get(cost)) for cost in (student, teacher))
        share = ours / theirs if ours > 0 and theirs > 0 else None
        cells = [Cell(formats.NONE) if cost is None else show(cost) for cost in (student, teacher)]
        return Row(label=label, note=note, cells=(*cells, Cell(formats.percent(share))))

    rows = [
        row("parameters", lambda cost: cost.parameters, lambda cost: Cell(formats.parameters(cost.parameters))),
        row("size on disk", lambda cost: cost.bytes_on_disk, lambda cost: Cell(formats.size(cost.bytes_on_disk))),
        row("time per sample", lambda cost: cost.seconds_per_sample, _time),
    ]
    known = [cost for cost in (teacher, student) if cost is not None]
    if any(cost.latency is not None for cost in known):
        rows.append(row("latency of one text", lambda cost: cost.latency, _latency, "alone, in a batch of 1"))
    if any(cost.peak_bytes is not None for cost in known):
        rows.append(row("peak memory", lambda cost: cost.peak_bytes, lambda cost: Cell(formats.size(cost.peak_bytes))))
    if any(cost.tokens_per_sample is not None for cost in known):
        rows.append(row("tokens per text", lambda cost: cost.tokens_per_sample, _tokens))
    return Table(
        note=" ".join(filter(None, (_timed(costs), longer(teacher, student)))),
        columns=("", "student", "teacher", "of teacher"),
        look="narrow",
        groups=(Group(rows=tuple(rows)),),
    )


def _timed(costs: Mapping[str, Cost]) -> str:
    """How times were measured; empty where none was."""
    how = measured_with(costs)
    return f"{capital(how)}: medians, in small print the quartiles." if how else ""


def longer(teacher: Cost | None, student: Cost | None) -> str:
    """What longer texts have to do with the student's time; empty where they are not longer."""
    if teacher is None or student is None or not teacher.tokens_per_sample or not student.tokens_per_sample:
        return ""
    ratio = student.tokens_per_sample / teacher.tokens_per_sample
    if ratio <= LONGER:
        return ""
    said = (
        f"The student writes longer texts than the teacher ({student.tokens_per_sample:.1f} tokens against "
        f"{teacher.tokens_per_sample:.1f}, {formats.percent(ratio - 1)} more), and each token takes its time"
    )
    ours, theirs = (cost.seconds_per_sample / (cost.tokens_per_sample or 1) for cost in (student, teacher))
    if not (ours > 0 and theirs > 0):
        return f"{said}."
    return f"{said}: {formats.duration(ours)} a token, the teacher's {formats.duration(theirs)}."


def measured_with(costs: Mapping[str, Cost]) -> str:
    """Batch and beams of the time measurement, once where both models had the same."""
    told = {
        model: f"batches of {cost.batch_size}, {plural(cost.beams, 'beam')}"
        for model, cost in costs.items()
        if math.isfinite(cost.seconds_per_sample)
    }
    if not told:
        return ""
    if len(set(told.values())) == 1:
        return f"times in {next(iter(told.values()))}"
    return "times in " + "; ".join(f"{text} ({model})" for model, text in told.items())


def of_several(configurations: Sequence[Configuration]) -> Part | None:
    """Size, time and memory of each configuration's student and of the teacher, medians over seeds."""
    rows = [_medians(each.label, "student", each.runs) for each in configurations]
    rows.append(_medians("teacher", "teacher", [run for each in configurations for run in each.runs]))
    known = [row for row in rows if any(cell.text != formats.NONE for cell in row.cells)]
    if not known:
        return None
    columns = ("parameters", "on disk", "a sample", "a row alone", "tokens a text", "memory", "training")
    kept = [index for index in range(len(columns)) if any(row.cells[index].text != formats.NONE for row in known)]
    found = Table.of(
        ("", *(columns[index] for index in kept)),
        (Row(label=row.label, cells=tuple(row.cells[index] for index in kept)) for row in known),
        title="Size and time",
        note="A sample: generation of a batch, by its rows. A row alone: a batch of 1. Memory: at the peak of "
        "generating a batch, weights included. Training: of the student. Medians over seeds and rows, each measured "
        "where and when its trial ran: trials that ran side by side slowed each other.",
    )
    return Part(key="costs", title="What they cost", blocks=(found,))


def _time(cost: Cost) -> Cell:
    return _spread(cost.seconds_per_sample, cost.seconds_low, cost.seconds_high)


def _latency(cost: Cost) -> Cell:
    return _spread(cost.latency, cost.latency_low, cost.latency_high)


def _spread(middle: float | None, lowest: float | None, highest: float | None) -> Cell:
    low, high = formats.duration(lowest), formats.duration(highest)
    if formats.NONE in {low, high}:
        return Cell(formats.duration(middle))
    if low.split()[-1] == high.split()[-1]:
        low = low.rsplit(" ", 1)[0]
    return Cell(formats.duration(middle), f"{low}{formats.EN_DASH}{high}")


def _tokens(cost: Cost) -> Cell:
    return Cell(formats.NONE if cost.tokens_per_sample is None else f"{cost.tokens_per_sample:.1f}")


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def _medians(label: str, model: str, runs: Sequence[ScoredRun]) -> Row:
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
