"""Folders that may come from a stranger: writing and deleting stay within them."""

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
    """Refuse a folder with links to folders outside, since files would be written there.

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
                    f"{folder / found.relative_to(root)} is a link to {found.resolve()}, outside {folder}, "
                    "and kdkit would write there; replace the link by that folder, or delete the link"
                )


def delete(files: Iterable[Path]) -> None:
    """Delete files and folders; of a link, the link itself."""
    for each in files:
        if each.is_dir() and not each.is_symlink():
            shutil.rmtree(each)
        else:
            each.unlink(missing_ok=True)


def discard_folder(folder: Path) -> None:
    """Delete a folder that is not needed any more, if it exists; a failure to delete only costs room."""
    with suppress(OSError):
        delete([folder])


def free_bytes(folder: Path) -> int:
    """Free space where a folder lies or will lie."""
    return shutil.disk_usage(existing(folder)).free


def existing(folder: Path) -> Path:
    """A folder, or the nearest existing folder above it."""
    folder = folder.absolute()
    return next(each for each in (folder, *folder.parents) if each.exists())
