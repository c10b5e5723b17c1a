"""What is installed."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from typing import Any

from kdkit.system.digests import digest_of
from kdkit.system.reading import file_digest

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


def source_digest(kind: type[Any]) -> str:
    """Digest of the code that a class came with: of kdkit's own the version, of others the files of their package.

    Empty where there is no file, as of a class that a notebook defines.
    """
    return (version_of("kdkit") or "") if _is_own(kind) else plugin_digest(kind)


def plugin_digest(kind: type[Any]) -> str:
    """The same of a class that a plugin brings; empty of kdkit's own, for keys that its versions share."""
    if _is_own(kind):
        return ""
    own, top = sys.modules.get(kind.__module__), sys.modules.get(kind.__module__.partition(".")[0])
    is_package = getattr(top, "__file__", None) is not None and hasattr(top, "__path__")
    file = getattr(top if is_package else own, "__file__", None)
    if file is None:
        return ""
    files = sorted(Path(file).parent.rglob("*.py")) if is_package else [Path(file)]
    return digest_of([file_digest(each) for each in files if each.is_file()])


def _is_own(kind: type[Any]) -> bool:
    return kind.__module__.partition(".")[0] == "kdkit"
