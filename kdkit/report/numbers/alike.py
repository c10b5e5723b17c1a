"""Metrics that tell the same: where each answer is one value, precision, recall, F1 and exact match are one number."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.report.numbers.names import MODELS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from kdkit.report.numbers.pairs import Pair


def alike(found: Iterable[Pair]) -> list[tuple[Pair, ...]]:
    """Groups of metrics whose scores and intervals are equal for every model, in the order of their first metrics."""
    groups: dict[object, list[Pair]] = {}
    for pair in found:
        scores = tuple(
            None if (score := pair.score(model)) is None else (score.value, score.low, score.high) for model in MODELS
        )
        groups.setdefault((pair.against, pair.sense, scores), []).append(pair)
    return [tuple(group) for group in groups.values()]
