"""Data sets that the trials of a sweep share: `data/KEY/` in the sweep's folder, and the facts of the stage.

Reading a data set can take long, and a sweep's trials should see the same one: the first that needs it writes it there,
the others copy it. An entry holds the digest of each of its files. It lasts until the sweep is run with `--fresh`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdkit.errors import DamagedData
from kdkit.store import folders, sweep_of
from kdkit.system.digests import digest_of
from kdkit.system.files import write_json
from kdkit.system.folders import delete
from kdkit.system.reading import read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


# The report on the data counts the teacher's tokens, and its tokenizer may be made from the data.
_DEPENDS = ("data", "tokens", "teacher")


def entry_of(run_dir: Path, tables: Mapping[str, Any]) -> Path | None:
    """The folder of a trial's data set, shared with the other trials; None if the run is not a trial.

    Args:
        run_dir: The run folder.
        tables: What of the trial's recipe its digest is made of.
    """
    sweep = sweep_of(run_dir)
    if sweep is None:
        return None
    return sweep / "data" / digest_of({section: tables[section] for section in _DEPENDS})[:16]


def is_there(entry: Path) -> bool:
    """Whether there is a whole entry: its facts are written last."""
    return _facts_of(entry).exists() and entry.is_dir()


def take(entry: Path, target: Path, note: Callable[[str], None]) -> dict[str, Any]:
    """Copy an entry to the folder of a run's data; returns the facts of the run that made it.

    Raises:
        DamagedData: A file of the entry is not what was put there.
    """
    noted = _facts_of(entry)
    try:
        facts: dict[str, Any] = read_json(noted)
    except ValueError as error:
        raise DamagedData(f"{noted} is damaged ({error}); delete it and run again") from error
    folders.take(entry, target)
    note(f"data: taken from {entry}, which another trial made")
    return facts


def put(entry: Path, source: Path, facts: dict[str, Any]) -> None:
    """Keep a run's data set and the facts of its stage for the other trials."""
    if entry.is_dir():  # left by a kill before its facts were written
        delete([entry])
    folders.put(source, entry)
    write_json(_facts_of(entry), facts)


def _facts_of(entry: Path) -> Path:
    return entry.with_name(f"{entry.name}.json")
