"""The versions of installed packages, by the names that they are imported under."""

from __future__ import annotations

import functools
import importlib.metadata
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def version_of(package: str) -> str:
    """The version of an installed package; nothing where it says none."""
    with suppress(importlib.metadata.PackageNotFoundError):  # else its distribution has another name
        return importlib.metadata.version(package)
    for place in sys.path:
        if (found := _versions_in(place, _changed(place)).get(package)) is not None:
            return found
    return ""


@functools.lru_cache(maxsize=64)
def _versions_in(place: str, _changed: int) -> Mapping[str, str]:
    """The versions of what a folder of `sys.path` holds; kept, for to read them all takes a third of a second."""
    found: dict[str, str] = {}
    for distribution in importlib.metadata.distributions(path=[place]):
        for name in _imported_from(distribution):
            found.setdefault(name, distribution.version)
    return found


def _imported_from(distribution: importlib.metadata.Distribution) -> set[str]:
    """The names that a distribution is imported under: those that it declares, or those of its Python files."""
    if declared := (distribution.read_text("top_level.txt") or "").split():
        return set(declared)
    files = [Path(file) for file in distribution.files or () if file.suffix == ".py"]
    return {file.parts[0] if len(file.parts) > 1 else file.stem for file in files}


def _changed(place: str) -> int:
    """When something was last installed into a folder."""
    try:
        return Path(place).stat().st_mtime_ns
    except OSError:
        return 0
