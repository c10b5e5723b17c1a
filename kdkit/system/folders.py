"""Folders that may come from a stranger: what is written or deleted in one stays in it."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from kdkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable


def check_inside(folder: Path) -> None:
    """Refuse a folder with links to folders outside: what is written there would be written elsewhere.

    The folder itself may be a link, and so may files in it, since none is written through its name.

    Raises:
        UsageError: It has one.
    """
    root = folder.resolve()
    for place, names, _ in os.walk(root):
        for name in names:
            found = Path(place, name)
            if found.is_symlink() and not found.resolve().is_relative_to(root):
                raise UsageError(
                    f"{folder / found.relative_to(root)} is a link to {found.resolve()}, outside {folder}, where kdkit "
                    "would write; put that folder in the place of the link, or delete the link"
                )


def delete(files: Iterable[Path]) -> None:
    """Delete files and folders, whatever is there; of a link, the link."""
    for each in files:
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink(missing_ok=True)


def discard_folder(folder: Path) -> None:
    """Delete a folder that nobody needs any more, if it is there; what cannot be deleted takes room and no more."""
    with suppress(OSError):
        delete([folder])


def free_bytes(folder: Path) -> int:
    """Free space where a folder lies or will lie."""
    return shutil.disk_usage(existing(folder)).free


def existing(folder: Path) -> Path:
    """A folder, or the nearest one above it that is there."""
    folder = folder.absolute()
    return next(each for each in (folder, *folder.parents) if each.exists())
