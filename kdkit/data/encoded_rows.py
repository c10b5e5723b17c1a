"""Rows as token ids, in columns: a sequence of `kdkit.api.EncodedExample`, each made when it is looked at.

Letters: N rows, R rows of a selection.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, overload

import attrs
import numpy as np

from kdkit.api.values import EncodedExample
from kdkit.data.columns import Ragged, order_of_texts
from kdkit.data.growing import GrowingColumn

if TYPE_CHECKING:
    import numpy.typing as npt

    from kdkit.data.columns import Places

IDS = np.int32


@attrs.frozen(kw_only=True, eq=False)
class EncodedRows(Sequence[EncodedExample]):
    """Some rows of three columns, in an order. Slices and selections share the columns; nothing is copied.

    Attributes:
        ids: The examples' ids.
        sources: Encoder inputs, int32.
        targets: Labels, int32.
        places_R: Which rows of the columns these are.
    """

    ids: Ragged
    sources: Ragged
    targets: Ragged
    places_R: Places

    @classmethod
    def of(cls, rows: Sequence[EncodedExample]) -> EncodedRows:
        """The same rows as columns, unless they are columns already."""
        if isinstance(rows, cls):
            return rows
        return cls.whole(
            ids=Ragged.of_texts(row.id for row in rows),
            sources=Ragged.of_lists((row.source_ids for row in rows), IDS),
            targets=Ragged.of_lists((row.target_ids for row in rows), IDS),
        )

    @classmethod
    def whole(cls, *, ids: Ragged, sources: Ragged, targets: Ragged) -> EncodedRows:
        """All rows of three columns."""
        return cls(ids=ids, sources=sources, targets=targets, places_R=np.arange(len(ids)))

    @classmethod
    def joined(cls, parts: Sequence[EncodedRows]) -> EncodedRows:
        """The rows of several, one after the other; of one and the same columns they are a selection again."""
        first = parts[0]
        if all(part.sources is first.sources for part in parts):
            return attrs.evolve(first, places_R=np.concatenate([part.places_R for part in parts]))
        copies = [
            [getattr(part, name).taken(part.places_R) for part in parts] for name in ("ids", "sources", "targets")
        ]
        ids, sources, targets = map(Ragged.joined, copies)
        return cls.whole(ids=ids, sources=sources, targets=targets)

    def __len__(self) -> int:
        """How many rows there are, R."""
        return len(self.places_R)

    @overload
    def __getitem__(self, index: int) -> EncodedExample: ...
    @overload
    def __getitem__(self, index: slice) -> EncodedRows: ...
    def __getitem__(self, index: int | slice) -> EncodedExample | EncodedRows:
        """A row, or a slice of the rows."""
        if isinstance(index, slice):
            return self._at(self.places_R[index])
        place = int(self.places_R[index])
        return EncodedExample(
            id=self.ids.text(place),
            source_ids=tuple(self.sources[place].tolist()),
            target_ids=tuple(self.targets[place].tolist()),
        )

    def __eq__(self, other: object) -> bool:
        """Whether the other is a sequence of the same rows."""
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def take(self, indices: Sequence[int] | Places) -> EncodedRows:
        """Some of the rows, by their indices."""
        return self._at(self.places_R[np.asarray(indices, np.int64)])

    def _at(self, places_R: Places) -> EncodedRows:
        return attrs.evolve(self, places_R=places_R)

    def id(self, index: int) -> str:
        """A row's id."""
        return self.ids.text(int(self.places_R[index]))

    def each_id(self) -> Iterator[str]:
        """The rows' ids, one after the other."""
        return map(self.ids.text, self.places_R)

    @property
    def source_lengths(self) -> Places:
        """Tokens of each source."""
        return self.sources.lengths(self.places_R)

    @property
    def target_lengths(self) -> Places:
        """Tokens of each target."""
        return self.targets.lengths(self.places_R)

    @cached_property
    def by_id(self) -> IdIndex:
        """Where each id is."""
        return IdIndex.of(self.ids, self.places_R)

    def by_length(self, batch_size: int) -> Batches:
        """Batches of rows of like source length, longest first; see `kdkit.data.tokens.length_sorted`."""
        order_R = order_of_texts(self.ids, self.places_R)
        for lengths_R in (self.target_lengths, self.source_lengths):
            order_R = order_R[np.argsort(-lengths_R[order_R], kind="stable")]
        return Batches(rows=self, order_R=order_R, size=batch_size)


def in_columns(rows: Sequence[EncodedExample]) -> EncodedRows:
    """Rows as columns: what `attrs` converts a field by."""
    return EncodedRows.of(rows)


