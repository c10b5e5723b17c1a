"""Folders of models that are made of other files once, and found again by the content of these.

They lie in `models/` of the store that `KDKIT_STORE` names, else in the assets of the hub's own cache: they are the
same for every project. An entry appears whole, by one rename; one process makes it, and others wait.
"""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from kdkit.api.options import STORE_VARIABLE
from kdkit.system.digests import digest_of
from kdkit.system.files import make_folder, publish, user_path
from kdkit.system.folders import discard_folder
from kdkit.system.locks import Lock
from kdkit.system.reading import open_regular
from kdkit.system.url import is_url

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def kept(key: Any, make: Callable[[Path], None]) -> Path:
    """The folder with a key; made if it is not there.

    Args:
        key: What the folder depends on, as JSON has it.
        make: Writes it, into a folder that it makes.
    """
    entry = _place() / digest_of(key)[:32]
    if entry.is_dir():
        return entry
    make_folder(entry.parent)
    lock = Lock(entry.with_name(f".{entry.name}.lock"))
    lock.acquire()  # a large model takes longer than work under a lock should
    try:
        if not entry.is_dir():
            partial = entry.with_name(f".{entry.name}.partial")
            discard_folder(partial)  # of a process that was killed here
            make(partial)
            publish(partial, entry)
    finally:
        lock.release()
    return entry


def content_of(file: Path) -> str:
    """SHA-256 of a file, which is read again only if it may have changed."""
    stat = file.stat()
    return _content_at(file, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


@lru_cache(maxsize=64)
def _content_at(file: Path, *_stamp: int) -> str:
    with open_regular(file) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _place() -> Path:
    named = os.environ.get(STORE_VARIABLE, "")
    if named and not is_url(named):
        return user_path(named) / "models"
    from huggingface_hub import cached_assets_path

    return cached_assets_path("kdkit", "models")
