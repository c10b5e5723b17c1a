"""What every reader of another tool's log-probabilities gives.

Letters in names of arrays: S ids of a sequence, P its positions with log-probabilities, K entries, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    import numpy as np
    import numpy.typing as npt

    IdArray = npt.NDArray[np.int64]
    LogpArray = npt.NDArray[np.float64]

ABSENT = -999.0
"""Up to this log-probability an entry is not there: tools fill rows with -inf, -1e3, -1e4 or -1e9."""


@attrs.frozen(kw_only=True, eq=False)
class Positions:
    """The log-probabilities of a sequence.

    Attributes:
        place: Where they stand, for messages: `FILE: row 3`.
        ids_S: The sequence.
        first: The position in the sequence of the token that the first row is about; the next row is about the next.
        ids_PK: The entries of each row; -1 where a row has fewer. None where every row has all V, in rising order.
        logp_PK: Their log-probabilities, natural logarithms; -inf where there is no entry.
        floored_P: Where every row has all V: how many entries of each are known only by their mass together.
    """

    place: str
    ids_S: IdArray
    first: int
    ids_PK: IdArray | None
    logp_PK: LogpArray
    floored_P: IdArray | None = None


class Guest(Protocol):
    """Another tool's log-probabilities, open for reading."""

    @property
    def what(self) -> str:
        """The format, in words."""
        ...

    @property
    def width(self) -> int | None:
        """How many entries its vocabulary has; None where that is not said."""
        ...

    @property
    def is_whole(self) -> bool:
        """Whether it keeps all entries of each token."""
        ...

    def sequences(self) -> Iterator[IdArray]:
        """The ids of each sequence, in order.

        Raises:
            DamagedData: A file is cut or damaged.
            UsageError: A file holds something else.
        """
        ...

    def read(self, wanted: Collection[int]) -> Iterator[tuple[int, Positions]]:
        """The log-probabilities of some sequences, by their numbers, in any order.

        Raises:
            DamagedData: A file is cut or damaged.
            UsageError: A file holds something else.
        """
        ...
