"""Finds the recipes that come with kdkit: in the wheel, or in `recipes/` of a checkout."""

from __future__ import annotations

from difflib import get_close_matches
from importlib import resources
from pathlib import Path


def folder() -> Path:
    """Their folder."""
    package = Path(str(resources.files("kdkit")))
    in_wheel = package / "recipes"
    return in_wheel if in_wheel.is_dir() else package.parent / "recipes"


def recipes() -> dict[str, Path]:
    """Name of each to its file, sorted by name."""
    return {path.stem: path for path in sorted(folder().glob("*.toml"))}


def near(path: Path) -> str:
    """A hint for a recipe that does not exist: a file beside it or a shipped recipe with a similar name."""
    beside = [str(other) for other in sorted(path.parent.glob("*.toml"))] if path.parent.is_dir() else []
    same = [other for other in beside if other.lower() in {str(path).lower(), f"{path}.toml".lower()}]
    found = (
        same or get_close_matches(str(path), beside, n=1, cutoff=0.75) or get_close_matches(path.stem, recipes(), n=1)
    )
    if found:
        return f'; did you mean "{found[0]}"?'
    return f"; shipped recipes: {', '.join(recipes())}" if recipes() else ""
