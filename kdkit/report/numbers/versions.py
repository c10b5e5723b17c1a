"""What runs were made with: packages, plugins, devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdkit.report.read.files import as_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

WATCHED = ("kdkit", "torch")
"""Versions that have to be the same for trials to be compared without a word."""


def versions(records: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Each package, plugin and device of runs, by their `run.json`, with all of its versions."""
    found: dict[str, list[str]] = {}
    for record in records:
        plugins = {name: version or "unnumbered" for name, version in as_table(record.get("plugins")).items()}
        told = {
            **as_table(record.get("versions")),
            **{f"plugin {name}": version for name, version in plugins.items() if name != "kdkit"},
            "device": record.get("device"),
        }
        for name, version in told.items():
            if version and str(version) not in found.setdefault(str(name), []):
                found[str(name)].append(str(version))
    return [(name, ", ".join(sorted(seen))) for name, seen in found.items() if seen]


def version_warnings(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence for each package of which the runs had several versions."""
    found = []
    for package in WATCHED:
        seen = sorted({str(record.get("versions", {}).get(package, "unknown")) for record in records})
        if len(seen) > 1:
            found.append(f"The runs were made with different versions of {package}: {', '.join(seen)}.")
    return found
