"""A part of a capture: the share of one of several processes, in a folder of its own beside the cache."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs
import numpy as np

from kdkit.data.encoded_rows import Batches
from kdkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from typing import TypeAlias

    import numpy.typing as npt

    from kdkit.api.values import EncodedExample
    from kdkit.data.columns import Places
    from kdkit.data.encoded_rows import EncodedRows
    from kdkit.data.row_keys import RowKeys

    Chosen: TypeAlias = npt.NDArray[np.bool_]

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

    def owned(self, groups: Sequence[Sequence[EncodedExample]], keys: RowKeys) -> Chosen:
        """Which rows' records are its own: every `count`th group, from its index on.

        A key that several rows share is its first row's, as in a capture that one process makes: all parts together
        hold what that holds, each record once.

        Args:
            groups: All rows, in the groups that the teacher computes together.
            keys: The rows' keys in the cache.
        """
        own_R = np.zeros(len(keys), np.bool_)
        own_R[_indices(groups[self.index :: self.count], keys.rows)] = True
        return own_R & first_rows(groups, keys)


def first_rows(groups: Sequence[Sequence[EncodedExample]], keys: RowKeys) -> Chosen:
    """Which rows have a key that no row before them has."""
    return keys.first_of(_indices(groups, keys.rows))


def _indices(groups: Sequence[Sequence[EncodedExample]], rows: EncodedRows) -> Places:
    """The rows of some groups, by their indices, in the groups' order."""
    if isinstance(groups, Batches) and groups.rows is rows:
        return groups.flat
    return np.fromiter((rows.by_id.find(row.id) for group in groups for row in group), np.int64)
