"""A cache at a URL: fetched into a local mirror, and filled from one.

Files come into a mirror under a temporary name, are read to the last byte, and only then get their names; the manifest
comes last, in both directions. What was captured here and is not at the URL yet stays in the mirror until it is there.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kdkit.errors import DamagedData, KdkitError, Mismatch, MissingInput
from kdkit.logits.cache.listed import damaged_shard, load_listed
from kdkit.logits.cache.locking import locked
from kdkit.logits.cache.manifest import MANIFEST, Manifest, describe_shard, read_manifest
from kdkit.logits.cache.mending.verify import shard_faults
from kdkit.logits.cache.payloads import is_mirror
from kdkit.logits.cache.reader import LogitCache
from kdkit.logits.cache.remote.contents import find_manifest, verify_remote
from kdkit.logits.cache.remote.mirror import (
    bring,
    holds,
    make_mirror,
    mirror_of,
    name_by_content,
)
from kdkit.logits.cache.state import read_state, state_name
from kdkit.system.files import size_text
from kdkit.system.reading import open_regular
from kdkit.system.url import RemoteFolder, is_url
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdkit.api.interfaces.codecs import AnyCodec
    from kdkit.logits.cache.identity import CacheIdentity
    from kdkit.logits.cache.manifest import ShardEntry
    from kdkit.system.url import Note

# How often others may be quicker before it is given up.
_ATTEMPTS = 5
# Another process may fetch a large cache into the same mirror.
_WAIT = 600.0


def fetch(
    url: str, mirror_root: Path | None = None, *, identity: CacheIdentity | None = None, note: Note | None = None
) -> Path:
    """Fetch a URL's finished cache into its mirror; intact files of the mirror are not fetched again.

    Args:
        url: Where the cache lies.
        mirror_root: Where mirrors are kept; by default see `kdkit.system.mirrors.mirrors_folder`.
        identity: What it must belong to; None for whatever is there.
        note: Told what is fetched.

    Returns:
        The mirror, which holds at least what the URL does.

    Raises:
        MissingInput: There is no finished cache at the URL.
        Mismatch: It belongs to something else.
        DamagedData: It is not what was written; names file and record.
        UsageError: No file system serves the URL, or another process works in the mirror.
        KdkitError: The file system fails or is silent, or the disk is full.
    """
    remote = RemoteFolder.at(url)
    found = find_manifest(remote)
    if found is None:
        raise MissingInput(f"there is no logit cache at {remote.url} (no {MANIFEST})")
    if identity is not None and found.identity != identity:
        raise Mismatch(
            f"{remote.url} holds the logits of {found.identity.describe()}, but those of "
            f"{identity.describe()} are needed; use another URL"
        )
    folder = mirror_of(remote.url, found.identity, mirror_root)
    if not holds(folder, found):
        make_mirror(folder, remote.url)
        with locked(folder, seconds=_WAIT):
            bring(remote, found, folder, note)
    return folder


def open_cache(
    place: Path | str, identity: CacheIdentity | None = None, *, codec: AnyCodec | None = None
) -> LogitCache:
    """Open a cache in a folder or at a URL; a URL's cache is first fetched into a mirror and checked.

    Args:
        place: The folder or the URL.
        identity: What it must belong to; None for whatever is there.
        codec: What decodes it; by default the codec that the manifest names.

    Raises:
        KdkitError: See `LogitCache.open` and `fetch`.
    """
    folder = fetch(str(place), identity=identity) if is_url(place) else Path(place)
    return LogitCache.open(folder, identity, codec=codec)


def push(folder: Path, url: str, *, mend: bool = False, note: Note | None = None) -> None:
    """Add a finished local cache to a URL's cache; what the URL has besides is fetched first.

    Args:
        folder: A finished cache.
        url: Where it shall be as well.
        mend: Read all that is there first, and replace what is damaged.
        note: Told what is brought there.

    Raises:
        MissingInput: There is no finished cache in the folder.
        Mismatch: The URL holds a cache of something else.
        DamagedData: One of the two is not what was written; names file and record.
        UsageError: No file system serves the URL, or another process works in the folder.
        KdkitError: The file system fails or is silent.
    """
    remote = RemoteFolder.at(url)
    current = _whole_manifest if mend else find_manifest
    read_manifest(folder)  # before the lock, which makes a folder
    with locked(folder, seconds=_WAIT):
        damaged = _damaged_files(remote) if mend else frozenset()
        for _ in range(_ATTEMPTS):
            theirs = current(remote)
            own = _joined(remote, theirs, folder, note)
            _upload_parts(remote, theirs, own, folder, note, damaged)
            if own == theirs:
                return
            if current(remote) != theirs:
                continue  # another process was quicker: what it brought comes in, too
            remote.upload(folder / MANIFEST, MANIFEST)
            if find_manifest(remote) == own:
                return
    raise KdkitError(
        f"other processes changed {remote.url} {_ATTEMPTS} times meanwhile; run again when they have finished"
    )


def mirror(url: str, identity: CacheIdentity | None = None, *, note: Note | None = None) -> None:
    """Fetch a URL's cache, as far as it exists, into its mirror.

    Raises:
        KdkitError: See `fetch`.
    """
    with suppress(MissingInput):
        fetch(url, identity=identity, note=note)


@contextmanager
def mirrored(url: str, identity: CacheIdentity, *, note: Note | None = None) -> Iterator[Path]:
    """Let the block add to a URL's cache through its mirror: fetch what is there first, send what was added afterwards.

    The upload happens only if the block ends without an error; what an error or a kill leaves here is sent next time.

    Raises:
        KdkitError: See `fetch` and `push`.
    """
    mirror(url, identity, note=note)
    folder = mirror_of(url, identity)
    make_mirror(folder, url)
    yield folder
    push(folder, url, note=note)


def _whole_manifest(remote: RemoteFolder) -> Manifest | None:
    """A remote manifest; None also of a damaged one, which is then replaced."""
    try:
        return find_manifest(remote)
    except DamagedData:
        return None


def _damaged_files(remote: RemoteFolder) -> frozenset[str]:
    """The files of a URL's cache that have changed since they were written; all files if there is no manifest."""
    if _whole_manifest(remote) is None:
        return frozenset(remote.sizes())
    return frozenset(fault.file for fault in verify_remote(remote.url))


