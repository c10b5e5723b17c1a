"""A data set: rows that a query selects from an SQLite database."""

import sqlite3
from contextlib import closing
from pathlib import Path

import attrs

import kdkit
from kdkit.data import Part, Row, RowOptions
from kdkit.errors import MissingInput


@attrs.frozen(kw_only=True)
class Sqlite(RowOptions):
    """Rows that a query selects from an SQLite database."""

    path: str = kdkit.option("The database.")
    query: str = kdkit.option("Selects the rows.", default="select * from rows")

    def parts(self, split):
        """All rows are training rows; `validation_share` and `test_share` hold some out."""
        return [Part(name=self.path, rows=self._read)] if split == "train" else []

    def _read(self, _reader):
        if not Path(self.path).exists():
            raise MissingInput(f"there is no database {self.path}; give path the path of one")
        with closing(sqlite3.connect(self.path)) as database:
            cursor = database.execute(self.query)
            names = [column[0] for column in cursor.description]
            for number, values in enumerate(cursor, 1):
                yield Row(number, f"{self.path}: row {number}", dict(zip(names, values, strict=True)))
