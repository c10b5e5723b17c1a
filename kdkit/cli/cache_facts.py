"""The facts that `kdkit cache` shows about caches, in a folder or at a URL."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdkit.errors import DamagedData, UsageError
from kdkit.system.files import size_text
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kdkit.logits.cache import Manifest


def numbers(table: dict[str, Any]) -> str:
    """Records, tokens and bytes in words."""
    return f"{plural(table['records'], 'record')}, {plural(table['tokens'], 'token')}, {size_of(table)}"


def size_of(table: dict[str, Any]) -> str:
    """Bytes of the records, and of their codec's state if it was measured and is not empty."""
    state = table.get("state_bytes", 0)
    return size_text(table["bytes"]) + (f" and {size_text(state)} of codec state" if state else "")


def caches_at(place: Path | str) -> Sequence[Path | str]:
    """Every cache at a place or below it."""
    from kdkit.logits.cache import caches_below
    from kdkit.logits.cache.remote.contents import remote_caches

    return remote_caches(place) if isinstance(place, str) else caches_below(place)


def manifest_of(place: Path | str) -> Manifest:
    """The manifest of a cache."""
    from kdkit.logits.cache import read_manifest
    from kdkit.logits.cache.remote.contents import remote_manifest

    return remote_manifest(place) if isinstance(place, str) else read_manifest(place)


def facts(folder: Path | str) -> dict[str, Any]:
    """The facts of a cache, intact or not."""
    try:
        return {"folder": str(folder), "state": "finished", **summary_of(folder)}
    except DamagedData as error:
        return {"folder": str(folder), "state": "damaged", "problem": str(error)}
    except UsageError as error:
        return {"folder": str(folder), "state": "not readable", "problem": str(error)}


def summary_of(place: Path | str) -> dict[str, Any]:
    """The facts of a finished cache."""
    return with_state(place, manifest_of(place))


def with_state(place: Path | str, manifest: Manifest) -> dict[str, Any]:
    """A manifest's facts, and the bytes of the states that its records share, which it does not list."""
    from kdkit.logits.cache.state import state_name
    from kdkit.system.url import RemoteFolder

    names = [state_name(state) for state in manifest.states]
    if not names:
        sizes = {}
    elif isinstance(place, str):
        sizes = RemoteFolder.at(place).sizes()
    else:
        sizes = {path.name: path.stat().st_size for name in names if (path := place / name).exists()}
    return {**manifest.summary(), "state_bytes": sum(sizes.get(name, 0) for name in names)}


def is_finished(folder: Path | str) -> bool:
    """Whether a cache has its manifest."""
    from kdkit.logits.cache.manifest import MANIFEST
    from kdkit.system.url import RemoteFolder

    return MANIFEST in RemoteFolder.at(folder).sizes() if isinstance(folder, str) else (folder / MANIFEST).exists()
