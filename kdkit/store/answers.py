"""What models answer about rows, kept for other runs: a file `answers/KEY.bin` of the store.

KEY is a digest of everything that the answers depend on. The first line of the file holds the digest of what follows,
which is a safetensors file of arrays. A damaged file is deleted, and the model asked again; a store that cannot be
written is read.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

from kdkit.store.sharing import found_or_making, why_unwritable
from kdkit.system.files import make_folder, write_atomically
from kdkit.system.folders import delete
from kdkit.system.reading import LARGEST_ROWS, read_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import Any, TypeAlias

    import numpy as np
    import numpy.typing as npt

    from kdkit.system.progress import Progress
    from kdkit.system.team import Team

    Arrays: TypeAlias = Mapping[str, npt.NDArray[np.generic]]

FORMAT = 1


def kept_or_made(
    key: str, store: Path, make: Callable[[], Arrays], *, name: str, progress: Progress, team: Team
) -> Arrays:
    """A model's answers: those that the store has, else made and kept there.

    Args:
        key: Digest of all that they depend on, `FORMAT` included.
        store: The folder that runs share.
        make: Asks the model; all processes of the team call it together, and all get all answers.
        name: Who answers, for notes.
        progress: Where it is told that answers are taken, or damaged.
        team: The processes that do this.
    """
    entry, note = store / "answers" / f"{key}.bin", progress.note

    def take() -> bytes | None:
        found = _read(entry, note)
        if found is not None:
            note(f"{name}: answers taken from {entry}")
        return found

    found = team.lead_does(take)
    if found is None and team.lead_does(lambda: why_unwritable(entry.parent) is None):
        with found_or_making(
            entry, what="answers", note=note, is_there=lambda: _read(entry, note) is not None, team=team
        ) as is_there:
            if not is_there:
                made = make()
                team.lead_does(lambda: _write(entry, made))
                return made
        found = team.lead_does(take)
    return make() if found is None else _arrays(found)


def _read(entry: Path, note: Callable[[str], None]) -> bytes | None:
    """The arrays of an entry, as bytes; None where there are none, or others than were put there."""
    if not entry.exists():
        return None
    first, _, arrays = read_bytes(entry, at_most=LARGEST_ROWS).partition(b"\n")
    if first == _first_line(arrays):
        return arrays
    note(f"{entry} is damaged; the model is asked again")
    if why_unwritable(entry.parent) is None:
        delete([entry])
    return None


def _write(entry: Path, made: Arrays) -> None:
    from safetensors.numpy import save

    arrays: bytes = save(dict(made))
    make_folder(entry.parent)
    write_atomically(entry, _first_line(arrays) + b"\n" + arrays)


def _arrays(raw: bytes) -> Arrays:
    from safetensors.numpy import load

    found: dict[str, Any] = load(raw)
    return found


def _first_line(arrays: bytes) -> bytes:
    return json.dumps({"kdkit_answers": FORMAT, "sha256": hashlib.sha256(arrays).hexdigest()}).encode()
