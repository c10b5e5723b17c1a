"""Scores: of a run's models side by side and against each other, or of every configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.report.numbers import pairs
from kdkit.report.numbers.alike import alike
from kdkit.report.numbers.names import (
    BASELINES,
    LABELS_ONLY,
    LOSS,
    MODELS,
    SUITES,
    capital,
    metric_label,
    suite_title,
)
from kdkit.report.page import formats
from kdkit.report.page.document import Part
from kdkit.report.page.tables import Cell, Group, Row, Table
from kdkit.report.parts import calibration, student_differences
from kdkit.report.parts.cells import LESS, score_cell, seeds_note
from kdkit.report.read.files import number
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kdkit.evaluation.row_scores import RowKey
    from kdkit.report.numbers.configurations import Configuration
    from kdkit.report.numbers.pairs import Pair
    from kdkit.report.numbers.statistics import Statistics
    from kdkit.report.page.document import Block
    from kdkit.report.read.run import RunFacts

COLUMNS = ("student", LABELS_ONLY, "teacher", "untouched", "constant", "nearest")
"""The comparison that matters first."""
RETENTION = (
    "Retention: the student's share of the teacher's score; left out where less is better, and where the teacher is "
    "near 0 or no better than what learnt nothing."
)
INTERVALS = "In small print 95 % bootstrap intervals over rows."


def of_run(facts: RunFacts) -> Part | None:
    """Every model's scores, the student's differences, its agreement with the teacher, and calibration."""
    against_truth = comparison(facts)
    blocks: list[Block] = [
        *(table for table in against_truth if not table.folded),
        *student_differences.tables(facts),
        *(table for table in against_truth if table.folded),
        *agreement(facts),
        *calibration.blocks(facts),
    ]
    return Part(key="scores", title="Scores", blocks=tuple(blocks)) if blocks else None


def comparison(facts: RunFacts) -> list[Table]:
    """Every model's scores side by side; parts of the rows in tables of their own, folded."""
    found = pairs.pairs(facts, against="truth")
    whole, parts = ([pair for pair in found if pair.is_part is wanted] for wanted in (False, True))
    losses = pairs.losses(facts)
    known = pairs.models([*found, *losses])
    shown = [model for model in COLUMNS if model in known or model in {"teacher", "student"}]
    tables = []
    if whole or losses:
        groups = (*_suites(whole, facts, shown), *_losses(losses, facts, shown))
        note = f"{INTERVALS} {RETENTION}"
        tables.append(Table(title="Against the ground truth", note=note, columns=_columns(shown), groups=groups))
    if parts:
        title = "By part of the rows, against the ground truth"
        groups = tuple(_suites(parts, facts, shown))
        tables.append(Table(title=title, columns=_columns(shown), groups=groups, folded=True))
    return tables


def agreement(facts: RunFacts) -> list[Table]:
    """The texts and tokens of student and baselines against the teacher's."""
    found = [pair for pair in pairs.pairs(facts, against="teacher") if pair.student is not None]
    whole, parts = ([pair for pair in found if pair.is_part is wanted] for wanted in (False, True))
    tables = []
    for chosen, title, folded in (
        (whole, "Against the teacher", False),
        (parts, "By part of the rows, against the teacher", True),
    ):
        if chosen:
            known = pairs.models(chosen)
            shown = [model for model in COLUMNS if model in known]
            groups = tuple(_suites(chosen, facts, shown, has_retention=False))
            columns = _columns(shown, has_retention=False)
            tables.append(Table(title=title, columns=columns, groups=groups, folded=folded))
    return tables


def of_several(stats: Statistics, title: str, figures: Sequence[Block] = ()) -> Part:
    """Every score of every configuration, after figures of some."""
    blocks: list[Block] = [*by_suite(stats), *figures, *by_suite(stats, parts=True)]
    return Part(key="scores", title=title, blocks=tuple(blocks))


def by_suite(stats: Statistics, *, parts: bool = False) -> list[Table]:
    """A table for each suite and what texts were compared with: a row for each configuration and baseline.

    Args:
        stats: The configurations and their scores.
        parts: Whether of parts of the rows, `recall/equals`; else of all rows.
    """
    found = []
    for (suite, against), every in _grouped(stats.of_student(parts=parts)).items():
        folded = stats.folded(every)
        keys = [group[0] for group in folded]
        columns = (", ".join(metric_label(key.suite, key.metric) for key in group) for group in folded)
        rows = tuple(_row(configuration, stats, keys) for configuration in stats.configurations)
        baselines = tuple(_baselines(stats, keys))
        groups = [Group(title="Configurations", rows=rows)]
        if baselines:
            groups.append(Group(title="To compare with", rows=baselines))
        found.append(
            Table(
                title=_title(suite, against) + (", by part of the rows" if parts else ""),
                note=_keys_note(stats, keys),
                columns=("", *columns),
                groups=tuple(groups),
                folded=parts,
            )
        )
    return found


