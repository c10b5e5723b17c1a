"""The end of a run in a terminal: what it came to, on one screen; or every score."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from attrs import evolve

from kdkit.evaluation.row_scores import RowKey
from kdkit.report.numbers import pairs
from kdkit.report.numbers.alike import alike
from kdkit.report.numbers.conclusion import Ending, conclude
from kdkit.report.numbers.names import LABELS_ONLY, LOSS, MODELS, NO_SUITES, capital, metric_name, suite_title
from kdkit.report.numbers.next_step import next_step
from kdkit.report.numbers.student_folder import student_folder
from kdkit.report.page import formats, terminal
from kdkit.report.page.tables import Cell, Row, Table
from kdkit.report.parts import costs, fine_tuning, scores, student_differences, verdict, vocabulary, written
from kdkit.report.parts.cells import LESS, difference_cell
from kdkit.report.read.run import read_run
from kdkit.system.wording import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from rich.console import RenderableType

    from kdkit.api.values import Cost, Difference
    from kdkit.report.numbers.conclusion import Conclusion
    from kdkit.report.numbers.pairs import Pair
    from kdkit.report.read.run import RunFacts

GAIN = student_differences.GAIN
DIFFERENCES: Mapping[str, Callable[[Pair], Difference | None]] = {
    GAIN: lambda pair: pair.gain,
    "student minus teacher": lambda pair: pair.difference,
}
"""What a student is compared with, the first that there is."""
HEADS = {
    MODELS["untouched"]: "un- touched",
    MODELS["nearest"]: "nearest row",
    "retention": "kept",
}
"""Shorter names of columns: six models and a ratio have 80 columns of a terminal."""
ROWS, LEAST_ROWS = 6, 3
"""Scores that are shown, where the rest of the screen leaves them room; and how many are shown whatever it does."""
LONGEST_LABEL = 34
"""Characters of a score's name; a longer one loses its middle."""
SCREEN = 23
"""Lines of a terminal, but for the prompt below."""
BEST_KNOWN = ("exact_match", "f1", "accuracy")
"""Metrics of suites that are shown before others."""
FINEST = (("texts", "agreement"), ("tokens", "accuracy"), (LOSS, "hard"))
"""Scores that every run has and that tell a difference sooner than whole texts do."""
KEPT_APART = {("texts", "length"), (LOSS, "soft"), (LOSS, "total")}
"""Scores that are not shown among the first: they are not of a text's worth, or depend on the loss. So are all but the
finest of tokens.
"""
WITHOUT_SUITES = ("hard", "bits_per_byte", "acceptance", "acceptance_at_least", "accuracy", "line_match", "perplexity")
"""Losses and scores of tokens that are shown first, in this order, where no suite scores texts."""


def closing(folder: Path, *, full: bool = False) -> RenderableType:
    """What a run came to, for a rich console.

    Args:
        folder: The run folder.
        full: Whether every score is shown; else what fits on a screen of 80 by 24.

    Raises:
        MissingInput: The folder is no run folder.
        DamagedData: A file in it cannot be read.
    """
    facts = read_run(folder)
    found = conclude(facts)
    said = verdict.of_run(facts, found)
    head = terminal.paragraphs(said.sentence, said.support)
    foot = terminal.facts(tuple(_foot(facts, found, folder)))
    if full:
        return terminal.stacked(head, *map(terminal.lines, map(_short, _every(facts))), foot)
    more = terminal.aside(f"All scores: kdkit report {folder} --full")
    drawn = terminal.stacked(head, foot)
    for rows in range(ROWS, LEAST_ROWS - 1, -1):
        table = _first(facts, found, rows=rows)
        if not table.groups[0].rows:
            break
        drawn = terminal.stacked(head, terminal.together(terminal.lines(table), more), foot)
        if terminal.height(drawn) <= SCREEN:
            break
    return drawn


def closing_html(folder: Path) -> str:
    """The end of a run as a notebook shows it."""
    return terminal.html(closing(folder))


def closing_text(folder: Path, *, full: bool = False) -> str:
    """The end of a run as plain text of at most 80 columns, but for paths and commands."""
    return terminal.plain(closing(folder, full=full))


def _first(facts: RunFacts, found: Conclusion, *, rows: int) -> Table:
    """The scores that matter most, and what the student gained by its teacher."""
    groups = _chosen(facts, found, rows)
    if found.ending is Ending.TEACHER_NOT_WORTH_IT:
        models, difference = ["student", LABELS_ONLY, "teacher", "constant", "nearest"], ""
    else:
        models = ["student", LABELS_ONLY, "teacher"]
        difference = next((head for head, get in DIFFERENCES.items() if any(get(group[0]) for group in groups)), "")
    models = [model for model in models if any(group[0].score(model) for group in groups)]
    columns = ("", *(MODELS[model] for model in models), *([difference] if difference else []))
    rows_of = zip(_labels(groups), groups, strict=True)
    return _short(Table.of(columns, (_row(label, group[0], models, difference) for label, group in rows_of)))


def _row(label: str, pair: Pair, models: Sequence[str], difference: str) -> Row:
    scored = [pair.score(model) for model in models]
    cells = [Cell(formats.metric(None if score is None else score.value)) for score in scored]
    if difference:
        cells.append(_whole(difference_cell(DIFFERENCES[difference](pair))))
    return Row(label=label, cells=tuple(cells))


