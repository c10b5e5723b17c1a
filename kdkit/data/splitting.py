"""Chooses rows by a hash of their ids: a share that is held out, or so many to train on."""

from __future__ import annotations

import hashlib
import itertools
from typing import TYPE_CHECKING, TypeVar

import attrs

from kdkit.api.values import SPLITS

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Sequence

    from kdkit.api.values import EncodedExample, Example, SplitName

    T = TypeVar("T")
    R = TypeVar("R", Example, EncodedExample)


def split_off(rows: Iterable[Example], share: float) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
    """Split a share off some rows; rows that are added later move none of the old ones.

    Args:
        rows: The rows, with unique ids.
        share: How large a part of them, from 0 to 1, is split off; of few rows it may be somewhat more or less.

    Returns:
        The rows that stay and the rows that are split off, each in the order they came in.
    """
    stay: list[Example] = []
    off: list[Example] = []
    for row in rows:
        (off if is_split_off(row.id, share) else stay).append(row)
    return tuple(stay), tuple(off)


def drawn(rows: Sequence[R], count: int) -> Sequence[R]:
    """So many rows, in the order they came in; those of a smaller count are among those of a larger one.

    Args:
        rows: The rows, with unique ids.
        count: How many; 0 for all.
    """
    return rows if not count or count >= len(rows) else taken(rows, drawn_places(rows, count))


def drawn_places(rows: Sequence[R], count: int) -> list[int]:
    """The indices of the rows that `drawn` draws."""
    from heapq import nsmallest

    each_id = getattr(rows, "each_id", None)  # of columns, of which no row has to be made
    ids = each_id() if each_id is not None else (row.id for row in rows)
    chosen = nsmallest(count or len(rows), ((_digest_of(f"drawn {id_}"), place) for place, id_ in enumerate(ids)))
    return sorted(place for _, place in chosen)


def taken(rows: Sequence[R], places: Sequence[int]) -> Sequence[R]:
    """Some rows, by their indices."""
    take = getattr(rows, "take", None)
    found: Sequence[R] = take(places) if take is not None else tuple(rows[place] for place in places)
    return found


@attrs.frozen(kw_only=True)
class Splitter:
    """Decides by a hash of its key whether a row trains, validates or tests: rows that are added move no others.

    Attributes:
        validation_share: How large a part of the rows validates.
        test_share: How large a part tests.
    """

    validation_share: float = 0.0
    test_share: float = 0.0

    @property
    def splits(self) -> tuple[SplitName, ...]:
        """The splits that get rows."""
        shares = {"train": 1.0, "validation": self.validation_share, "test": self.test_share}
        return tuple(split for split in SPLITS if shares[split])

    def split_of(self, key: str) -> SplitName:
        """The split of a row.

        Args:
            key: The row's id; or what rows share that must stay together.
        """
        place = _place_in_unit(key)
        if place < self.validation_share:
            return "validation"
        return "test" if place < self.validation_share + self.test_share else "train"


def dealt(sources: Sequence[Iterator[T]], shares: Sequence[float]) -> Generator[T, None, None]:
    """Rows of several sources in given proportions, each source in its order, until one of them ends.

    After any number of rows no source is a whole row away from its share.

    Args:
        sources: The sources.
        shares: How much of each; their sum is of no importance.
    """
    whole, given = sum(shares), [0] * len(shares)
    for count in itertools.count(1):
        place = max(range(len(shares)), key=lambda each: shares[each] / whole * count - given[each])
        try:
            row = next(sources[place])
        except StopIteration:
            return
        given[place] += 1
        yield row


def is_split_off(id_: str, share: float) -> bool:
    """Whether the row with that id is among the share that `split_off` splits off."""
    return _place_in_unit(id_) < share


def _place_in_unit(id_: str) -> float:
    """A number in [0, 1) that depends on the id only."""
    return int.from_bytes(_digest_of(id_)[:8], "big") / 2**64


def _digest_of(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
