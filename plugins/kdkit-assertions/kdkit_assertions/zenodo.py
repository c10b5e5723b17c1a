"""Fetches a file of a published record by its DOI, once, into a folder that is kept."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from kdkit.api import size_text, user_path
from kdkit.errors import MissingInput, UsageError

if TYPE_CHECKING:
    from kdkit.api import Progress, Task

DOI = re.compile(r"doi:(?P<doi>10\.\d{4,}/[^/\s]+)(?:/(?P<file>[^/\s]+))?")
OFFLINE = "HF_HUB_OFFLINE"
CHUNK = 1 << 18  # bytes that are fetched at once
MEGABYTE = 1_000_000


def is_doi(path: str) -> bool:
    """Whether a path is `doi:...` rather than a file."""
    return path.startswith("doi:")


def kept_at(path: str, *, file: str, folder: str | None) -> Path:
    """Where the local copy of a record's file is kept, whether or not it is there yet; arguments as for `fetch`.

    Raises:
        UsageError: The path is no DOI.
    """
    import pooch

    doi, name = _parts(path, file)
    kept = user_path(folder) if folder is not None else Path(pooch.os_cache("kdkit"))
    return kept / f"{doi.replace('/', '_')}-{name}"


def fetch(path: str, *, file: str, folder: str | None, progress: Progress) -> Path:
    """The local copy of a record's file, downloaded if it is not there yet.

    Args:
        path: `doi:PREFIX/SUFFIX`, or `doi:PREFIX/SUFFIX/FILE`.
        file: Which file of the record, where the path does not say.
        folder: Where it is kept; by default the user's cache folder.
        progress: Where a download is shown.

    Raises:
        UsageError: The path is no DOI.
        MissingInput: The file cannot be had: off-line, or the record does not give it.
    """
    target = kept_at(path, file=file, folder=folder)
    if target.is_file():
        return target
    import pooch

    doi, name = _parts(path, file)
    if os.environ.get(OFFLINE, "").lower() in ("1", "true", "yes", "on"):
        raise MissingInput(_advice(doi, name, f"{OFFLINE} is set"))
    log = pooch.get_logger()
    level = log.level
    log.setLevel("ERROR")  # kdkit's own words say what is fetched
    try:
        with progress.task("fetch", total=None, unit="MB") as task:
            bar = _Bar(progress, task, f"data: fetching {name} from doi:{doi} into {target.parent}")
            fetched = pooch.retrieve(
                f"doi:{doi}/{name}",
                known_hash=None,
                fname=target.name,
                path=target.parent,
                downloader=pooch.DOIDownloader(progressbar=bar, chunk_size=CHUNK),
            )
    except (OSError, ValueError) as error:  # requests' own errors are OSErrors
        raise MissingInput(_advice(doi, name, f"{type(error).__name__} while fetching it")) from error
    finally:
        log.setLevel(level)
    return Path(fetched)


class _Bar:
    """Shows a download on kdkit's own progress, with the attributes that pooch asks of a progress bar."""

    def __init__(self, progress: Progress, task: Task, message: str) -> None:
        self._progress, self._task, self._message = progress, task, message
        self._size = self._fetched = 0

    @property
    def total(self) -> int:
        """Bytes of the file, set once the server has said them; 0 where it does not."""
        return self._size

    @total.setter
    def total(self, size: int) -> None:
        self._size = size
        self._progress.note(self._message + (f", {size_text(size)}" if size else ""))

    def update(self, amount: int) -> None:
        """So many bytes more have come; pooch says whole chunks, the last one too, and all of it again at the end."""
        before, self._fetched = self._fetched, self._fetched + amount
        if self._size:
            self._fetched = min(self._fetched, self._size)
        if megabytes := self._fetched // MEGABYTE - before // MEGABYTE:
            self._task.advance(megabytes)

    def reset(self) -> None:
        """Nothing: what has come has come."""

    def close(self) -> None:
        """Nothing: the task ends by itself."""


def _parts(path: str, file: str) -> tuple[str, str]:
    """The record's DOI, and which file of it."""
    match = DOI.fullmatch(path)
    if match is None:
        raise UsageError(f'"{path}" is not a DOI; write one such as doi:10.5281/zenodo.15716445, or the path of a file')
    return match["doi"], match["file"] or file


def _advice(doi: str, name: str, why: str) -> str:
    return (
        f"{name} is not here and cannot be fetched ({why}); download it from https://doi.org/{doi} and give "
        "its path with `-o data.path=FILE`"
    )
