"""How a run trained: its loss curves, out of the lines of `metrics.jsonl`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdkit.report.numbers import pairs
from kdkit.report.numbers.names import LABELS_ONLY
from kdkit.report.page import formats
from kdkit.report.page.charts.curve import Beside, Curve
from kdkit.report.page.document import Figure, Figures, Part
from kdkit.report.page.tables import Cell, Group, Row, Table
from kdkit.report.read.files import number

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kdkit.report.read.run import RunFacts

    Line = Mapping[str, Any]

LOSSES = {"loss": "total loss", "hard": "hard loss", "soft": "soft loss"}
TITLES = {**LOSSES, "feature": "distance of hidden states"}
STAGES = {"teacher": "Teacher", "student": "Student", LABELS_ONLY: "Labels only"}
"""Who was trained, as `metrics.jsonl` names it and as the tables do."""


def of_run(facts: RunFacts) -> Part | None:
    """The curves, and the numbers behind them at each validation."""
    drawn = curves(facts)
    if not drawn:
        return None
    beside = any(curve.beside is not None for curve in drawn)
    figures = Figures(
        figures=tuple(Figure(chart=curve, model=curve.model) for curve in drawn),
        note="Thin line: training. Dots: validation, at each epoch's end. Upright dashes: the epoch that was kept as "
        "best.",
        legend=((LABELS_ONLY, "dashed line: the same student, trained on labels only"),) if beside else (),
        look="small",
    )
    numbers = table(facts)
    return Part(key="training", title="Training", blocks=(figures, *([] if numbers is None else [numbers])))


def curves(facts: RunFacts) -> list[Curve]:
    """A curve for each loss of each trained model, and for the metric that chose the best epoch."""
    found: list[Curve] = []
    metric = _watched(facts)
    for stage in ("teacher", "student"):
        train, validation = lines(facts, stage, "train"), lines(facts, stage, "validation")
        shown = [key for key in LOSSES if any(number(line.get(key)) is not None for line in (*train, *validation))]
        if _equal(train, "loss", "hard") and _equal(validation, "loss", "hard"):
            shown = shown[:1]
        axis = "epoch" if all(number(line.get("epoch")) is not None for line in (*train, *validation)) else "step"
        best = best_line(facts, stage)
        best_x = None if best is None else number(best.get(axis))
        feature = [key for key in ("feature",) if _points(train, axis, key)]  # of training only
        for key in [*shown, *feature, metric]:
            points = _points(validation, axis, key)
            curve = Curve(
                model=stage,
                title=f"{stage.capitalize()}: {'loss' if shown == [key] else TITLES.get(key, f'{key} on validation')}",
                x_label=axis,
                y_label="nats per token" if key in LOSSES else TITLES.get(key, key),
                training=_points(train, axis, key),
                validation=points,
                best_x=best_x,
                beside=_beside(facts, axis, key) if stage == "student" and key in {"hard", metric} else None,
            )
            if curve.training or curve.validation:
                found.append(curve)
    return found


def _beside(facts: RunFacts, axis: str, key: str) -> Beside | None:
    """The same of the student that was trained on the labels alone."""
    training, validation = (_points(lines(facts, LABELS_ONLY, kind), axis, key) for kind in ("train", "validation"))
    if not (training or validation):
        return None
    return Beside(title="labels only", training=training, validation=validation)


def table(facts: RunFacts) -> Table | None:
    """The numbers behind the curves at each validation."""
    metric = _watched(facts)
    groups = []
    for stage, title in STAGES.items():
        best = best_line(facts, stage)
        rows = tuple(
            Row(
                label=f"epoch {formats.setting(line['epoch'])}"
                if number(line.get("epoch")) is not None
                else f"step {line.get('step')}",
                note="best" if line == best else "",
                cells=tuple(Cell(formats.metric(number(line.get(key)))) for key in (*LOSSES, metric)),
            )
            for line in lines(facts, stage, "validation")
        )
        if rows:
            groups.append(Group(title=title, rows=rows))
    if not groups:
        return None
    return Table(
        title="The numbers at each validation",
        columns=("", "total", "hard", "soft", metric),
        groups=tuple(groups),
        folded=True,
    )


def lines(facts: RunFacts, stage: str, kind: str) -> list[Line]:
    """Lines of a stage and kind by step. Where a resumed run took a step again, the later line counts.

    Lines of training tell how far the step has come, in epochs; lines of validation which epoch has ended. Where a
    limit of steps ended an epoch early, the validation is placed at the step where that happened.
    """
    mine = [line for line in facts.metrics if line.get("stage") == stage]
    by_step = {number(line.get("step")): line for line in mine if line.get("kind") == kind}
    chosen = [by_step[step] for step in sorted(by_step, key=lambda step: -1.0 if step is None else step)]
    if kind == "train":
        return chosen
    # Training writes a line at its last step, wherever that is.
    reached = {number(line.get("step")): number(line.get("epoch")) for line in lines(facts, stage, "train")}
    return [_placed(line, reached.get(number(line.get("step")))) for line in chosen]


def _placed(line: Line, reached: float | None) -> Line:
    epoch = number(line.get("epoch"))
    return line if reached is None or epoch is None or reached >= epoch else {**line, "epoch": round(reached, 6)}


def best_line(facts: RunFacts, stage: str) -> Line | None:
    """The validation that was the best so far for the last time."""
    best = [line for line in lines(facts, stage, "validation") if line.get("best")]
    return best[-1] if best else None


def _watched(facts: RunFacts) -> str:
    """The metric shown beside the losses: what chose the best epoch, if that is not a loss."""
    best_by = str(facts.table("training").get("best_by", ""))
    if "." in best_by:
        return best_by
    pair = pairs.headline(facts)
    return "text.f1" if pair is None else f"{pair.suite}.{pair.metric}"


def _points(chosen: Sequence[Line], axis: str, key: str) -> tuple[tuple[float, float], ...]:
    found = ((number(line.get(axis)), number(line.get(key))) for line in chosen)
    return tuple((x, y) for x, y in found if x is not None and y is not None)


def _equal(chosen: Sequence[Line], one: str, other: str) -> bool:
    return all(line.get(other) is None or line.get(one) == line.get(other) for line in chosen)
