"""A column as it grows: in memory while it is small, then in a temporary file that nobody else sees."""

from __future__ import annotations

import tempfile
from array import array
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kdkit.data.columns import Ragged, offsets_of
from kdkit.system.files import disk_full

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import IO

SPOOLED = 1 << 24
"""Bytes of a column that are held in memory."""


class GrowingColumn:
    """Takes what rows hold, one after the other, and becomes a column."""

    def __init__(self, dtype: Any) -> None:
        """A column without rows.

        Args:
            dtype: Of its values.
        """
        self._dtype = np.dtype(dtype)
        self._lengths = array("q")
        self._parts: list[bytes] = []
        self._waiting = self._written = 0
        self._file: IO[bytes] | None = None

    def add(self, raw: bytes, lengths: Iterable[int]) -> None:
        """Add rows: their values as bytes, and how many each has.

        Raises:
            KdkitError: The disk for temporary files is full.
        """
        self._lengths.extend(lengths)
        self._parts.append(raw)
        self._waiting += len(raw)
        if self._waiting > SPOOLED:
            self._write()

    def _write(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `done`
        with disk_full(Path(tempfile.gettempdir()), self._waiting):
            self._file.writelines(self._parts)
            self._file.flush()
        self._written += self._waiting
        self._parts, self._waiting = [], 0

    def done(self) -> Ragged:
        """The column; nothing more can be added."""
        offsets_M = offsets_of(np.frombuffer(self._lengths, np.int64))
        if self._file is None:
            return Ragged(np.frombuffer(b"".join(self._parts), self._dtype), offsets_M)
        self._write()
        with self._file as file:  # what is mapped stays, and goes with the process, however that ends
            shape = (self._written // self._dtype.itemsize,)
            return Ragged(np.memmap(file, self._dtype, "r", shape=shape).view(np.ndarray), offsets_M)
