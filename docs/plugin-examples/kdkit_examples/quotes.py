"""A data set of its own shape: it makes its rows, names them, and splits them itself."""

from pathlib import Path

import attrs

import kdkit
from kdkit.api import Drop, Example, share
from kdkit.data import Splitter, gathered, require_streamed
from kdkit.errors import MissingInput


@attrs.frozen(kw_only=True)
class Quotes:
    """Who said it?"""

    path: str = kdkit.option("The file: on each line a text, a tab and who said it.")
    validation_share: float = kdkit.option("Share of the lines that validate.", default=0.1, check=share)
    test_share: float = kdkit.option("Share of the lines that test.", default=0.0, check=share)

    def stream(self, progress):
        """Every line, or why it is left out."""
        if not Path(self.path).exists():
            raise MissingInput(f"there is no file {self.path}; give path the path of one")
        # Refuses a data set without a row in train or in validation; test may be empty.
        yield from require_streamed(self._rows(), train=self.path, validation=f"the validation_share of {self.path}")

    def _rows(self):
        splitter = Splitter(validation_share=self.validation_share, test_share=self.test_share)
        with open(self.path, encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                text, _, name = line.rstrip("\n").partition("\t")
                if not name:
                    yield Drop(reason="it does not say who said it", count=1, first=(f"{self.path}:{number}",))
                    continue
                row = Example(id=f"line {number}", source=text, target=name)  # ids are text, and unique
                yield splitter.split_of(row.id), row

    def load(self, progress):
        """All rows at once, for whoever asks for them so."""
        return gathered(self.stream(progress))
