"""Decides which folder a run may use: foreign folders are left alone, and only a run's own files are deleted."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from kdkit.errors import UsageError
from kdkit.recipe.stored import READABLE, stored_text
from kdkit.store import STORE, logits_of, store_of
from kdkit.system.folders import delete
from kdkit.system.reading import read_bytes
from kdkit.system.url import RemoteFolder, is_meant_as_url

if TYPE_CHECKING:
    from pathlib import Path

    from kdkit.recipe import Recipe

RECIPE = "recipe.toml"
LOCK = ".lock"
STUDENT = "student/best"
"""The student of the best epoch."""


def check_folders(recipe: Recipe, path: Path) -> None:
    """Refuse a run folder, or a shared store, that cannot be one.

    Raises:
        UsageError: It is a file or lies below one; it holds something else than a run; the two are one folder; or
            the URL for logits is one that no file system serves.
    """
    store, logits = store_of(recipe.store.dir, path), logits_of(recipe.store.dir, path)
    if isinstance(logits, str):
        RemoteFolder.at(logits)
    for folder, advice in ((path, "--run-dir"), (store, f"store.dir or {STORE}")):
        check_no_file(folder, advice)
    if path.resolve() in {folder.resolve() for folder in (store, store / "logits", store / "teachers")}:
        raise UsageError(
            f"{path} cannot be a run folder: {store} is the store that runs share; "
            f"name another folder with --run-dir, or another store with store.dir or {STORE}"
        )
    if not path.is_dir():
        return
    # Listed first: what another process writes meanwhile comes after its run.json, which is then there.
    children = list(path.iterdir())
    if not (path / "run.json").exists() and not all(_is_ours(child, recipe) for child in children):
        raise UsageError(f"{path} is not empty and is not a run folder; name another folder with --run-dir")


def check_no_file(folder: Path, advice: str) -> None:
    """Refuse a folder that cannot be made: a file or a broken link is in the way, or a URL was meant.

    Args:
        folder: The folder, which need not be there.
        advice: What names another.

    Raises:
        UsageError: It is.
    """
    if is_meant_as_url(folder):
        raise UsageError(
            f"{folder} looks like a URL, but {advice} takes a folder; only the logits can be at a URL, which "
            "store.dir takes with two slashes after its scheme (s3://bucket/x, file:///x)"
        )
    blocked = next((each for each in (folder, *folder.parents) if os.path.lexists(each) and not each.is_dir()), None)
    if blocked is not None and blocked.is_symlink() and not blocked.exists():
        raise UsageError(
            f"{blocked} is a link to {blocked.readlink()}, which does not exist; make that folder, or name another "
            f"with {advice}"
        )
    if blocked is not None:
        raise UsageError(f"{blocked} is a file; name another folder with {advice}")


def spare_recipe_file(recipe: Recipe, path: Path, *, fresh: bool) -> None:
    """Refuse to overwrite or to delete the file that the recipe was read from.

    Raises:
        UsageError: It would be.
    """
    if recipe.path is None:
        return
    file, folder = recipe.path.resolve(), path.resolve()
    if file == folder / RECIPE:
        if not _holds_resolved(path, recipe):
            raise UsageError(
                f"the run would overwrite {recipe.path} with the resolved recipe; name another folder with --run-dir"
            )
    elif fresh and file.is_relative_to(folder):
        raise UsageError(f"--fresh would delete the recipe {recipe.path}; move it out of {path}")


def _holds_resolved(path: Path, recipe: Recipe) -> bool:
    """Whether a folder's recipe.toml is to the byte what a run of this recipe writes, or an earlier kdkit wrote."""
    file = path / RECIPE
    return file.is_file() and read_bytes(file) in {stored_text(recipe.resolved, each).encode() for each in READABLE}


def empty(path: Path, recipe: Recipe) -> None:
    """Delete a run's files from its folder, except the lock and a recipe.toml that would be written again.

    What marks it as a run folder goes last: a kill on the way leaves a folder that can be emptied again.
    """
    kept = {"run.json", *([RECIPE] if _holds_resolved(path, recipe) else [])}
    delete(child for child in list(path.iterdir()) if child.name not in kept and not child.name.startswith(LOCK))
    delete([path / "run.json"])


def _is_ours(child: Path, recipe: Recipe) -> bool:
    """Whether a folder holds only what a run leaves that was killed at its start or during its deletion."""
    return child.name.startswith((LOCK, f".{RECIPE}.", ".run.json.", ".reserve")) or (
        child.name == RECIPE and _holds_resolved(child.parent, recipe)
    )
