"""Whether labels are among the entries that another tool kept for them.

Letters in names of arrays: T target, K entries.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from kdkit.data.guests.parquet import NEXT, OWN
from kdkit.errors import UsageError

if TYPE_CHECKING:
    from kdkit.api.values import EncodedExample
    from kdkit.data.guests.guest import Positions

CHECKED_LABELS = 2000
ENOUGH_LABELS = 50
"""From so many labels on, a shift is reported."""
CLEARLY = 0.3
"""By so much more must be found one position later."""


class Agreement:
    """How often labels are among the entries kept for them, or for the token before, which shows a shift."""

    def __init__(self) -> None:
        self._labels = 0
        self._here = 0
        self._next = 0
        self._likeliest = 0

    def add(self, row: EncodedExample, positions: Positions, part: slice) -> None:
        """Count a row's labels."""
        count = part.stop - part.start
        if self._labels >= CHECKED_LABELS or not count:
            return
        labels_T = np.asarray(row.target_ids[:count])
        self._labels += count
        best_T = positions.logp_PK[part].argmax(axis=1)
        if positions.ids_PK is None:
            self._likeliest += int((best_T == labels_T).sum())
            return
        ids_TK = positions.ids_PK[part]
        self._likeliest += int((ids_TK[np.arange(count), best_T] == labels_T).sum())
        self._here += int((ids_TK == labels_T[:, None]).any(axis=1).sum())
        self._next += int((ids_TK[:-1] == labels_T[1:, None]).any(axis=1).sum())

    def sentence(self, about: str) -> str:
        """What was found, for people.

        Raises:
            UsageError: The labels fit clearly better one position later.
        """
        if not self._labels:
            return ""
        if self._labels >= ENOUGH_LABELS and about == OWN and self._next > self._here + CLEARLY * self._labels:
            raise UsageError(
                f"of {self._labels:,} labels {self._here / self._labels:.3f} are among the entries kept for them, but "
                f"{self._next / self._labels:.3f} among those kept for the token before, so the log-probabilities seem "
                "to "
                f'be about the next token; set teacher.about = "{NEXT}"'
            )
        likeliest = (
            f"the likeliest entry is the label for {self._likeliest / self._labels:.3f} of {self._labels:,} labels"
        )
        return likeliest if not self._here else f"{likeliest}, and {self._here / self._labels:.3f} are among those kept"