class GrowingRows:
    """Takes encoded rows some at a time, and becomes columns."""

    def __init__(self) -> None:
        """Without rows."""
        self._ids, self._sources, self._targets = GrowingColumn(np.uint8), GrowingColumn(IDS), GrowingColumn(IDS)

    def add(self, rows: EncodedRows) -> None:
        """Add rows that are columns already."""
        for growing, column in ((self._ids, rows.ids), (self._sources, rows.sources), (self._targets, rows.targets)):
            part = column.taken(rows.places_R)
            growing.add(part.flat.tobytes(), np.diff(part.offsets_M).tolist())

    def add_lists(self, ids: Sequence[str], sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]]) -> None:
        """Add rows by their ids, sources and targets."""
        raw = [id_.encode() for id_ in ids]
        self._ids.add(b"".join(raw), map(len, raw))
        for growing, rows in ((self._sources, sources), (self._targets, targets)):
            growing.add(np.fromiter(chain.from_iterable(rows), IDS).tobytes(), map(len, rows))

    def done(self) -> EncodedRows:
        """The rows; none can be added any more."""
        return EncodedRows.whole(ids=self._ids.done(), sources=self._sources.done(), targets=self._targets.done())


@attrs.frozen(kw_only=True, eq=False)
class Batches(Sequence[EncodedRows]):
    """Rows in batches of one size, but for the last; each made when it is looked at.

    Attributes:
        rows: The rows.
        order_R: Their order, by their indices.
        size: Rows a batch.
        numbers: Which of the batches these are.
    """

    rows: EncodedRows
    order_R: Places
    size: int
    numbers: range = attrs.field()

    @numbers.default
    def _all(self) -> range:
        return range(-(-len(self.order_R) // self.size))

    def __len__(self) -> int:
        """How many batches there are."""
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> EncodedRows: ...
    @overload
    def __getitem__(self, index: slice) -> Batches: ...
    def __getitem__(self, index: int | slice) -> EncodedRows | Batches:
        """A batch, or a slice of the batches."""
        if isinstance(index, slice):
            return attrs.evolve(self, numbers=self.numbers[index])
        start = self.numbers[index] * self.size
        return self.rows.take(self.order_R[start : start + self.size])

    @property
    def flat(self) -> Places:
        """The indices of the rows of all these batches, in their order."""
        if self.numbers.step == 1:
            return self.order_R[self.numbers.start * self.size : self.numbers.stop * self.size]
        parts = [self.order_R[number * self.size : (number + 1) * self.size] for number in self.numbers]
        return np.concatenate([np.empty(0, np.int64), *parts])


@attrs.frozen(eq=False)
class IdIndex:
    """Where rows are found by their ids: 16 bytes a row.

    Attributes:
        ids: The column of ids.
        places_R: Which of its rows these are.
        hash_R: Python's hashes of their ids, sorted.
        order_R: The index of each.
    """

    ids: Ragged
    places_R: Places
    hash_R: Places
    order_R: Places

    @classmethod
    def of(cls, ids: Ragged, places_R: Places) -> IdIndex:
        """Of some rows of a column."""
        hash_R = np.fromiter(map(hash, map(ids.text, places_R)), np.int64, len(places_R))
        order_R = np.argsort(hash_R, kind="stable")
        return cls(ids, places_R, hash_R[order_R], order_R)

    def find(self, id_: str) -> int | None:
        """The index of the first row with that id."""
        wanted = hash(id_)
        found = int(self.hash_R.searchsorted(wanted))
        while found < len(self.hash_R) and self.hash_R[found] == wanted:
            index = int(self.order_R[found])
            if self.ids.text(int(self.places_R[index])) == id_:
                return index
            found += 1
        return None

    def repeated(self) -> str | None:
        """An id that two rows have, the first in order that is the second of its kind."""
        again = np.flatnonzero(self.hash_R[1:] == self.hash_R[:-1]) + 1
        for index in sorted(self.order_R[again].tolist()):
            id_ = self.ids.text(int(self.places_R[index]))
            if self.find(id_) != index:
                return id_
        return None


@attrs.frozen(kw_only=True, eq=False)
class IdSet(Collection[str]):
    """The ids of some rows.

    Attributes:
        rows: All rows.
        chosen_R: Which of them.
    """

    rows: EncodedRows
    chosen_R: npt.NDArray[np.bool_]

    def __contains__(self, id_: object) -> bool:
        """Whether it is the id of one of them."""
        index = self.rows.by_id.find(id_) if isinstance(id_, str) else None
        return index is not None and bool(self.chosen_R[index])

    def __iter__(self) -> Iterator[str]:
        """The ids, in the rows' order."""
        return (self.rows.id(index) for index in np.flatnonzero(self.chosen_R).tolist())

    def __len__(self) -> int:
        """How many they are."""
        return int(np.count_nonzero(self.chosen_R))
