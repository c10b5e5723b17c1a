"""The content of a report, in order: what the HTML page and the Markdown file both say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.report.numbers import pairs
from kdkit.report.page import formats
from kdkit.report.page.charts.svg import Whiskers
from kdkit.report.parts import calibration, costs, examples, provenance, row_browser, scores, training, verdict
from kdkit.report.read.run import number
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Callable

    from kdkit.report.page.charts.svg import Curve
    from kdkit.report.parts.calibration import Reliability
    from kdkit.report.parts.provenance import Section
    from kdkit.report.parts.scores import Table
    from kdkit.report.read.run import Facts


@attrs.frozen(kw_only=True)
class Gauge:
    """One quantity of both models, to be seen at a glance: shares are of the larger of the two."""

    title: str
    teacher: str
    student: str
    teacher_share: float
    student_share: float


@attrs.frozen(kw_only=True)
class Page:
    """All content of a report."""

    title: str
    description: str
    verdict: str
    verdict_detail: str
    missing: tuple[str, ...]
    gauges: tuple[Gauge, ...]
    comparison: tuple[Table, ...]
    differences: Table | None
    costs: Table | None
    agreement: tuple[Table, ...]
    whiskers: tuple[Whiskers, ...]
    reliability: Reliability | None
    bins: Table | None
    curves: tuple[Curve, ...]
    curve_table: Table | None
    examples: examples.Spread
    examples_note: str
    rows: row_browser.RowData | None
    sections: tuple[Section, ...]
    command: str
    recipe: str


def assemble(facts: Facts) -> Page:
    """The content of the report of a run."""
    pair = pairs.headline(facts)
    judged = verdict.of_run(facts)
    amount = number(facts.table("evaluation").get("examples"))
    spread = examples.pick(facts.rows, amount=20 if amount is None else int(amount), seed=facts.seed)
    return Page(
        title=facts.name,
        description=_description(facts),
        verdict=judged.sentence,
        verdict_detail=judged.detail,
        missing=facts.missing,
        gauges=tuple(_gauges(facts, pair)),
        comparison=tuple(scores.comparison(facts)),
        differences=scores.differences(facts),
        costs=costs.table(facts),
        agreement=tuple(scores.agreement(facts)),
        whiskers=tuple(_whiskers(facts)),
        reliability=calibration.diagram(facts),
        bins=calibration.table(facts),
        curves=tuple(training.of_run(facts)),
        curve_table=training.table(facts),
        examples=spread,
        examples_note=_how_picked(spread, facts),
        # A recipe that wants no examples wants no texts of its data in the report.
        rows=row_browser.collect(facts.rows, seed=facts.seed) if spread.shown else None,
        sections=tuple(provenance.sections(facts)),
        command=f"kdkit run {facts.folder}/recipe.toml --run-dir {facts.folder}-again",
        recipe=facts.recipe_text,
    )


def _description(facts: Facts) -> str:
    """The recipe's own, and what tells this run from others of it: its folder and its loss."""
    loss = {key: value for key, value in facts.table("loss").items() if key != "name"}
    told = ", ".join(f"{key} {_spelt(value)}" for key, value in loss.items())
    which = f"Run folder {facts.folder}" + (f"; loss {facts.table('loss').get('name')} with {told}." if told else ".")
    return f"{facts.recipe.get('description') or ''} {which}".strip()


def _spelt(value: object) -> str:
    """A loss's option: a number, or what it is in each epoch, or from where to where it moves; or a table of these."""
    if not isinstance(value, Mapping):
        return str(value)
    if not value.keys() <= {"start", "end", "epochs"}:
        return f"({', '.join(f'{key} {_spelt(each)}' for key, each in value.items())})"
    by_epoch = value.get("epochs")
    return ", then ".join(map(str, by_epoch)) if by_epoch else f"from {value.get('start')} to {value.get('end')}"


def _whiskers(facts: Facts) -> list[Whiskers]:
    # Lengths of texts are no scores: on one axis they would push these together.
    whole = [pair for pair in pairs.pairs(facts, against="truth") if not pair.is_part and pair.suite != "texts"]
    return [
        Whiskers(title=scores.suite_title(suite), pairs=tuple(pair for pair in whole if pair.suite == suite))
        for suite in dict.fromkeys(pair.suite for pair in whole)
    ]


def _gauges(facts: Facts, pair: pairs.Pair | None) -> list[Gauge]:
    teacher, student = facts.costs.get("teacher"), facts.costs.get("student")
    gauges: list[Gauge | None] = []
    if pair is not None and pair.teacher is not None and pair.student is not None:
        name = pair.metric.replace("_", " ")
        gauges.append(_gauge(name, formats.metric, teacher=pair.teacher.value, student=pair.student.value))
    if teacher is not None and student is not None:
        gauges += [
            _gauge("parameters", formats.parameters, teacher=teacher.parameters, student=student.parameters),
            _gauge("size on disk", formats.size, teacher=teacher.bytes_on_disk, student=student.bytes_on_disk),
            _gauge(
                "time per sample",
                formats.duration,
                teacher=teacher.seconds_per_sample,
                student=student.seconds_per_sample,
            ),
        ]
    return [gauge for gauge in gauges if gauge is not None]


def _gauge(title: str, show: Callable[[Any], str], *, teacher: float, student: float) -> Gauge | None:
    """None where a value is not known, is negative, or both are zero: then there is nothing to draw."""
    largest = max(teacher, student)
    if not (teacher >= 0 and student >= 0 and largest > 0):
        return None
    return Gauge(
        title=title,
        teacher=show(teacher),
        student=show(student),
        teacher_share=round(teacher / largest, 4),
        student_share=round(student / largest, 4),
    )


def _how_picked(spread: examples.Spread, facts: Facts) -> str:
    if not spread.shown:
        return ""
    kinds = "; ".join(f"{kind}: {shown} of {plural(there, 'row')}" for kind, there, shown in spread.kinds)
    return (
        f"{plural(len(spread.shown), 'row')} of {facts.split}, taken in turn from each kind of outcome so that "
        f"every kind is seen, not in proportion ({kinds}); within a kind and on the page the order is that of a hash "
        f"of seed {facts.seed} and the row's id. Right means equal to the ground truth but for white space at "
        "either end and the kind of line ends."
    )
