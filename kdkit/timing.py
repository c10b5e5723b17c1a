"""How long a model takes for a sample: measured on some rows after a warm-up, so that two models can be compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from kdkit.values import EncodedExample, Prediction

BATCHES = 8


def seconds_per_sample(
    rows: Sequence[EncodedExample],
    generate: Callable[[Sequence[EncodedExample]], Iterator[Prediction]],
    *,
    batch_size: int,
) -> list[float]:
    """Seconds a row of each timed batch: its wall time over its rows; nothing for a teacher that does not write itself.

    The rows are up to eight batches' worth, spread evenly over all. A batch is generated before, untimed: the first
    of a process pays for allocations and compiled kernels.

    Args:
        rows: All rows that were predicted.
        generate: Predicts rows in batches of like length.
        batch_size: Rows a batch.
    """
    step = max(1, len(rows) // (BATCHES * batch_size))
    timed = rows[::step][: BATCHES * batch_size]
    for _ in generate(timed[:batch_size]):
        pass
    return list(dict.fromkeys(said.seconds for said in generate(timed) if said.seconds is not None))
