"""What a run came to at a glance: its first score and its costs, teacher beside student."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdkit.report.numbers.conclusion import Ending
from kdkit.report.page import formats
from kdkit.report.page.document import Gauge

if TYPE_CHECKING:
    from collections.abc import Callable

    from kdkit.report.numbers.conclusion import Conclusion


def of_run(found: Conclusion) -> tuple[Gauge, ...]:
    """Gauges of what is known of both models; none of a teacher that is not worth imitating."""
    if found.ending is Ending.TEACHER_NOT_WORTH_IT:
        return ()
    pair, costs = found.pair, found.costs
    gauges: list[Gauge | None] = []
    if pair is not None and pair.teacher is not None and pair.student is not None:
        gauges.append(_gauge(pair.name, formats.metric, pair.teacher.value, pair.student.value))
    if costs.keys() >= {"teacher", "student"}:
        for title, field, show in (
            ("parameters", "parameters", formats.parameters),
            ("size on disk", "bytes_on_disk", formats.size),
        ):
            gauges.append(_gauge(title, show, *(getattr(costs[model], field) for model in ("teacher", "student"))))
    return tuple(gauge for gauge in gauges if gauge is not None)


def _gauge(title: str, show: Callable[[Any], str], teacher: float, student: float) -> Gauge | None:
    """None where a value is not known, is negative, or both are zero: then there is nothing to draw."""
    largest = max(teacher, student)
    if not (teacher >= 0 and student >= 0 and largest > 0):
        return None
    bars = (("teacher", teacher), ("student", student))
    return Gauge(title=title, bars=tuple((model, show(value), round(value / largest, 4)) for model, value in bars))
