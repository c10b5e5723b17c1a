"""Keeps folders that a run made for other runs: teachers, labels-only students, the data of a sweep.

An entry appears whole, by one rename, and never changes afterwards, so that reading it needs no lock. It holds the
digest of each of its files: copies are made of it for as long as there are runs, and a damaged one must not spread.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.errors import DamagedData
from kdkit.system.files import copy_synced, disk_full, make_folder, publish, sync_folder, write_json
from kdkit.system.folders import delete, discard_folder
from kdkit.system.locks import Lock
from kdkit.system.reading import check_regular_files, file_digest, read_json

if TYPE_CHECKING:
    from pathlib import Path

DIGESTS = "kdkit_store.json"


def put(source: Path, entry: Path) -> None:
    """Keep a copy of a folder, unless another run has already kept the same one.

    Raises:
        KdkitError: The disk is full.
    """
    make_folder(entry.parent)
    with Lock(entry.with_name(f".{entry.name}.lock")):
        if not entry.is_dir():
            copying = entry.with_name(f".{entry.name}.partial")
            _copy(source, copying)
            write_json(copying / DIGESTS, _digests(copying))
            publish(copying, entry)


def take(entry: Path, target: Path) -> None:
    """Copy an entry to a run, whole or not at all, replacing the run's own.

    Raises:
        DamagedData: A file of the entry is not what was put there.
        KdkitError: The disk is full.
    """
    copying = target.with_name(f".{target.name}.partial")
    _copy(entry, copying)
    try:
        _check(copying, name=entry)
    except DamagedData:
        delete([copying])
        raise
    (copying / DIGESTS).unlink()
    if target.is_dir():
        delete([target])
    publish(copying, target)


def check(entry: Path) -> None:
    """Read all of an entry.

    Raises:
        DamagedData: A file of it is not what was put there.
    """
    _check(entry, name=entry)


def _check(folder: Path, *, name: Path) -> None:
    try:
        expected = read_json(folder / DIGESTS)
    except (FileNotFoundError, ValueError):
        expected = None
    found = _digests(folder)
    if not isinstance(expected, dict):
        first: str | None = DIGESTS
    else:
        first = next((file for file in sorted({*found, *expected}) if found.get(file) != expected.get(file)), None)
    if first is not None:
        kind = name.parent.name.removesuffix("s")
        raise DamagedData(
            f"the stored {kind} {name} is damaged (its {first} has changed since it was stored); delete that "
            f"folder and run again to make the {kind} again"
        )


def _copy(source: Path, target: Path) -> None:
    """Make a copy that is on the disk when this returns; an unfinished copy is replaced."""
    discard_folder(target)
    check_regular_files(source)
    size = sum(file.stat().st_size for file in source.rglob("*") if file.is_file())
    with disk_full(target.parent, size, discards=target):
        make_folder(target)
        for each in sorted(source.rglob("*")):
            copy = target / each.relative_to(source)
            if each.is_dir():
                make_folder(copy)
                continue
            with disk_full(copy, each.stat().st_size):
                # No hard link: a file that is changed in place would change in the store and in every run that has it.
                copy_synced(each, copy)
        for folder in (*(each for each in target.rglob("*") if each.is_dir()), target):
            sync_folder(folder)


def _digests(folder: Path) -> dict[str, str]:
    """SHA-256 of each file except the one with these digests, by its path in the folder."""
    digests = {}
    for file in sorted(each for each in folder.rglob("*") if each.is_file()):
        name = file.relative_to(folder).as_posix()
        if name != DIGESTS:
            digests[name] = file_digest(file)
    return digests
