"""Rows as text, in columns: a sequence of `kdkit.api.Example`, each made when it is looked at.

Letters: N rows, R rows of a selection.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import attrs
import numpy as np

from kdkit.api.values import Cut, Example
from kdkit.data.growing import GrowingColumn
from kdkit.system.parsing import DEEPEST_ROW, parse_json

if TYPE_CHECKING:
    from pathlib import Path

    from kdkit.data.columns import Places, Ragged

NAMES = ("ids", "sources", "targets", "rest")
_BLOCK = 1000


@attrs.frozen(kw_only=True, eq=False)
class TextColumns:
    """Columns of texts.

    Attributes:
        ids: The examples' ids.
        sources: What models read.
        targets: What they should write.
        rest: What else a row has, as JSON; empty where it has nothing else.
        home: The folder of the store that they lie in, and where their token ids are kept; None where they do not.
    """

    ids: Ragged
    sources: Ragged
    targets: Ragged
    rest: Ragged
    home: Path | None = None

    def example(self, place: int) -> Example:
        """A row."""
        rest = self.rest[place]
        return example_of(
            {
                "id": self.ids.text(place),
                "source": self.sources.text(place),
                "target": self.targets.text(place),
                **(parse_json(rest.tobytes().decode(), deepest=DEEPEST_ROW) if len(rest) else {}),
            }
        )


@attrs.frozen(kw_only=True, eq=False)
class TextRows(Sequence[Example]):
    """Some rows of these columns, in an order. Slices and selections share the columns; nothing is copied.

    Attributes:
        columns: The columns.
        places_R: Which rows of the columns these are.
        sha256: Digest of these rows as JSON lines, in hexadecimal digits, where it is known.
    """

    columns: TextColumns
    places_R: Places
    sha256: str | None = None

    @classmethod
    def of(cls, rows: Iterable[Example]) -> TextRows:
        """The same rows as columns, unless they are columns already."""
        if isinstance(rows, cls):
            return rows
        growing = GrowingTexts()
        for row in rows:
            growing.add(row)
        return growing.done()

    def __len__(self) -> int:
        """How many rows there are, R."""
        return len(self.places_R)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> TextRows: ...
    def __getitem__(self, index: int | slice) -> Example | TextRows:
        """A row, or a slice of the rows."""
        if isinstance(index, slice):
            places_R = self.places_R[index]
            same = len(places_R) == len(self.places_R) and (index.step or 1) > 0
            return self if same else attrs.evolve(self, places_R=places_R, sha256=None)
        return self.columns.example(int(self.places_R[index]))

    def __iter__(self) -> Iterator[Example]:
        """The rows, one after the other."""
        return map(self.columns.example, self.places_R)

    def __eq__(self, other: object) -> bool:
        """Whether the other is a sequence of the same rows."""
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        """How many they are; nobody wants to see a million."""
        return f"<{len(self):,} rows>"

    def take(self, indices: Sequence[int] | Places) -> TextRows:
        """Some of the rows, by their indices."""
        return attrs.evolve(self, places_R=self.places_R[np.asarray(indices, np.int64)], sha256=None)

    def each_id(self) -> Iterator[str]:
        """The rows' ids, one after the other."""
        return map(self.columns.ids.text, self.places_R)

    def each_target(self) -> Iterator[str]:
        """The rows' targets, one after the other."""
        return map(self.columns.targets.text, self.places_R)

    @property
    def text_bytes(self) -> int:
        """Bytes of all sources and targets."""
        sides = (self.columns.sources, self.columns.targets)
        return sum(int(side.lengths(self.places_R).sum()) for side in sides)


class GrowingTexts:
    """Takes rows one after the other, and becomes columns."""

    def __init__(self) -> None:
        """Without rows."""
        self._columns = {name: GrowingColumn(np.uint8) for name in NAMES}
        self._block: dict[str, list[bytes]] = {name: [] for name in NAMES}

    def add(self, row: Example) -> None:
        """Add a row."""
        rest = rest_of(row)
        block = self._block
        block["ids"].append(row.id.encode())
        block["sources"].append(row.source.encode())
        block["targets"].append(row.target.encode())
        block["rest"].append(json.dumps(rest, ensure_ascii=False).encode() if rest else b"")
        if len(block["ids"]) == _BLOCK:
            self._flush()

    def _flush(self) -> None:
        for name, raw in self._block.items():
            self._columns[name].add(b"".join(raw), map(len, raw))
            raw.clear()

    def done(self, *, sha256: str | None = None) -> TextRows:
        """The rows; none can be added any more.

        Args:
            sha256: Their digest as JSON lines, where it is known.
        """
        self._flush()
        ids, sources, targets, rest = (self._columns[name].done() for name in NAMES)
        columns = TextColumns(ids=ids, sources=sources, targets=targets, rest=rest)
        return TextRows(columns=columns, places_R=np.arange(len(columns.ids)), sha256=sha256)


def targets_of(rows: Iterable[Example]) -> Iterator[str]:
    """The targets of rows, one after the other; of columns without making the rows."""
    return rows.each_target() if isinstance(rows, TextRows) else (row.target for row in rows)


def rest_of(row: Example) -> dict[str, Any]:
    """What a row has beside its id and texts, as JSON can hold it: null for NaN and the infinities."""
    rest: dict[str, Any] = {}
    if row.cuts:
        rest["cuts"] = [attrs.asdict(cut) for cut in row.cuts]
    if row.prediction is not None:
        rest["prediction"] = row.prediction
    if row.meta:
        rest["meta"] = _finite(dict(row.meta))
    if row.document is not None:
        rest["document"] = row.document
    if row.form != "pair":
        rest["form"] = row.form
    return rest


def example_of(table: dict[str, Any]) -> Example:
    """A row of its table as JSON has it."""
    cuts = tuple(Cut(**cut) for cut in table.pop("cuts", ()))
    return Example(**table, cuts=cuts)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
