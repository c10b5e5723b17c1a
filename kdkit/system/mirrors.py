"""Where copies of what lies at URLs are kept on this machine, and the copy of one file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kdkit.errors import MissingInput
from kdkit.system.digests import digest_of
from kdkit.system.files import discard, disk_full, make_folder, publish, sync_file, user_path
from kdkit.system.url import RemoteFolder

if TYPE_CHECKING:
    from pathlib import Path

MIRROR = "KDKIT_MIRROR"


def mirrors_folder() -> Path:
    """Where mirrors are kept: the environment's KDKIT_MIRROR, else `kdkit/mirrors` in the user's cache folder."""
    if named := os.environ.get(MIRROR):
        return user_path(named)
    return user_path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "kdkit" / "mirrors"


def local_copy(url: str) -> Path:
    """A file at a URL, on this machine: fetched unless it has been since it last changed there.

    Raises:
        MissingInput: There is no such file.
        KdkitError: The file system fails or is silent, or the disk is full.
    """
    place, _, name = url.rpartition("/")
    folder = RemoteFolder.at(place)
    stamp = folder.stamp(name)
    if stamp is None:
        raise MissingInput(f"there is no file {url}; correct the URL")
    copy = mirrors_folder() / "files" / digest_of([url, stamp])[:32]
    if not copy.exists():
        fetching = copy.with_name(f".{copy.name}.{os.getpid()}.partial")
        with disk_full(fetching, 0):
            make_folder(copy.parent)
            try:
                folder.download(name, fetching)
                sync_file(fetching)
                publish(fetching, copy)
            finally:
                discard(fetching)
    return copy
