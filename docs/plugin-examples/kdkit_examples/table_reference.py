"""Published numbers: a table that somebody published, to print beside yours."""

import csv
from pathlib import Path

import attrs

import kdkit
from kdkit.api import PublishedRun
from kdkit.errors import MissingInput


@attrs.frozen(kw_only=True)
class Table:
    """A CSV file with a line for each published run.

    The column `run` has the runs' names. A column named like a key of a recipe (`loss.alpha`) has what was varied, one
    named like a score (`truth/text/f1`) has that score, and any other has a number with its unit (`size (MiB)`).
    """

    path: str = kdkit.option("The CSV file.")
    citation: str = kdkit.option("Who published the numbers, where and when.")

    @property
    def source(self):
        """Stands above the numbers in the report."""
        return self.citation

    def runs(self):
        """Every line of the file."""
        if not Path(self.path).exists():
            raise MissingInput(f"there is no file {self.path}; give path the path of one")
        with open(self.path, encoding="utf-8", newline="") as file:
            return [self._run(line) for line in csv.DictReader(file)]

    def _run(self, line):
        numbers = {name: float(text) for name, text in line.items() if name != "run"}
        scores = {tuple(name.split("/")): value for name, value in numbers.items() if name.count("/") == 2}
        values = {name: value for name, value in numbers.items() if "." in name and "/" not in name}
        others = {name: value for name, value in numbers.items() if name not in values and name.count("/") != 2}
        return PublishedRun(name=line["run"], values=values, scores=scores, numbers=others)
