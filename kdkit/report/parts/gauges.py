"""What a run came to at a glance: its first score and its costs, teacher beside student."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdkit.report.page import formats
from kdkit.report.page.document import Gauge

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from kdkit.api.values import Cost
    from kdkit.report.numbers.pairs import Pair


def of_run(pair: Pair | None, costs: Mapping[str, Cost]) -> tuple[Gauge, ...]:
    """Gauges of what is known of both models."""
    gauges: list[Gauge | None] = []
    if pair is not None and pair.teacher is not None and pair.student is not None:
        name = pair.metric.replace("_", " ")
        gauges.append(_gauge(name, formats.metric, pair.teacher.value, pair.student.value))
    if costs.keys() >= {"teacher", "student"}:
        for title, field, show in (
            ("parameters", "parameters", formats.parameters),
            ("size on disk", "bytes_on_disk", formats.size),
            ("time per sample", "seconds_per_sample", formats.duration),
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
