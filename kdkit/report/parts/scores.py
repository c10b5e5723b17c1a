"""Tables as values, rendered alike into HTML and Markdown."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.report.numbers import pairs
from kdkit.report.page import formats
from kdkit.report.read.run import number
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.api.values import Difference, Score
    from kdkit.report.numbers.pairs import Pair
    from kdkit.report.read.run import Facts


@attrs.frozen
class Cell:
    """A number, in smaller print what is to be known about it, and what it amounts to.

    Attributes:
        text: The number.
        note: Its interval, or the like.
        verdict: "better", "worse" or "within noise", for a difference; empty where that is not said.
    """

    text: str
    note: str = ""
    verdict: str = ""


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


SUITES = {"tokens": "Tokens under teacher forcing", "texts": "Texts"}
"""Headings of what is no metric suite."""
DISTILLED = "distilled minus labels only"
LESS = "less is better"
"""Said beside a metric."""
RATIO = "Retention: student over teacher."
INTERVALS = "In small print 95 % bootstrap intervals over rows."


def comparison(facts: Facts) -> list[Table]:
    """Every model's scores side by side; parts of the rows in tables of their own, folded."""
    found = pairs.pairs(facts, against="truth")
    whole, parts = ([pair for pair in found if pair.is_part is wanted] for wanted in (False, True))
    losses = pairs.losses(facts)
    models = [model for model in pairs.models([*found, *losses]) if model not in {"teacher", "student"}]
    shown = ["teacher", "student", *models]
    tables = []
    if whole or losses:
        note = f"{INTERVALS} {RATIO}"
        if any(pair.sense < 0 for pair in (*whole, *losses)):
            note += " Where less is better, a retention above 1 is a loss."
        groups = (*_suites(whole, facts, shown), *_losses(losses, facts, shown))
        tables.append(Table(title="Against the ground truth", note=note, columns=_columns(shown), groups=groups))
    if parts:
        title = "By part of the rows, against the ground truth"
        groups = tuple(_suites(parts, facts, shown))
        tables.append(Table(title=title, columns=_columns(shown), groups=groups, folded=True))
    return tables


def agreement(facts: Facts) -> list[Table]:
    """The texts and tokens of student and baselines against the teacher's."""
    found = [pair for pair in pairs.pairs(facts, against="teacher") if pair.student is not None]
    whole, parts = ([pair for pair in found if pair.is_part is wanted] for wanted in (False, True))
    tables = []
    for chosen, title, folded in (
        (whole, "Against the teacher", False),
        (parts, "By part of the rows, against the teacher", True),
    ):
        if chosen:
            shown = pairs.models(chosen)
            groups = tuple(_suites(chosen, facts, shown, has_ratio=False))
            columns = _columns(shown, has_ratio=False)
            tables.append(Table(title=title, columns=columns, groups=groups, folded=folded))
    return tables


def differences(facts: Facts) -> Table | None:
    """By how much the student differs from the one trained on labels alone, and from the teacher, row by row."""
    found = [
        *pairs.pairs(facts, against="truth"),
        *pairs.pairs(facts, against="teacher"),
        *pairs.losses(facts),
    ]
    told = [pair for pair in found if not pair.is_part and (pair.difference or pair.gain)]
    columns = {DISTILLED: "gain", "student minus teacher": "difference"}
    columns = {title: field for title, field in columns.items() if any(getattr(pair, field) for pair in told)}
    if not columns:
        return None
    groups: dict[str, list[Row]] = {}
    for pair in told:
        cells = tuple(difference_cell(getattr(pair, field)) for field in columns.values())
        note = LESS if pair.sense < 0 else ""
        groups.setdefault(suite_title(pair.suite), []).append(Row(label=pair.label, note=note, cells=cells))
    return Table(
        title="Differences, row by row",
        note="Both models of a column read the same rows; in small print the 95 % interval of the mean difference of a "
        "row. Within noise: it holds 0. Better and worse are said of the student.",
        columns=("", *columns),
        groups=tuple(Group(title=title, rows=tuple(rows)) for title, rows in groups.items()),
    )


def difference_cell(difference: Difference | None) -> Cell:
    """A difference with its interval; whether that is better or worse only where it is more than noise."""
    if difference is None:
        return Cell(formats.NONE)
    return Cell(
        formats.signed(difference.value),
        formats.signed_interval(difference.low, difference.high),
        difference.verdict,
    )


def suite_title(suite: str) -> str:
    """The heading of a suite."""
    return "Loss" if suite == pairs.LOSS else SUITES.get(suite, f"Suite {suite}")


def _columns(models: Sequence[str], *, has_ratio: bool = True) -> tuple[str, ...]:
    return ("", *(pairs.MODELS[model] for model in models), *(["retention"] if has_ratio else []))


def _suites(pairs: Sequence[Pair], facts: Facts, models: Sequence[str], *, has_ratio: bool = True) -> list[Group]:
    groups = []
    for suite in dict.fromkeys(pair.suite for pair in pairs):
        rows = tuple(
            Row(label=pair.label, note=_note(pair, facts.row_count), cells=_cells(pair, models, has_ratio=has_ratio))
            for pair in pairs
            if pair.suite == suite
        )
        groups.append(Group(title=suite_title(suite), rows=rows))
    return groups


def _note(pair: Pair, row_count: int) -> str:
    """How many rows counted, where that is not all that were scored; and that less is better, where it is."""
    notes = [LESS] if pair.sense < 0 and pair.suite != pairs.LOSS else []
    counts = sorted(set(pair.counts))
    if counts and counts != [row_count]:
        ends = dict.fromkeys((counts[0], counts[-1]))
        notes.append(f"{formats.EN_DASH}".join(f"{count:,}" for count in ends) + (" row" if counts == [1] else " rows"))
    return ", ".join(notes)


def _cells(pair: Pair, models: Sequence[str], *, has_ratio: bool = True) -> tuple[Cell, ...]:
    cells = [_cell(pair.score(model)) for model in models]
    if has_ratio:
        cells.append(Cell(formats.ratio(pair.ratio), "within noise" if pair.within_noise else ""))
    return tuple(cells)


def _cell(score: Score | None) -> Cell:
    if score is None:
        return Cell(formats.NONE)
    return Cell(formats.metric(score.value), formats.interval(score.low, score.high))


def _losses(pairs: Sequence[Pair], facts: Facts, models: Sequence[str]) -> list[Group]:
    names = [pair.metric for pair in pairs]
    rows = tuple(
        Row(
            label=pair.metric + (f", against {pair.against}" if names.count(pair.metric) > 1 else ""),
            cells=_cells(pair, models),
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