def _labels(groups: Sequence[tuple[Pair, ...]]) -> Iterator[str]:
    """What groups are called: by their first metric, with its suite where two would be called the same."""
    names = [capital(metric_name(RowKey("student", *_key(group[0])))) for group in groups]
    for name, (pair, *others) in zip(names, groups, strict=True):
        of = f" of {pair.suite}" if names.count(name) > 1 else ""
        notes = [f"{len(others)} equal"] if others else []
        notes += ["less is better"] if pair.sense < 0 else []
        yield formats.shortened_label(f"{name}{of} ({', '.join(notes)})" if notes else f"{name}{of}", LONGEST_LABEL)


def _key(pair: Pair) -> tuple[str, str, str]:
    return pair.against, pair.suite, pair.metric


def _chosen(facts: RunFacts, found: Conclusion, rows: int) -> list[tuple[Pair, ...]]:
    """The headline metric, then others of suites, and at the end those that tell a difference soonest."""
    every = [*pairs.pairs(facts, against="truth"), *pairs.pairs(facts, against="teacher"), *pairs.losses(facts)]
    first = None if found.pair is None else _key(found.pair)
    if all(pair.suite in NO_SUITES for pair in every):
        told = [pair for pair in every if pair.metric in WITHOUT_SUITES]
        return alike(sorted(told, key=lambda pair: (_key(pair) != first, WITHOUT_SUITES.index(pair.metric))))[:rows]
    wanted = sorted(filter(_is_first, every), key=lambda pair: (_key(pair) != first, pair.metric not in BEST_KNOWN))
    groups = alike(wanted)
    finest = [group for key in FINEST for group in groups if _key(group[0])[1:] == key]
    others = [group for group in groups if group not in finest][: max(rows - len(finest), 1)]
    return [*others, *finest][:rows]


def _is_first(pair: Pair) -> bool:
    """Whether a score may be among the first that are shown."""
    key = _key(pair)[1:]
    is_apart = key in KEPT_APART or pair.suite == "tokens"
    return not pair.is_part and (key in FINEST or (pair.against == "truth" and not is_apart))


def _foot(facts: RunFacts, found: Conclusion, folder: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Labels and lines: what the student costs, where it is, how it is used, and what to do next."""
    if facts.scored:
        changes = [f"-o {each}" for each in facts.scored.get("overrides", ())]
        yield (
            "scored",
            (f"{facts.scored.get('run_dir')} again, {facts.evaluation.row_count} {facts.split} rows", *changes),
        )
    if trimmed := vocabulary.in_short(facts):
        yield "vocabulary", trimmed
    if tuned := fine_tuning.in_short(facts):
        yield "teacher", tuned
    if targets := written.in_short(facts):
        yield "targets", targets
    if price := _price(facts.evaluation.costs):
        yield "cost", (price,)
    student, step = student_folder(facts), next_step(facts, found)
    if student is not None:
        yield "student", (student.path,)
        yield "use it", (student.predict,)
    yield "report", (str(folder / "report.html"),)
    if step is not None:
        yield "next", (step.words, *step.commands)


def _price(found: Mapping[str, Cost]) -> str:
    """`591 k parameters, 0.48 ms a sample (teacher: 1.25 M, 0.94 ms)`; without times where no text was written."""
    told = {
        model: [
            formats.parameters(cost.parameters),
            *([] if math.isnan(cost.seconds_per_sample) else [formats.duration(cost.seconds_per_sample)]),
        ]
        for model, cost in found.items()
    }
    if "student" not in told:
        return ""
    parameters, *seconds = told["student"]
    ours = ", ".join([f"{parameters} parameters", *(f"{each} a sample" for each in seconds)])
    return f"{ours} (teacher: {', '.join(told['teacher'])})" if "teacher" in told else ours


def _every(facts: RunFacts) -> Iterator[Table]:
    for table in scores.comparison(facts):
        if not table.folded:
            yield evolve(table, note="")
    for apart in student_differences.tables(facts):
        if GAIN not in apart.columns:
            continue
        groups = (
            evolve(group, rows=tuple(evolve(row, cells=tuple(map(_difference, row.cells))) for row in group.rows))
            for group in apart.groups
        )
        yield evolve(apart, groups=tuple(groups), note=_lower_is_better(apart))
    spent = costs.table(facts.evaluation.costs)
    if spent is not None:
        yield evolve(spent, note="")


def _short(table: Table) -> Table:
    return evolve(table, columns=tuple(HEADS.get(column, column) for column in table.columns))


def _difference(cell: Cell) -> Cell:
    """A difference with its interval; one that is within noise is called that and nothing else."""
    return Cell(cell.verdict, verdict=cell.verdict) if cell.verdict == terminal.BESIDE else _whole(cell)


def _whole(cell: Cell) -> Cell:
    """A cell with its small print beside it."""
    return evolve(cell, text=f"{cell.text} ({cell.note})" if cell.note else cell.text, note="")


def _lower_is_better(apart: Table) -> str:
    """Of which rows of a table less is better, all losses as one; empty where it is of none."""
    names = [
        "losses" if group.title == suite_title(LOSS) else visible(row.label)
        for group in apart.groups
        for row in group.rows
        if row.note == LESS
    ]
    told = sorted(dict.fromkeys(names), key=lambda name: name != "losses")
    listed = " and ".join(filter(None, (", ".join(told[:-1]), *told[-1:])))
    return f"Of {listed}, less is better." if told else ""
