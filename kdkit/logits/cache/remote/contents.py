"""The contents of a URL: caches, their manifests, and the faults in their files."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from kdkit.errors import DamagedData, MissingInput, UsageError
from kdkit.logits.cache.format import SHARD_FILE
from kdkit.logits.cache.manifest import LARGEST_MANIFEST, MANIFEST, Manifest
from kdkit.logits.cache.mending.verify import Fault, shard_faults, state_faults
from kdkit.logits.cache.remote.mirror import push_advice
from kdkit.logits.cache.state import state_name
from kdkit.system.url import RemoteFolder

if TYPE_CHECKING:
    from collections.abc import Iterator

_FILES = (re.compile(re.escape(MANIFEST)), SHARD_FILE)


def remote_caches(url: str) -> list[str]:
    """The URLs of all caches at a URL or below it.

    Raises:
        MissingInput: There is none.
        KdkitError: The file system fails or is silent.
    """
    found = RemoteFolder.at(url).folders_with(*_FILES)
    if not found:
        raise MissingInput(f"there is no logit cache at {url} or below it")
    return found


def remote_manifest(url: str) -> Manifest:
    """The manifest of a URL's cache.

    Raises:
        MissingInput: There is no finished cache.
        DamagedData: The manifest is not what was written.
        KdkitError: The file system fails or is silent.
    """
    found = find_manifest(RemoteFolder.at(url))
    if found is None:
        raise MissingInput(f"there is no finished logit cache at {url} (no {MANIFEST})")
    return found


def verify_remote(url: str) -> list[Fault]:
    """Every fault of a URL's cache; each of its files is fetched, checked and deleted, one at a time.

    Raises:
        MissingInput: There is no finished cache.
        KdkitError: The file system fails or is silent, or the disk is full.
    """
    remote = RemoteFolder.at(url)
    try:
        manifest = remote_manifest(url)
    except DamagedData as error:
        return [Fault(file=MANIFEST, record=None, what=str(error))]
    faults: list[Fault] = []
    seen: set[bytes] = set()
    with TemporaryDirectory() as name:
        folder = Path(name)
        for state in manifest.states:
            faults += _fetched_faults(remote, folder / state_name(state), state_faults(folder, state))
        for entry in manifest.shards:
            faults += _fetched_faults(remote, folder / entry.file, shard_faults(folder, entry, manifest, seen))
    return faults


def _fetched_faults(remote: RemoteFolder, path: Path, faults: Iterator[Fault]) -> list[Fault]:
    """The faults of a file, which is deleted again; a missing file is a fault itself."""
    with suppress(MissingInput):
        remote.download(path.name, path)
    found = list(faults)
    path.unlink(missing_ok=True)
    return found


def find_manifest(remote: RemoteFolder) -> Manifest | None:
    """The manifest of a URL's cache; None where there is none.

    Raises:
        DamagedData: The manifest is not what was written.
        UsageError: A newer kdkit wrote it.
        KdkitError: The file system fails or is silent.
    """
    raw = remote.read(MANIFEST, LARGEST_MANIFEST)
    if raw is None:
        return None
    try:
        return Manifest.from_bytes(raw)
    except DamagedData as error:
        raise DamagedData(f"{remote.url}/{MANIFEST} is damaged: {error}; {push_advice(remote.url)}") from error
    except UsageError as error:
        raise UsageError(f"{remote.url}/{MANIFEST} cannot be read: {error}") from error
