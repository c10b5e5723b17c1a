"""Predictions on disk: written as they come, so that a run that was stopped goes on where it was."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs

from kdkit.errors import DamagedData
from kdkit.files import disk_full, write_atomically
from kdkit.stopping import graceful
from kdkit.values import Prediction

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    from kdkit.progress import Progress
    from kdkit.values import EncodedExample


def fill(
    path: Path,
    rows: Sequence[EncodedExample],
    generate: Callable[[Sequence[EncodedExample], Collection[str]], Iterator[Prediction]],
    *,
    progress: Progress,
    name: str,
) -> None:
    """Write a prediction for each row: what an earlier try left, then the rest; the finished file appears at once.

    A finished file of these rows is left as it is: a model that changed has had its predictions deleted.

    Args:
        path: The finished file, one JSON line a row, in the rows' order.
        rows: What is predicted.
        generate: Predicts, in any order, the rows but those whose ids are given as well: these are done.
        progress: Where progress is shown.
        name: What is done, for the bar.
    """
    if path.exists() and [prediction.id for prediction in read(path)] == [row.id for row in rows]:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    done = {prediction.id: prediction for prediction in _whole_lines(partial)}
    before = frozenset(row.id for row in rows if row.id in done)
    with (
        disk_full(path.parent, 0),  # outermost: closing a stream that a full disk cut short fails once more
        graceful() as stop,
        partial.open("w", encoding="utf-8", buffering=1) as stream,  # each line is there once it is written
        progress.task(name, total=len(rows), unit="rows", done=len(before)) as task,
    ):
        for prediction in done.values():
            stream.write(_line(prediction))
        for prediction in generate(rows, before) if len(before) < len(rows) else ():
            done[prediction.id] = prediction
            stream.write(_line(prediction))
            task.advance()
            if stop:
                raise stop.leave(f"kept {len(done)} of {len(rows)} predictions")
    write_atomically(path, "".join(_line(done[row.id]) for row in rows).encode())
    partial.unlink()


def read(path: Path) -> list[Prediction]:
    """The predictions of a finished file.

    Raises:
        DamagedData: A line is no prediction.
    """
    predictions = []
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n")[:-1], 1):
        try:
            predictions.append(Prediction(**json.loads(line)))
        except (ValueError, TypeError) as error:
            raise DamagedData(f"{path}:{number} is no prediction ({error}); delete the file and run again") from error
    return predictions


def _whole_lines(path: Path) -> Iterator[Prediction]:
    """The predictions of an unfinished file; a line that a kill cut short is left out."""
    if not path.exists():
        return
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]:
        try:
            yield Prediction(**json.loads(line))
        except (ValueError, TypeError):
            return


def _line(prediction: Prediction) -> str:
    return json.dumps(attrs.asdict(prediction), ensure_ascii=False) + "\n"
