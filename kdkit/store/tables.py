"""Small tables of the store, in JSON with their own digest: a damaged one is deleted, and made again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdkit.system.digests import digest_of
from kdkit.system.files import make_folder, write_json
from kdkit.system.folders import delete
from kdkit.system.reading import read_json

if TYPE_CHECKING:
    from pathlib import Path

    from kdkit.system.progress import Progress


def read(path: Path, what: str, progress: Progress) -> dict[str, Any] | None:
    """A table; None where it is not there.

    Args:
        path: Its file.
        what: What it is, and its key in the file.
        progress: Where it is told that it is damaged.
    """
    if not path.exists():
        return None
    try:
        found: dict[str, Any] = read_json(path)
        if found["sha256"] != digest_of(found[what]):
            raise ValueError("it is not what was kept there")  # noqa: TRY301
    except (ValueError, KeyError, TypeError) as error:
        progress.note(f"{path} is damaged ({error}); the {what} is made again")
        delete([path])
        return None
    table: dict[str, Any] = found[what]
    return table


def write(path: Path, what: str, table: dict[str, Any]) -> None:
    """Write a table.

    Raises:
        OSError: The store cannot be written.
    """
    make_folder(path.parent)
    write_json(path, {"sha256": digest_of(table), what: table})
