"""`metrics.jsonl`: one JSON object a line, for training and validation of teacher and student.

A checkpoint and these lines belong together. The lines are synced before the checkpoint gets its marker, so a power cut
never leaves fewer of them than the checkpoint has steps; whatever was written after it goes when the training resumes.
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from kdkit.runs.tracking import UNTRACKED
from kdkit.system.files import append, disk_full, sync_file, sync_folder, write_atomically
from kdkit.system.parsing import parse_json
from kdkit.system.reading import read_lines

if TYPE_CHECKING:
    from pathlib import Path

    from kdkit.runs.tracking import Tracking


class MetricsLog:
    """Appends lines of one stage; after a resume, lines of steps that are done again are dropped first.

    Args:
        path: The file.
        stage: What is trained.
        tracking: Receives each line as well.
    """

    def __init__(self, path: Path, stage: str, tracking: Tracking = UNTRACKED) -> None:
        self._path = path
        self._stage = stage
        self._tracking = tracking

    def rewind(self, *, step: int, epochs: int) -> None:
        """Drop this stage's lines of what is done again, and a line that a kill cut short.

        Args:
            step: Steps that are done.
            epochs: Epochs that are done, validation included.
        """
        if not self._path.exists():
            return
        kept = []
        for text in read_lines(self._path):
            try:
                line = parse_json(text)
            except ValueError:
                continue
            again = line["step"] > step or (line["kind"] == "validation" and line["epoch"] > epochs)
            if line["stage"] != self._stage or not again:
                kept.append(text.removesuffix("\n") + "\n")
        write_atomically(self._path, "".join(kept).encode())

    def sync(self) -> None:
        """Make all lines durable; a checkpoint that is written from now on has them."""
        with disk_full(self._path, 0):
            if self._path.exists():
                sync_file(self._path)
                sync_folder(self._path.parent)

    def write(self, **facts: Any) -> None:
        """One line; numbers that JSON cannot hold become null."""
        clean = {
            key: None if isinstance(value, float) and not math.isfinite(value) else value
            for key, value in facts.items()
        }
        line = json.dumps({"stage": self._stage, **clean}) + "\n"
        with disk_full(self._path, len(line)), append(self._path) as stream:
            stream.write(line)
        self._tracking.tell(self._stage, clean)
