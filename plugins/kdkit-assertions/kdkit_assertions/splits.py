"""Train, validation and test: by module or package, by stable digests, so the same at every reading.

No row ever decides where it goes by itself: a whole test module is in one split.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import attrs

from kdkit.api import Drop

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kdkit.api import Example, SplitName


def fraction(text: str, *, salt: str) -> float:
    """A number in [0, 1) that a text and a salt always give, as good as drawn at random."""
    digest = hashlib.blake2b(f"{salt}\0{text}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


@attrs.frozen(kw_only=True)
class ByModule:
    """Each test module goes where the digest of its dotted name says."""

    validation_share: float
    test_share: float
    salt: str

    def split_of(self, module: str) -> SplitName:
        """The split of a test module."""
        place = fraction(module, salt=self.salt)
        if place < self.test_share:
            return "test"
        return "validation" if place < self.test_share + self.validation_share else "train"


@attrs.frozen(kw_only=True)
class ByPackage:
    """Each package goes where the recipe says; with no package for validation, modules of the training packages do."""

    validation_packages: frozenset[str]
    test_packages: frozenset[str]
    otherwise: ByModule

    def split_of(self, module: str) -> SplitName:
        """The split of a test module."""
        package = module.partition(".")[0]
        if package in self.test_packages:
            return "test"
        if package in self.validation_packages:
            return "validation"
        return "train" if self.validation_packages else self.otherwise.split_of(module)


@attrs.frozen(kw_only=True)
class Kept:
    """Rows that are left, and those that are not."""

    rows: tuple[Example, ...]
    drops: tuple[Drop, ...]


def without_repeats(rows: Iterable[Example], *, held_out: Iterable[Example]) -> Kept:
    """Rows without those whose source and target both occurred before, or occur in what is held out from them.

    Args:
        rows: The rows of a split.
        held_out: The rows of the splits that it must not know.
    """
    outside = {_words(row) for row in held_out}
    seen: set[tuple[str, str]] = set()
    kept: list[Example] = []
    repeated: list[str] = []
    known: list[str] = []
    for row in rows:
        words = _words(row)
        if words in outside:
            known.append(row.id)
        elif words in seen:
            repeated.append(row.id)
        else:
            seen.add(words)
            kept.append(row)
    drops = (
        drop("it repeats a row of its split word for word", repeated),
        drop("it also occurs word for word in a held-out module", known),
    )
    return Kept(rows=tuple(kept), drops=tuple(d for d in drops if d.count))


def _words(row: Example) -> tuple[str, str]:
    return row.source, row.target


def drop(reason: str, where: Sequence[str]) -> Drop:
    """Rows left out for a reason, the first three named."""
    return Drop(reason=reason, count=len(where), first=tuple(where[:3]))


def sample(rows: tuple[Example, ...], at_most: int, *, salt: str) -> tuple[Example, ...]:
    """So many rows at most, in their order: those whose ids have the smallest digests; 0 for all."""
    if not at_most or len(rows) <= at_most:
        return rows
    chosen = {row.id for row in sorted(rows, key=lambda row: fraction(row.id, salt=salt))[:at_most]}
    return tuple(row for row in rows if row.id in chosen)
