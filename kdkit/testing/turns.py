"""The check that logits are about the labels that they stand for, shared by teachers and students.

Letters: T target tokens, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kdkit.api.values import EncodedExample, FloatArray

_SAME = 1e-5
"""Of the same row asked twice, in batches of one shape."""


def check_turns(
    component: Any, rows: Sequence[EncodedExample], logits_of: Callable[[EncodedExample], FloatArray]
) -> None:
    """Check that the logits about a label depend on the source and on the labels before it, and on no later one.

    Logits that are one place late have read the label that they are about: the loss is small and nothing is learned.
    The label before the last is replaced; from the last one some models tell what a decoder begins with.

    Args:
        component: Whose logits they are, for messages.
        rows: At least two, of which the one with most labels is asked about.
        logits_of: A row's logits, `[T, V]`.
    """
    import numpy as np

    row = max(rows, key=lambda each: len(each.target_ids))
    changed, others = len(row.target_ids) - 2, [each for each in rows if each.source_ids != row.source_ids]
    tokens = [each for each in reversed(row.source_ids) if each not in row.target_ids]
    logits_TV = logits_of(row)
    if (
        changed < 0
        or not tokens
        or not others
        or len(logits_TV) < changed + 2
        or bool((logits_TV == logits_TV[0]).all())
    ):
        return  # nothing to tell by; the last: a head that starts at 0
    labels = (*row.target_ids[:changed], tokens[0], row.target_ids[-1])
    moved_T = np.abs(logits_of(attrs.evolve(row, target_ids=labels)) - logits_TV).max(axis=1)
    near = _SAME * max(1.0, float(np.abs(logits_TV).max()))
    assert (moved_T[: changed + 1] <= near).all(), (
        f"{component!r} has logits about a label that change with that label or a later one: they must be made of the "
        "source and the labels before it"
    )
    assert moved_T[changed + 1] > 0, (
        f"{component!r} has logits about a label that do not change with the label before it"
    )
    asked_otherwise_TV = logits_of(attrs.evolve(row, source_ids=others[0].source_ids))
    assert (asked_otherwise_TV != logits_TV).any(), f"{component!r} has logits that do not change with the source"
