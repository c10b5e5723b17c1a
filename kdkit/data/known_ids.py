"""The ids of all rows read so far, with their places, so that an id that comes twice is named with both.

In memory are the latest ids, and of all others a hash of eight bytes; their texts and places go to a temporary file,
which is read only where two hashes are equal.
"""

from __future__ import annotations

import json
import tempfile
import weakref
from pathlib import Path
from typing import IO, TYPE_CHECKING

from kdkit.errors import UsageError
from kdkit.system.files import disk_full
from kdkit.system.parsing import parse_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt

LATEST = 1 << 16
"""So many ids are held as they are."""


class KnownIds:
    """Takes ids one after the other. One that came before is refused: at once, or when the latest are written away."""

    def __init__(self) -> None:
        """Without ids."""
        self._latest: dict[str, str] = {}
        self._hash_N: npt.NDArray[np.int64] | None = None
        self._file: IO[bytes] | None = None

    def add(self, id_: str, place: str) -> None:
        """Add the id of the row at a place.

        Raises:
            UsageError: Another row has it, or two of those before have one.
            KdkitError: The disk for temporary files is full.
        """
        other = self._latest.setdefault(id_, place)
        if other != place:
            raise _repeated(id_, place, other)
        if len(self._latest) >= LATEST:
            self._check()
            self._write()

    def finish(self) -> None:
        """Look for the latest ids among those before.

        Raises:
            UsageError: A row has the id of another.
        """
        self._check()

    def _check(self) -> None:
        if self._hash_N is None:
            return
        import numpy as np

        hash_N = _hashes(self._latest)
        found_N = self._hash_N.searchsorted(hash_N)
        again_N = self._hash_N[np.minimum(found_N, len(self._hash_N) - 1)] == hash_N
        wanted = {id_ for id_, again in zip(self._latest, again_N.tolist(), strict=True) if again}
        if not wanted:
            return
        for id_, other in self._written():
            if id_ in wanted and other != (place := self._latest[id_]):
                raise _repeated(id_, place, other)

    def _write(self) -> None:
        import numpy as np

        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed with this object
            weakref.finalize(self, self._file.close)
        raw = b"".join(json.dumps(each).encode() + b"\n" for each in self._latest.items())
        with disk_full(Path(tempfile.gettempdir()), len(raw)):
            self._file.seek(0, 2)
            self._file.write(raw)
            self._file.flush()
        # Of two sorted runs a stable sort takes linear time.
        before_N = [] if self._hash_N is None else [self._hash_N]
        self._hash_N = np.sort(np.concatenate([*before_N, np.sort(_hashes(self._latest))]), kind="stable")
        self._latest = {}

    def _written(self) -> Iterator[tuple[str, str]]:
        assert self._file is not None
        self._file.seek(0)
        for line in self._file:
            id_, place = parse_json(line.decode())
            yield id_, place


def _hashes(ids: dict[str, str]) -> npt.NDArray[np.int64]:
    import numpy as np

    return np.fromiter(map(hash, ids), np.int64, len(ids))


def _repeated(id_: str, place: str, other: str) -> UsageError:
    return UsageError(
        f'{place} has the id "{id_}", and so does {other}; ids must be unique over all files, so '
        "choose another field as id, or none"
    )
