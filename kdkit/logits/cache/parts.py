"""A part of a capture: the share of one of several processes, in a folder of its own beside the cache."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

from kdkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from kdkit.api.values import EncodedExample

_SPELT = re.compile(r"(0|[1-9][0-9]{0,5})/([1-9][0-9]{0,5})", re.ASCII)


@attrs.frozen(kw_only=True)
class Part:
    """One of several parts of a capture.

    Attributes:
        index: Which, from 0.
        count: Of how many.
    """

    index: int
    count: int

    @classmethod
    def parse(cls, text: str, *, of: str = "a capture") -> Part:
        """The part that a text such as `0/3` names.

        Args:
            text: The text.
            of: What is divided into parts, for messages.

        Raises:
            UsageError: The text does not name a part.
        """
        spelt = _SPELT.fullmatch(text)
        if spelt is None:
            raise UsageError(f'"{text}" is not a part of {of}; write i/n, such as 0/3 for the first of three')
        part = cls(index=int(spelt[1]), count=int(spelt[2]))
        if part.index >= part.count:
            last = f"{part.count - 1}/{part.count}"
            raise UsageError(f'"{text}" is not a part of {of}: of {part.count} the last is {last}')
        return part

    @property
    def suffix(self) -> str:
        """The suffix of its folders: `0-of-3`."""
        return f"{self.index}-of-{self.count}"

    def folder(self, cache: Path) -> Path:
        """Its folder beside the cache that it is a part of."""
        return cache.with_name(f"{cache.name}.part-{self.suffix}")

    def owned(self, groups: Sequence[Sequence[EncodedExample]], keys: Mapping[str, bytes]) -> set[bytes]:
        """Its own keys: every `count`th group, from its index on.

        A key that several rows share is its first row's, as in a capture that one process makes: all parts together
        hold what that holds, each record once.

        Args:
            groups: All rows, in the groups that the teacher computes together.
            keys: Each row's id to its key in the cache.
        """
        first = first_rows(groups, keys)
        own = (row.id for group in groups[self.index :: self.count] for row in group)
        return {keys[row_id] for row_id in own if row_id in first}


def first_rows(groups: Sequence[Sequence[EncodedExample]], keys: Mapping[str, bytes]) -> set[str]:
    """Ids of the rows whose key no row before them has."""
    first: dict[bytes, str] = {}
    for group in groups:
        for row in group:
            first.setdefault(keys[row.id], row.id)
    return set(first.values())
