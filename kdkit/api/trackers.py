"""What trackers share: a folder in the run folder, the name of a run's record, and a sentence for a missing library."""

from __future__ import annotations

import importlib.util
import uuid
from typing import TYPE_CHECKING

from kdkit.errors import MissingInput
from kdkit.system.files import write_atomically

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = "tracking"
"""Where in a run folder a tracker may keep files."""


def needs(module: str, *, extra: str) -> None:
    """What a tracker calls first: is its library there?

    Raises:
        MissingInput: It is not.
    """
    if importlib.util.find_spec(module) is None:
        raise MissingInput(
            f'track.name is "{extra}", which needs the package {module}: pip install "kdkit[{extra}]", '
            "or leave [track] out"
        )


def record_id(folder: Path) -> str:
    """What tells a run's record from that of any other: made once, and kept in the run folder."""
    file = folder / FOLDER / "id"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, uuid.uuid4().hex[:12].encode())
    return file.read_text(encoding="ascii")
