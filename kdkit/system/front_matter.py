"""The table at the head of a README.md: what a model or a data set of the Hugging Face hub says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdkit.errors import DamagedData
from kdkit.system.reading import read_text

if TYPE_CHECKING:
    from pathlib import Path

FILE = "README.md"
_LARGEST = 2**20


def front_matter(folder: Path) -> dict[str, Any]:
    """The table of the README.md in a folder; empty where there is no file, no table, or one that cannot be read."""
    from huggingface_hub import RepoCard

    try:
        text = read_text(folder / FILE, at_most=_LARGEST, errors="replace")
        table: Any = RepoCard(text, ignore_metadata_errors=True).data
    except (OSError, ValueError, DamagedData):
        return {}
    return dict(table.to_dict())


def licence_in(table: dict[str, Any]) -> str:
    """The licence that such a table names; empty where it names none, or says that it is not known."""
    found = table.get("license")
    named = table.get("license_name") if found == "other" else None
    licences = [str(each) for each in (found if isinstance(found, list) else [named or found]) if each]
    return ", ".join(each for each in licences if each not in {"unknown", "other"})
