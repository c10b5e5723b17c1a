"""Versions and licences of installed packages, by the names that they are imported under."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kdkit.api import Origin
from kdkit.data import licence_of

if TYPE_CHECKING:
    from collections.abc import Mapping


def version_of(package: str) -> str:
    """The version of an installed package; nothing where it says none."""
    found = _distribution_of(package)
    return "" if found is None else found.version


def origin_of(package: str) -> Origin:
    """An installed package with its version, and the licence that its distribution declares."""
    if package in sys.stdlib_module_names:
        return Origin(of=f"{package} of Python {platform.python_version()}", licence="PSF-2.0", said_by="Python")
    distribution = _distribution_of(package)
    if distribution is None:
        return Origin(of=package)
    found = licence_of(distribution)
    return Origin(of=f"{package} {distribution.version}", licence=found, said_by="its metadata" if found else "")


def _distribution_of(package: str) -> importlib.metadata.Distribution | None:
    with suppress(importlib.metadata.PackageNotFoundError):  # else its distribution has another name
        return importlib.metadata.distribution(package)
    places = (_distributions_in(place, _changed(place)).get(package) for place in sys.path)
    return next((found for found in places if found is not None), None)


@functools.lru_cache(maxsize=64)
def _distributions_in(place: str, _changed: int) -> Mapping[str, importlib.metadata.Distribution]:
    """What a folder of `sys.path` holds; kept, for to read them all takes a third of a second."""
    found: dict[str, importlib.metadata.Distribution] = {}
    for distribution in importlib.metadata.distributions(path=[place]):
        for name in _imported_from(distribution):
            found.setdefault(name, distribution)
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
