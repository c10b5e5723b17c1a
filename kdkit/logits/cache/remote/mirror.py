"""The local mirror of a cache at a URL: an ordinary cache folder in which only kdkit works.

Beside what is at the URL it may hold shards that were captured here and are not there yet. These get numbers made of
their content, so that shards captured on several machines never meet under one name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.errors import DamagedData, MissingInput
from kdkit.logits.cache.cleanup import discard_temporaries
from kdkit.logits.cache.format import read_shard, shard_name
from kdkit.logits.cache.inventory import Inventory
from kdkit.logits.cache.listed import load_listed
from kdkit.logits.cache.manifest import MANIFEST, Manifest, describe_shard, read_manifest
from kdkit.logits.cache.mending.verify import shard_faults, state_faults
from kdkit.logits.cache.payloads import MARK, check_records, is_mirror
from kdkit.logits.cache.quarantine import next_number
from kdkit.logits.cache.shard_writer import copy_shard
from kdkit.logits.cache.state import state_name
from kdkit.system.digests import digest_of
from kdkit.system.files import (
    disk_full,
    link_or_copy,
    make_folder,
    publish,
    size_text,
    sync_file,
    sync_folder,
    write_atomically,
)
from kdkit.system.folders import discard_folder
from kdkit.system.mirrors import mirrors_folder
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from kdkit.logits.cache.format import Shard
    from kdkit.logits.cache.identity import CacheIdentity
    from kdkit.logits.cache.manifest import ShardEntry
    from kdkit.logits.cache.mending.verify import Fault
    from kdkit.system.url import Note, RemoteFolder

_FIRST_NUMBER, _NUMBERS = 100_000_000, 800_000_000


def mirror_of(url: str, identity: CacheIdentity, mirror_root: Path | None = None) -> Path:
    """The folder that mirrors a URL's cache of an identity."""
    root = mirror_root if mirror_root is not None else mirrors_folder()
    return root.absolute() / digest_of([url.rstrip("/"), identity.digest])[:32]


def make_mirror(folder: Path, url: str) -> None:
    """Make a mirror's folder, unless it exists.

    Raises:
        KdkitError: The disk is full.
    """
    with disk_full(folder, 0):
        make_folder(folder)
    if not is_mirror(folder):
        write_atomically(folder / MARK, url.rstrip("/").encode())


def holds(folder: Path, manifest: Manifest) -> bool:
    """Whether a folder is a finished cache with everything that a manifest lists, intact as far as its indexes tell."""
    try:
        own = read_manifest(folder)
    except (MissingInput, DamagedData):
        return False
    return (
        set(manifest.shards) <= set(own.shards)
        and all(_is_there(folder, entry, manifest.identity) for entry in own.shards)
        and not any(fault for state in own.states for fault in state_faults(folder, state))
    )


def bring(remote: RemoteFolder, manifest: Manifest, folder: Path, note: Note | None = None) -> Manifest:
    """Fetch what a remote manifest lists and a folder lacks; the caller holds the folder's lock.

    Returns:
        What the folder holds then: what is listed, then its own shards.

    Raises:
        DamagedData: A remote file is not what was written; names file and record.
        KdkitError: The file system fails or is silent, or the disk is full.
    """
    discard_temporaries(folder)
    listed = {entry.file: entry for entry in manifest.shards}
    own = name_by_content(folder, _keep_own(Inventory.take(folder), manifest.identity, listed, note), listed)
    missing = [entry for entry in manifest.shards if not _is_there(folder, entry, manifest.identity)]
    states = [state for state in manifest.states if any(state_faults(folder, state))]
    if note is not None and missing:
        size = size_text(sum(entry.size for entry in missing))
        note(f"fetching {plural(len(missing), 'shard')} ({size}) from {remote.url} into {folder}")
    staging = folder.with_name(f".{folder.name}.fetch")
    discard_folder(staging)
    with disk_full(folder, 0):
        make_folder(staging)
    try:
        for state in states:
            _fetch(remote, state_name(state), staging, state_faults(staging, state), folder)
        for entry in missing:
            _fetch(remote, entry.file, staging, shard_faults(staging, entry, manifest, set()), folder)
    finally:
        discard_folder(staging)
    kept = _without_repeats(folder, manifest, own)
    joined = Manifest(identity=manifest.identity, shards=(*manifest.shards, *map(describe_shard, kept)))
    joined.write(folder)
    for dropped in {shard.file for shard in own} - {entry.file for entry in joined.shards}:
        (folder / dropped).unlink()
    return joined


def push_advice(url: str) -> str:
    """Advice on damage at a URL."""
    return (
        f"`kdkit cache push FOLDER {url} --mend` replaces damaged files with those of an intact copy, such as "
        "the folder that the capture printed where it ran; if you have no copy, delete the cache there and "
        "capture again"
    )


