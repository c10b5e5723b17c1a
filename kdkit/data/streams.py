"""Rows as a data set yields them (`kdkit.api.StreamedSource`): gathered, and refused where none come.

A stream yields `(split, example)` for each row, and a `kdkit.api.Drop` for rows that were left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import attrs

from kdkit.api.values import SPLITS, Corpus, Drop, Example, SplitName
from kdkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    Stream: TypeAlias = Iterable[tuple[SplitName, Example] | Drop]

FIRST_PLACES = 5
"""So many places are named of the rows that are left out for one reason."""


def gathered(stream: Stream) -> Corpus:
    """Read a whole stream into a corpus: what the method `load` of a data set that streams gives."""
    rows: dict[SplitName, list[Example]] = {split: [] for split in SPLITS}
    drops: list[Drop] = []
    for each in stream:
        if isinstance(each, Drop):
            drops.append(each)
        else:
            split, example = each
            rows[split].append(example)
    return Corpus(**{split: tuple(rows[split]) for split in SPLITS}, drops=merged(drops))


def merged(drops: Iterable[Drop]) -> tuple[Drop, ...]:
    """Drops, those of one reason as one, the most frequent first."""
    found: dict[str, Drop] = {}
    for drop in drops:
        before = found.get(drop.reason, Drop(reason=drop.reason, count=0))
        first = (*before.first, *drop.first)[:FIRST_PLACES]
        found[drop.reason] = attrs.evolve(before, count=before.count + drop.count, first=first)
    return tuple(sorted(found.values(), key=lambda drop: -drop.count))


def require_streamed(stream: Stream, *, train: str, validation: str) -> Iterator[tuple[SplitName, Example] | Drop]:
    """The stream itself, and at its end an error if no row was for training, or none for validation.

    Args:
        stream: The rows.
        train: Where the training rows come from, for the error.
        validation: Where the validation rows come from.

    Raises:
        UsageError: A part has none; at the end of the stream.
    """
    seen: set[SplitName] = set()
    drops: list[Drop] = []
    for each in stream:
        if isinstance(each, Drop):
            drops.append(each)
        else:
            seen.add(each[0])
        yield each
    for split, origin in (("train", train), ("validation", validation)):
        if split not in seen:
            is_held_out = split == "train" and train in validation and bool(seen)
            name = "training" if split == "train" else split
            raise UsageError(no_rows(name, origin, merged(drops), is_held_out=is_held_out))


def no_rows(name: str, origin: str, drops: Sequence[Drop], *, is_held_out: bool = False) -> str:
    """The sentence for a part without a row.

    Args:
        name: The part.
        origin: Where its rows come from.
        drops: What was left out.
        is_held_out: Whether all rows that came are held out for other parts.
    """
    reasons = [f"{drop.count} dropped because {drop.reason} ({', '.join(drop.first)})" for drop in drops]
    if is_held_out:
        reasons.append("the rows that it has are held out, so lower validation_share, or give more rows")
    return f"{origin} has no usable {name} row: {'; '.join(reasons) or 'it is empty'}"
