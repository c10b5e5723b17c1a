"""The conformance check of trackers."""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from kdkit.testing.values import check_value

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kdkit.api.interfaces import OpenTracker, Tracker

_RECIPE = {
    "name": "checked",
    "seed": 42,
    "loss": {"name": "kd", "alpha": 0.5},
    "evaluation": {"suites": ["text"], "baselines": True},
}
_SCORES = {"student/truth/text/f1": 0.25, "teacher/truth/text/f1": 0.5}


def check_tracker(tracker: Tracker) -> None:
    """Check that a tracker keeps the promises of `kdkit.api.Tracker`, in a folder of its own that is deleted after.

    It opens real records: of a tracker that sends numbers somewhere, check one that is set to send them nowhere.

    - It is a value: its options are its identity.
    - It takes numbers of several names, of steps that come again (as after a resumption), and of none.
    - A record that was closed is opened again and continued; a run that was stopped ends without scores.
    - Two records are open at once, for two run folders.
    - What it is given, and the files of the run folder that are not its own, stay as they are.

    Raises:
        AssertionError: A promise is broken; the message says which and by what.
        Exception: Whatever the tracker raises: in a run that would end the tracking, not the run.
    """
    from kdkit.api.interfaces import Tracker

    check_value(tracker, Tracker)
    with tempfile.TemporaryDirectory(prefix="kdkit-tracker-") as place:
        folders = [Path(place, name) for name in ("one run", "another")]
        for folder in folders:
            folder.mkdir()
            (folder / "run.json").write_text("{}\n", encoding="utf-8")
        first, second = (_opened(tracker, folder) for folder in folders)
        _log(tracker, first, {"student/train/loss": 2.5, "student/train/learning_rate": 1e-3}, step=1)
        _log(tracker, second, {"student/train/loss": 3.5}, step=1)
        _log(tracker, first, {"student/validation/loss": 2.0}, step=4)
        _log(tracker, first, {}, step=4)
        first.finish({})  # it was stopped
        again = _opened(tracker, folders[0])
        _log(tracker, again, {"student/train/loss": 2.25}, step=2)
        scores = dict(_SCORES)
        again.finish(scores)
        assert scores == _SCORES, f"{tracker!r} changes the scores that it is given"
        second.finish(dict(_SCORES))
        for folder in folders:
            kept = (folder / "run.json").read_text(encoding="utf-8")
            assert kept == "{}\n", f"{tracker!r} writes to the run.json of the run folder, which is kdkit's"


def _opened(tracker: Tracker, folder: Path) -> OpenTracker:
    from kdkit.api.interfaces import OpenTracker

    recipe = copy.deepcopy(_RECIPE)
    record = tracker.open(name=folder.name, folder=folder, recipe=recipe)
    assert recipe == _RECIPE, f"{tracker!r} changes the recipe that it is given"
    assert isinstance(record, OpenTracker), f"{tracker!r} opens {record!r}, which lacks a method of OpenTracker"
    return record


def _log(tracker: Tracker, record: OpenTracker, numbers: Mapping[str, float], *, step: int) -> None:
    given = dict(numbers)
    record.log(given, step=step)
    assert given == numbers, f"{tracker!r} changes the numbers that it is given"
