"""What a kind of model reads of rows: token ids, and what became of each row on the way.

A prompt with its completion is read as one row. A text is read as several blocks, and a conversation as a row for each
of the assistant's turns.

Letters: R rows that are read, F parts that are refused.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from enum import IntFlag
from typing import TYPE_CHECKING, overload

import attrs
import numpy as np

from kdkit.api.values import Drop, EncodedExample
from kdkit.data.encoded_rows import EncodedRows, GrowingRows
from kdkit.data.streams import FIRST_PLACES, merged

if TYPE_CHECKING:
    import numpy.typing as npt

    from kdkit.api.values import Example
    from kdkit.data.columns import Places


class Mark(IntFlag):
    """What is to be said of a row that is read."""

    SHORTENED = 1
    """Its source or prompt was too long, and lost a part."""
    CUT = 2
    """Its target was too long, and lost its end."""
    STOPS = 4
    """Its last label is a token at which a text ends."""
    STRADDLES = 8
    """Its first label begins within the prompt: the token reaches over the boundary."""
    DIFFERS = 16
    """The chat template marks other tokens as the assistant's than those that are its labels."""
    OPENED = 32
    """A server asks for it at another place: the chat template's opening of an answer is not how the turn begins."""
    LACKS_TOOLS = 64
    """The chat template writes nothing of its tools, or nothing of its calls."""


COUNTED = {
    "stops": Mark.STOPS,
    "sources_shortened": Mark.SHORTENED,
    "targets_cut": Mark.CUT,
    "straddling": Mark.STRADDLES,
    "marked_otherwise": Mark.DIFFERS,
    "opened_otherwise": Mark.OPENED,
    "lacking_tools": Mark.LACKS_TOOLS,
}
"""The marks by the names that they have in `data/report.json`."""


@attrs.frozen(kw_only=True, eq=False)
class Refusals:
    """Parts of examples that are not read.

    Attributes:
        origins_F: Which of the examples each is a part of, by its index, in order.
        kinds_F: Why each is not read: the place of its reason, int32.
        reasons: The reasons: ends of "left out because ...".
    """

    origins_F: Places = attrs.field(factory=lambda: np.empty(0, np.int64))
    kinds_F: npt.NDArray[np.int32] = attrs.field(factory=lambda: np.empty(0, np.int32))
    reasons: tuple[str, ...] = ()

    def of_examples(self, chosen: Places) -> Refusals:
        """Those of some of the examples, by their indices, in their order."""
        places_F, counts = _places_of(self.origins_F, chosen)
        return attrs.evolve(self, origins_F=np.repeat(np.arange(len(chosen)), counts), kinds_F=self.kinds_F[places_F])

    def drops(self, examples: Sequence[Example]) -> tuple[Drop, ...]:
        """Why how many are not read, and the first examples of each."""
        found = []
        for kind in np.unique(self.kinds_F).tolist():
            origins = self.origins_F[self.kinds_F == kind]
            first = tuple(examples[int(place)].id for place in origins[:FIRST_PLACES])
            found.append(Drop(reason=self.reasons[kind], count=len(origins), first=first))
        return merged(found)


