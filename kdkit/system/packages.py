"""What is installed."""

from __future__ import annotations

import importlib.metadata

_LONGEST_NAME = 60


def version_of(name: str) -> str | None:
    """The version of an installed distribution; None where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def licence_of(distribution: importlib.metadata.Distribution) -> str:
    """The licence that an installed distribution declares, as it writes it; empty where it declares none.

    Some have the whole text of the licence where its name belongs; then the classifiers are read.
    """
    table = distribution.metadata
    for key in ("License-Expression", "License"):
        text = (table[key] or "").strip() if key in table else ""
        if text and "\n" not in text and len(text) <= _LONGEST_NAME and text.upper() != "UNKNOWN":
            return text
    kinds = [each.rpartition(" :: ")[2] for each in table.get_all("Classifier", ()) if each.startswith("License ::")]
    return ", ".join(each for each in kinds if each != "OSI Approved")
