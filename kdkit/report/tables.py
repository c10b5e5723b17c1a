"""Tables as values, rendered alike into HTML and Markdown."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

from kdkit.report import compare, formats
from kdkit.report.facts import number
from kdkit.texts import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kdkit.report.compare import Pair
    from kdkit.report.facts import Facts
    from kdkit.values import Cost, Score


@attrs.frozen
class Cell:
    """A number, and in smaller print what is to be known about it."""

    text: str
    note: str = ""


@attrs.frozen(kw_only=True)
class Row:
    """A label and its numbers."""

    label: str
    note: str = ""
    cells: tuple[Cell, ...]


@attrs.frozen(kw_only=True)
class Group:
    """Rows under a common heading; no heading where the title is empty."""

    title: str = ""
    note: str = ""
    rows: tuple[Row, ...]


@attrs.frozen(kw_only=True)
class Table:
    """A table: `columns` names the label's column first."""

    title: str
    note: str = ""
    columns: tuple[str, ...]
    groups: tuple[Group, ...]
    folded: bool = False


def comparison(facts: Facts) -> list[Table]:
    """Teacher and student side by side; parts of the rows in tables of their own, folded."""
    whole = [pair for pair in compare.pairs(facts, against="truth") if not pair.is_part]
    parts = [pair for pair in compare.pairs(facts, against="truth") if pair.is_part]
    costs = _costs(facts)
    groups = [
        *_suites(whole, facts, _both),
        *_losses(facts),
        *([Group(title="Cost", note=_measured_with(facts), rows=costs)] if costs else []),
    ]
    columns = ("", "teacher", "student", "ratio")
    tables = []
    if groups:
        note = "In small print 95 % bootstrap intervals over rows; of times the quartiles. Ratio: student over teacher."
        tables.append(Table(title="Against the ground truth", note=note, columns=columns, groups=tuple(groups)))
    if parts:
        title = "By part of the rows, against the ground truth"
        tables.append(Table(title=title, columns=columns, groups=tuple(_suites(parts, facts, _both)), folded=True))
    return tables


def agreement(facts: Facts) -> list[Table]:
    """The student against the teacher's texts."""
    pairs = [pair for pair in compare.pairs(facts, against="teacher") if pair.student is not None]
    whole, parts = ([pair for pair in pairs if pair.is_part is wanted] for wanted in (False, True))
    tables = []
    for chosen, title, folded in (
        (whole, "Against the teacher's texts", False),
        (parts, "By part of the rows, against the teacher's texts", True),
    ):
        if chosen:
            groups = tuple(_suites(chosen, facts, lambda pair: (_cell(pair.student),)))
            tables.append(Table(title=title, columns=("", "student"), groups=groups, folded=folded))
    return tables


def _suites(pairs: Sequence[Pair], facts: Facts, cells: Callable[[Pair], tuple[Cell, ...]]) -> list[Group]:
    groups = []
    for suite in dict.fromkeys(pair.suite for pair in pairs):
        mine = [pair for pair in pairs if pair.suite == suite]
        rows = tuple(
            Row(label=pair.metric.replace("_", " "), note=_rows_note(pair, facts.row_count), cells=cells(pair))
            for pair in mine
        )
        groups.append(Group(title=f"Suite {suite}", rows=rows))
    return groups


def _rows_note(pair: Pair, row_count: int) -> str:
    """How many rows counted, where that is not all that were scored."""
    counts = sorted(set(pair.counts))
    if not counts or counts == [row_count]:
        return ""
    return f"{formats.EN_DASH}".join(f"{count:,}" for count in counts) + (" row" if counts == [1] else " rows")


def _both(pair: Pair) -> tuple[Cell, ...]:
    note = "within noise" if pair.within_noise else ""
    return _cell(pair.teacher), _cell(pair.student), Cell(formats.ratio(pair.ratio), note)


def _cell(score: Score | None) -> Cell:
    if score is None:
        return Cell(formats.NONE)
    return Cell(formats.metric(score.value), formats.interval(score.low, score.high))


def _losses(facts: Facts) -> list[Group]:
    pairs = compare.losses(facts)
    names = [pair.metric for pair in pairs]
    rows = tuple(
        Row(
            label=pair.metric + (f", against {pair.against}" if names.count(pair.metric) > 1 else ""),
            cells=_both(pair),
        )
        for pair in pairs
    )
    return [Group(title="Loss", note=_loss_note(facts), rows=rows)] if rows else []


def _loss_note(facts: Facts) -> str:
    """What the losses and their intervals are means over: label tokens, or batches as in the thesis."""
    if facts.table("evaluation").get("loss_mean") != "batches":
        return "nats per token, lower is better"
    size = number(facts.table("generation").get("batch_size"))
    batches = "batches" if size is None else f"batches of {plural(int(size), 'row')}"
    return f"nats per token, lower is better; means and intervals over {batches}"


def _costs(facts: Facts) -> tuple[Row, ...]:
    teacher, student = facts.costs.get("teacher"), facts.costs.get("student")
    if teacher is None and student is None:
        return ()

    def row(label: str, get: Callable[[Cost], float], show: Callable[[Cost], Cell]) -> Row:
        values = [math.nan if cost is None else get(cost) for cost in (teacher, student)]
        share = values[1] / values[0] if values[0] > 0 and values[1] > 0 else None
        cells = [Cell(formats.NONE) if cost is None else show(cost) for cost in (teacher, student)]
        return Row(label=label, cells=(*cells, Cell(formats.ratio(share))))

    return (
        row("parameters", lambda cost: cost.parameters, lambda cost: Cell(formats.parameters(cost.parameters))),
        row("size on disk", lambda cost: cost.bytes_on_disk, lambda cost: Cell(formats.size(cost.bytes_on_disk))),
        row("time per sample", lambda cost: cost.seconds_per_sample, _time),
    )


def _time(cost: Cost) -> Cell:
    low, high = formats.duration(cost.seconds_low), formats.duration(cost.seconds_high)
    if formats.NONE in {low, high}:
        return Cell(formats.duration(cost.seconds_per_sample))
    if low.split()[-1] == high.split()[-1]:
        low = low.rsplit(" ", 1)[0]
    return Cell(formats.duration(cost.seconds_per_sample), f"{low}{formats.EN_DASH}{high}")


def _measured_with(facts: Facts) -> str:
    """Batch and beams of the time measurement, once where both models had the same."""
    told = {
        model: f"batches of {cost.batch_size}, {plural(cost.beams, 'beam')}"
        for model, cost in facts.costs.items()
        if math.isfinite(cost.seconds_per_sample)
    }
    if not told:
        return ""
    if len(set(told.values())) == 1:
        return f"times in {next(iter(told.values()))}"
    return "times in " + "; ".join(f"{text} ({model})" for model, text in told.items())
