"""What trackers share: a folder in the run folder, the id of a run's record, and a sentence for a missing package."""

from __future__ import annotations

import importlib.util
import uuid
from typing import TYPE_CHECKING

from kdkit.errors import MissingInput
from kdkit.system.files import make_folder, write_atomically
from kdkit.system.reading import read_text

if TYPE_CHECKING:
    from pathlib import Path

TRACKING_FOLDER = "tracking"
"""Where in a run folder a tracker may keep files."""


def require_package(module: str, *, name: str) -> None:
    """Refuse to track without the tracker's package; every tracker calls this first.

    A folder of that name in the working directory is not the package: wandb itself leaves one there.

    Raises:
        MissingInput: The package is not installed.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:  # any folder is found, as a namespace package
        raise MissingInput(
            f'track.name is "{name}", which needs the package {module}: pip install {module}, or leave [track] out'
        )


def tracking_id(folder: Path) -> str:
    """The id of a run's record at its tracker: made once, and kept in the run folder."""
    file = folder / TRACKING_FOLDER / "id"
    if not file.exists():
        make_folder(file.parent)
        write_atomically(file, uuid.uuid4().hex[:12].encode())
    return read_text(file, encoding="ascii")
