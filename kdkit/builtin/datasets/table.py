"""The data set `table`: CSV, TSV, Parquet, Arrow and JSON, with fields or templates for source and target."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.api.options import option
from kdkit.data.csv_rows import Dialect
from kdkit.data.file_options import FileOptions

if TYPE_CHECKING:
    from typing import Any


def _one_character(_: object, field: attrs.Attribute[Any], value: str) -> None:
    if len(value) > 1 or value in {"\r", "\n"}:
        raise ValueError(f"{field.name} must be one character, is {value!r}")


@attrs.frozen(kw_only=True)
class Table(FileOptions):
    """Rows of tables: CSV and TSV (plain, gzip or zstandard), Parquet, Arrow and Feather files, streams of Arrow."""

    delimiter: str = option(
        'Of CSV and its like: what stands between values; "" takes what the header has most of: a comma, tab, '
        "semicolon or bar.",
        default="",
        check=_one_character,
    )
    quote: str = option(
        'Of CSV and its like: what stands around values with delimiters or line ends in them; "" for nothing.',
        default='"',
        check=_one_character,
    )
    columns: tuple[str, ...] = option(
        "Of CSV and its like: the columns' names, for files without a header.", default=()
    )

    @property
    def dialect(self) -> Dialect:
        """How values are separated."""
        return Dialect(delimiter=self.delimiter, quote=self.quote, columns=self.columns)