@attrs.frozen(kw_only=True, eq=False)
class Reading(Sequence[EncodedExample]):
    """Rows as a kind of model reads them: a sequence of their token ids, and what became of each.

    Attributes:
        rows: Their token ids.
        marks_R: A `Mark` for each, uint8.
        origins_R: Which of the examples each is read from, by its index, in order; None where each is one.
        refused: What of the examples is not read.
    """

    rows: EncodedRows
    marks_R: npt.NDArray[np.uint8]
    origins_R: Places | None = None
    refused: Refusals = attrs.field(factory=Refusals)

    @classmethod
    def of(cls, given: Sequence[EncodedExample]) -> Reading:
        """What a kind made of examples; a kind that says nothing of its rows gives these alone."""
        if isinstance(given, cls):
            return given
        rows = EncodedRows.of(given)
        return cls(rows=rows, marks_R=np.zeros(len(rows), np.uint8))

    def __len__(self) -> int:
        """How many rows are read, R."""
        return len(self.rows)

    @overload
    def __getitem__(self, index: int) -> EncodedExample: ...
    @overload
    def __getitem__(self, index: slice) -> EncodedRows: ...
    def __getitem__(self, index: int | slice) -> EncodedExample | EncodedRows:
        """A row, or a slice of the rows."""
        return self.rows[index]

    def of_examples(self, chosen: Places) -> Reading:
        """What was read of some of the examples, by their indices, in their order."""
        refused = self.refused.of_examples(chosen)
        if self.origins_R is None:
            return Reading(rows=self.rows.take(chosen), marks_R=self.marks_R[chosen], refused=refused)
        places_R, counts = _places_of(self.origins_R, chosen)
        return Reading(
            rows=self.rows.take(places_R),
            marks_R=self.marks_R[places_R],
            origins_R=np.repeat(np.arange(len(chosen)), counts),
            refused=refused,
        )

    def counts(self) -> dict[str, int]:
        """How many rows there are, and of how many what is to be said; as JSON has it."""
        return {
            "rows": len(self),
            "labels": int(self.rows.target_lengths.sum()),
            **{name: int(np.count_nonzero(self.marks_R & mark)) for name, mark in COUNTED.items()},
            "left_out": len(self.refused.origins_F),
        }

    def marked(self, mark: Mark) -> Places:
        """The indices of the rows with a mark."""
        return np.flatnonzero(self.marks_R & mark)


class GrowingReading:
    """Takes rows as they are read, and becomes a `Reading`."""

    def __init__(self) -> None:
        """Without rows."""
        self._rows, self._marks, self._origins = GrowingRows(), bytearray(), array("q")
        self._refused, self._kinds = array("q"), array("i")
        self._reasons: dict[str, int] = {}
        self._examples, self._has_parts = 0, False

    def add(
        self, ids: Sequence[str], sources: Sequence[Sequence[int]], targets: Sequence[Sequence[int]], marks: bytes
    ) -> None:
        """Add examples that are read as one row each."""
        self._rows.add_lists(ids, sources, targets)
        self._marks += marks
        self._origins.extend(range(self._examples, self._examples + len(ids)))
        self._examples += len(ids)

    def add_parts(self, rows: Sequence[tuple[str, Sequence[int], Sequence[int], int]]) -> None:
        """Add one example by the rows that are read of it: the id, source, target and mark of each."""
        self._rows.add_lists([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])
        self._marks += bytes(row[3] for row in rows)
        self._origins.extend([self._examples] * len(rows))
        self._examples, self._has_parts = self._examples + 1, True

    def refuse(self, reason: str) -> None:
        """Note that a part of the example that comes next is not read, and why: the end of "left out because ..."."""
        self._refused.append(self._examples)
        self._kinds.append(self._reasons.setdefault(reason, len(self._reasons)))

    def join(self, reading: Reading, examples: int) -> None:
        """Add what was read of so many examples."""
        self._rows.add(reading.rows)
        self._marks += reading.marks_R.tobytes()
        places = range(examples) if reading.origins_R is None else reading.origins_R.tolist()
        self._origins.extend(self._examples + place for place in places)
        refused = reading.refused
        self._refused.extend(self._examples + place for place in refused.origins_F.tolist())
        kinds = [self._reasons.setdefault(reason, len(self._reasons)) for reason in refused.reasons]
        self._kinds.extend(kinds[kind] for kind in refused.kinds_F.tolist())
        self._has_parts |= reading.origins_R is not None
        self._examples += examples

    def done(self) -> Reading:
        """What was read; nothing can be added any more."""
        return Reading(
            rows=self._rows.done(),
            marks_R=np.frombuffer(bytes(self._marks), np.uint8),
            origins_R=np.array(self._origins, np.int64) if self._has_parts else None,
            refused=Refusals(
                origins_F=np.array(self._refused, np.int64),
                kinds_F=np.array(self._kinds, np.int32),
                reasons=tuple(self._reasons),
            ),
        )


def _places_of(origins_R: Places, chosen: Places) -> tuple[Places, Places]:
    """Where the parts of some examples are among parts in the order of their examples, and how many each has."""
    begins, ends = (origins_R.searchsorted(chosen, side) for side in ("left", "right"))
    counts = ends - begins
    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.repeat(begins, counts) + within, counts
