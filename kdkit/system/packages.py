"""What is installed."""

from __future__ import annotations

import importlib.metadata


def version_of(name: str) -> str | None:
    """The version of an installed distribution; None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
