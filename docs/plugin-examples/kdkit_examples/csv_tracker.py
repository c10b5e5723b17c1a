"""A tracker: every number of a run as a line of a CSV file."""

import csv
from pathlib import Path

import attrs

import kdkit
from kdkit.api import TRACKING_FOLDER


@attrs.frozen(kw_only=True)
class CsvFile:
    """A CSV file in the run folder: step, name, value."""

    file: str = kdkit.option("What the file is called.", default="numbers.csv")

    def open(self, *, name, folder, recipe):
        """Begin the file, or go to its end: a run that was stopped continues its record."""
        path = Path(folder, TRACKING_FOLDER, self.file)
        path.parent.mkdir(exist_ok=True)
        return OpenCsvFile(path=path)


@attrs.define(kw_only=True)
class OpenCsvFile:
    """The file of one run."""

    path: Path
    last_step: int = 0

    def log(self, numbers, *, step):
        """A line for each number. After a resumption steps come again: the later line holds."""
        self.last_step = step
        with self.path.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([step, name, value] for name, value in numbers.items())

    def finish(self, scores):
        """The scores belong to the last step; a run that was stopped has none."""
        self.log(scores, step=self.last_step)