def _joined(remote: RemoteFolder, theirs: Manifest | None, folder: Path, note: Note | None) -> Manifest:
    """The union of the URL's cache and the folder's; afterwards the folder holds it."""
    own = read_manifest(folder)
    listed = {entry.file: entry for entry in theirs.shards} if theirs is not None else {}
    if theirs is not None:
        if theirs.identity != own.identity:
            raise Mismatch(
                f"{remote.url} holds the logits of {theirs.identity.describe()}, so those of "
                f"{own.identity.describe()} in {folder} cannot be sent there; use another URL"
            )
        if not set(theirs.shards) <= set(own.shards):
            return bring(remote, theirs, folder, note)
    if not is_mirror(folder):
        return own
    fresh = [load_listed(folder, entry, own.identity) for entry in own.shards if listed.get(entry.file) != entry]
    named = tuple(describe_shard(shard) for shard in name_by_content(folder, fresh, listed))
    joined = Manifest(identity=own.identity, shards=(*listed.values(), *named))
    if joined != own:
        joined.write(folder)
    return joined


def _upload_parts(
    remote: RemoteFolder,
    theirs: Manifest | None,
    own: Manifest,
    folder: Path,
    note: Note | None,
    damaged: frozenset[str] = frozenset(),
) -> None:
    """Send to the URL every shard and state that it lacks or that is damaged there, but not the manifest."""
    listed = set(theirs.shards) if theirs is not None else set()
    there = remote.sizes()
    for name in damaged:
        there.pop(name, None)
    states = [state for state in own.states if there.get(state_name(state)) != _size(folder / state_name(state))]
    shards = [
        entry
        for entry in own.shards
        if there.get(entry.file) != entry.size or (entry not in listed and not _begins_alike(remote, folder, entry))
    ]
    if not states and not shards:
        return
    if note is not None and shards:
        note(f"sending {plural(len(shards), 'shard')} ({size_text(sum(e.size for e in shards))}) to {remote.url}")
    for state in states:
        read_state(folder, state)
        remote.upload(folder / state_name(state), state_name(state))
    for entry in shards:
        if fault := next(shard_faults(folder, entry, own, set()), None):
            raise damaged_shard(folder, entry.file, str(fault).removeprefix(f"{entry.file}: "))
        remote.upload(folder / entry.file, entry.file)
    there = remote.sizes()
    lost = [entry.file for entry in own.shards if there.get(entry.file) != entry.size]
    lost += [state_name(state) for state in own.states if state_name(state) not in there]
    if lost:
        raise KdkitError(
            f"{remote.url}/{lost[0]} is missing or changed just after it was written; check the file system there"
        )


def _begins_alike(remote: RemoteFolder, folder: Path, entry: ShardEntry) -> bool:
    """Whether a remote file has the header of a shard; in it is the checksum of the index, in that those of records."""
    with open_regular(folder / entry.file) as file:
        raw = file.read(8)
        raw += file.read(int.from_bytes(raw, "little"))
    return remote.read(entry.file, len(raw)) == raw


def _size(path: Path) -> int | None:
    return path.stat().st_size if path.exists() else None