def _columns(models: Sequence[str], *, has_retention: bool = True) -> tuple[str, ...]:
    return ("", *(MODELS[model] for model in models), *(["retention"] if has_retention else []))


def _suites(
    found: Sequence[Pair], facts: RunFacts, models: Sequence[str], *, has_retention: bool = True
) -> list[Group]:
    """Rows by suite; metrics that are the same for every model are one row, of the suite of the first."""
    groups: dict[str, list[Row]] = {}
    for group in alike(found):
        first = group[0]
        suites = list(dict.fromkeys(pair.suite for pair in group))
        note = ", ".join(filter(None, [_note(first, facts.evaluation.row_count), *_and_of(suites)]))
        row = Row(label=pairs.label_of(group), note=note, cells=_cells(first, models, has_retention=has_retention))
        groups.setdefault(first.suite, []).append(row)
    return [Group(title=suite_title(suite), rows=tuple(rows)) for suite, rows in groups.items()]


def _and_of(suites: Sequence[str]) -> list[str]:
    """That a row is of other suites too."""
    return [f"also of suite {', '.join(suites[1:])}"] if len(suites) > 1 else []


def _note(pair: Pair, row_count: int) -> str:
    """How many rows counted, where that is not all that were scored; and that less is better, where it is."""
    notes = [LESS] if pair.sense < 0 and pair.suite != LOSS else []
    counts = sorted(set(pair.counts))
    if counts and counts != [row_count]:
        ends = dict.fromkeys((counts[0], counts[-1]))
        notes.append(f"{formats.EN_DASH}".join(f"{count:,}" for count in ends) + (" row" if counts == [1] else " rows"))
    return ", ".join(notes)


def _cells(pair: Pair, models: Sequence[str], *, has_retention: bool = True) -> tuple[Cell, ...]:
    return (*(score_cell(pair.score(model)) for model in models), *([_retention(pair)] if has_retention else []))


def _retention(pair: Pair) -> Cell:
    """Blank where it says nothing."""
    if pair.retention is None:
        return Cell("")
    return Cell(formats.percent(round(pair.retention, 2)), "within noise" if pair.within_noise else "")


def _losses(pairs: Sequence[Pair], facts: RunFacts, models: Sequence[str]) -> list[Group]:
    names = [pair.metric for pair in pairs]
    rows = tuple(
        Row(
            label=capital(pair.metric) + (f", against {pair.against}" if names.count(pair.metric) > 1 else ""),
            cells=_cells(pair, models),
        )
        for pair in pairs
    )
    return [Group(title="Loss", note=_loss_note(facts), rows=rows)] if rows else []


def _loss_note(facts: RunFacts) -> str:
    """What the losses and their intervals are means over: label tokens, or batches as in the thesis."""
    if facts.table("evaluation").get("loss_mean") != "batches":
        return "nats per token, lower is better"
    size = number(facts.table("generation").get("batch_size"))
    batches = "batches" if size is None else f"batches of {plural(int(size), 'row')}"
    return f"nats per token, lower is better; means and intervals over {batches}"


def _grouped(keys: Iterable[RowKey]) -> dict[tuple[str, str], list[RowKey]]:
    """Keys by suite and reference; losses in one table, whatever they are against."""
    found: dict[tuple[str, str], list[RowKey]] = {}
    for key in keys:
        found.setdefault((key.suite, "" if key.suite == "loss" else key.against), []).append(key)
    return dict(sorted(found.items(), key=lambda each: (each[0][0] in SUITES, each[0][1] == "teacher")))


def _title(suite: str, against: str) -> str:
    of = {"truth": ", against the truth", "teacher": ", against the teacher"}.get(against, "")
    return f"{'Losses' if suite == LOSS else suite_title(suite)}{of}"


def _keys_note(stats: Statistics, keys: Sequence[RowKey]) -> str:
    lower = [metric_label(key.suite, key.metric) for key in keys if stats.direction(key).sense < 0]
    note = "Mean over seeds; in small print its 95 % interval over rows and seeds."
    if any(key.suite == "loss" and key.metric != "hard" for key in keys):
        note += " Soft and total loss depend on alpha and temperature, and compare only what has the same; "
        note += "those of baselines are left out where they vary."
    if not lower:
        return note
    return f"{note} Lower is better{'' if len(lower) == len(keys) else ' for ' + ', '.join(lower)}."


def _row(configuration: Configuration, stats: Statistics, keys: Sequence[RowKey]) -> Row:
    return Row(
        label=configuration.label,
        note=seeds_note(configuration),
        cells=tuple(score_cell(stats.measure(configuration, key)) for key in keys),
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
                cells=tuple(map(score_cell, measures)),
            )
            continue
        for each in having:
            cells = tuple(score_cell(stats.measure(each, key)) for key in wanted)
            yield Row(label=label, note=f"beside {each.label}", cells=cells)