def name_by_content(folder: Path, shards: list[Shard], listed: Mapping[str, ShardEntry]) -> list[Shard]:
    """Rename shards of a folder after their content, so that its manifest never names a missing file.

    Args:
        folder: The folder.
        shards: Those that are its own.
        listed: What a remote manifest lists, by name: these names are taken.

    Returns:
        The shards under their new names, without those that turn out to be listed.
    """
    renamed: dict[str, Shard] = {}
    for shard in shards:
        number = _FIRST_NUMBER + int(shard.sha256[:12], 16) % _NUMBERS
        while not _may_have(shard, shard_name(number), folder, listed):
            number += 1
        renamed[shard.file] = attrs.evolve(shard, file=shard_name(number))
        if shard.file != shard_name(number) and not (folder / shard_name(number)).exists():
            link_or_copy(folder / shard.file, folder / shard_name(number))
    old = [file for file, shard in renamed.items() if file != shard.file]
    if old:
        sync_folder(folder)
        _rewrite_manifest(folder, {file: renamed[file].file for file in old})
    for file in old:
        (folder / file).unlink()
    return [shard for shard in renamed.values() if shard.file not in listed]


def _rewrite_manifest(folder: Path, renamed: Mapping[str, str]) -> None:
    try:
        manifest = read_manifest(folder)
    except MissingInput:
        return
    except DamagedData:
        (folder / MANIFEST).unlink()
        return
    entries = (attrs.evolve(entry, file=renamed.get(entry.file, entry.file)) for entry in manifest.shards)
    Manifest(identity=manifest.identity, shards=tuple(entries)).write(folder)


def _may_have(shard: Shard, name: str, folder: Path, listed: Mapping[str, ShardEntry]) -> bool:
    """Whether a shard can have a name: nothing else has it, here or there."""
    if name in listed:
        return describe_shard(attrs.evolve(shard, file=name)) == listed[name]
    return name == shard.file or not (folder / name).exists()


def _is_there(folder: Path, entry: ShardEntry, identity: CacheIdentity) -> bool:
    try:
        load_listed(folder, entry, identity)
    except DamagedData:
        return False
    return True


def _keep_own(
    inventory: Inventory, identity: CacheIdentity, listed: Mapping[str, ShardEntry], note: Note | None
) -> list[Shard]:
    """The shards of a folder that are not listed; unusable ones are deleted."""
    own = {file: shard for file, shard in inventory.shards.items() if describe_shard(shard) != listed.get(file)}
    useless = dict(inventory.damaged)
    useless |= {file: why for file, why in inventory.stateless.items() if file in own}
    useless |= {file: "it belongs to another cache" for file, shard in own.items() if shard.identity != identity}
    for file, why in useless.items():
        if note is not None:
            note(
                f"{inventory.folder / file} is damaged ({why}) and deleted; records of it that the URL lacks "
                "are captured again"
            )
        (inventory.folder / file).unlink()
    return [shard for file, shard in own.items() if file not in useless]


def _fetch(remote: RemoteFolder, file: str, staging: Path, faults: Iterator[Fault], folder: Path) -> None:
    """Fetch one file, check it, and give it its name if it has no faults."""
    staged = staging / file
    try:
        remote.download(file, staged)
    except MissingInput as error:
        raise _damaged(remote, f"{file}: the file is missing") from error
    if fault := next(faults, None):
        raise _damaged(remote, str(fault))
    with disk_full(staged, 0):
        sync_file(staged)
    publish(staged, folder / file)


def _damaged(remote: RemoteFolder, what: str) -> DamagedData:
    return DamagedData(
        f"{remote.url}/{what}; `kdkit cache verify {remote.url}` finds all damage; {push_advice(remote.url)}"
    )


def _without_repeats(folder: Path, manifest: Manifest, own: list[Shard]) -> list[Shard]:
    """A folder's own shards, without the records that the shards of a manifest have too."""
    if not own:
        return []
    known = {key.tobytes() for entry in manifest.shards for key in read_shard(folder / entry.file).keys_N16}
    kept = []
    for shard in own:
        keys = [key.tobytes() for key in shard.keys_N16]
        fresh = [number for number, key in enumerate(keys) if key not in known]
        if len(fresh) == len(keys):
            kept.append(shard)
            known.update(keys)
            continue
        # A damaged record is left out, and so captured again.
        whole = list(check_records(folder / shard.file, shard))
        fresh = [number for number in fresh if whole[number]]
        if fresh:
            listed = {entry.file: entry for entry in manifest.shards}
            copy = copy_shard(folder, shard, fresh, next_number(folder))
            kept += name_by_content(folder, [read_shard(folder / copy.file)], listed)
        known.update(keys)
    return kept
