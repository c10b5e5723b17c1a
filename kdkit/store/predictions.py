"""Predictions on disk, written as they come, so that a run that was stopped resumes where it was.

NAME.partial        what the process that leads has so far
NAME.partial-1 ...  what the others have, where there are several
NAME.KEY.partial    where a model that lies elsewhere may change between two tries: KEY is that of its texts
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs

from kdkit.api.values import Prediction
from kdkit.errors import DamagedData
from kdkit.models.generation import own_rows
from kdkit.system.files import append, disk_full, make_folder, write_atomically
from kdkit.system.parsing import parse_json
from kdkit.system.progress import Silent
from kdkit.system.reading import read_lines
from kdkit.system.signals import graceful
from kdkit.system.team import ALONE, Team

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    from kdkit.api.values import EncodedExample
    from kdkit.system.progress import Progress


def fill(
    path: Path,
    rows: Sequence[EncodedExample],
    generate: Callable[[Sequence[EncodedExample], Collection[str]], Iterator[Prediction]],
    *,
    progress: Progress,
    name: str,
    team: Team = ALONE,
    batch_size: int = 1,
    key: str = "",
) -> None:
    """Write a prediction for each row: first those of an earlier try, then the rest; the finished file appears at once.

    A finished file of these rows is left as it is: a model that changed has had its predictions deleted. Of several
    processes each predicts some of the rows; how many they are may change between two tries.

    Args:
        path: The finished file, one JSON line a row, in the rows' order.
        rows: What is predicted.
        generate: Predicts, in any order, the rows but those whose ids are given as well: these are done.
        progress: Where progress is shown.
        name: What is done, for the bar.
        team: The processes that do this.
        batch_size: Rows of like length that are predicted together, and so by one process.
        key: What an earlier try must have had too for its predictions to count.
    """
    partial = path.with_name(f"{path.name}.{key}.partial" if key else f"{path.name}.partial")
    before = team.lead_does(lambda: _take_up(path, partial, rows))
    if before is None:
        return
    own = own_rows(rows, batch_size, team, done=before)
    predicted: list[Prediction] = []
    shown = progress if len(rows) else Silent()  # a run without texts would say that each model writes 0 of 0
    with (
        disk_full(_own(partial, team), 0),  # outermost: closing a stream that a full disk cut short fails once more
        graceful() as stop,
        append(_own(partial, team)) as stream,
        shown.task(name, total=len(before) + len(own), unit="rows", done=len(before)) as task,
    ):
        for prediction in generate(rows, {row.id for row in rows} - own) if own else ():
            predicted.append(prediction)
            stream.write(_line(prediction))
            task.advance()
            if stop:
                kept, total = len(before) + len(predicted), len(before) + len(own)
                raise stop.leave(f"kept {kept} of {total} predictions")
    everyones = team.gather(predicted)
    team.lead_does(lambda: _finish(path, rows, [*before.values(), *(each for share in everyones for each in share)]))


def _take_up(path: Path, partial: Path, rows: Sequence[EncodedExample]) -> dict[str, Prediction] | None:
    """Predictions that earlier tries left for these rows, by id, now in one partial file; None if all is finished."""
    if path.exists() and [prediction.id for prediction in read(path)] == [row.id for row in rows]:
        return None
    make_folder(path.parent)
    left = sorted(path.parent.glob(f"{partial.name}*"))
    found = {prediction.id: prediction for each in left for prediction in _whole_lines(each)}
    done = {row.id: found[row.id] for row in rows if row.id in found}
    write_atomically(partial, "".join(map(_line, done.values())).encode())
    for each in _partials(path):
        if each != partial:
            each.unlink()
    return done


def _finish(path: Path, rows: Sequence[EncodedExample], predictions: Sequence[Prediction]) -> None:
    by_id = {prediction.id: prediction for prediction in predictions}
    write(path, [by_id[row.id] for row in rows])
    for partial in _partials(path):
        partial.unlink()


def _partials(path: Path) -> list[Path]:
    """The unfinished files of all processes."""
    return [*path.parent.glob(f"{path.name}.partial*"), *path.parent.glob(f"{path.name}.*.partial*")]


def _own(partial: Path, team: Team) -> Path:
    """Where a process keeps what it has predicted."""
    return partial if team.leads else partial.with_name(f"{partial.name}-{team.rank}")


def write(path: Path, predictions: Sequence[Prediction]) -> None:
    """Write a complete set of predictions, whole or not at all."""
    make_folder(path.parent)
    write_atomically(path, "".join(map(_line, predictions)).encode())


def read(path: Path) -> list[Prediction]:
    """The predictions of a finished file.

    Raises:
        DamagedData: A line is no prediction.
    """
    predictions = []
    for number, line in enumerate(read_lines(path), 1):
        try:
            predictions.append(Prediction(**parse_json(line)))
        except (ValueError, TypeError) as error:
            raise DamagedData(
                f"{path}:{number} is not a prediction ({error}); delete the file and run again"
            ) from error
    return predictions


def _whole_lines(path: Path) -> Iterator[Prediction]:
    """The predictions of an unfinished file; a line that a kill cut short is left out."""
    try:
        for line in read_lines(path):
            if line.endswith("\n"):
                yield Prediction(**parse_json(line))
    except (ValueError, TypeError):
        return


def _line(prediction: Prediction) -> str:
    table = attrs.asdict(prediction, filter=lambda field, value: field.name != "is_cut" or value)
    return json.dumps(table, ensure_ascii=False) + "\n"
