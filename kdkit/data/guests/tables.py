"""Parquet files of lists, a batch in memory at a time, as NumPy arrays."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from kdkit.errors import DamagedData, MissingInput, UsageError
from kdkit.system.reading import check_regular
from kdkit.system.wording import first_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

ROWS = 64
"""Rows of a batch: of 1,000 tokens with 128 entries each, 100 MB."""


@attrs.frozen(kw_only=True)
class Place:
    """Where a batch begins.

    Attributes:
        file: Its file.
        row: The number of its first row, counted from 1.
    """

    file: Path
    row: int


def columns_of(file: Path) -> list[str]:
    """The names of a file's columns.

    Raises:
        MissingInput: pyarrow is not installed.
        DamagedData: It is cut or damaged.
    """
    with _open(file) as parquet:
        return list(parquet.schema_arrow.names)


def rows_of(file: Path) -> int:
    """How many rows a file has.

    Raises:
        DamagedData: It is cut or damaged.
    """
    with _open(file) as parquet:
        return int(parquet.metadata.num_rows)


def table_batches(files: Sequence[Path], columns: Sequence[str]) -> Iterator[tuple[Place, Any]]:
    """Where each batch of the files begins, and its record batch of some columns.

    Raises:
        DamagedData: A file is cut or damaged.
        UsageError: A file lacks a column.
    """
    for file in files:
        with _open(file) as parquet:
            lacking = [name for name in columns if name not in parquet.schema_arrow.names]
            if lacking:
                raise UsageError(f"{file} has no column {lacking[0]}, which {files[0]} has; write all files alike")
            row = 1
            for batch in parquet.iter_batches(batch_size=ROWS, columns=list(columns)):
                batch.validate(full=True)
                yield Place(file=file, row=row), batch
                row += batch.num_rows


def lists_of(column: Any) -> list[npt.NDArray[Any]]:
    """The list of each row of a column, as arrays; empty where there is none."""
    offsets, values = _unwrapped(column)
    flat = values.to_numpy(zero_copy_only=False)
    return [flat[start:stop] for start, stop in pairwise(offsets)]


def nested_of(column: Any, place: Place, name: str) -> list[list[npt.NDArray[Any]]]:
    """The lists within the list of each row of a column, as arrays; an inner list that is null is empty.

    Raises:
        UsageError: The column does not hold lists of lists of numbers.
    """
    import pyarrow as pa

    outer, inner = _unwrapped(column)
    if not pa.types.is_list(inner.type) and not pa.types.is_large_list(inner.type) and not _is_fixed(inner.type):
        raise UsageError(
            f"{place.file}: row {place.row}, column {name} holds {column.type}, but lists of lists of numbers are "
            "needed, one list a position"
        )
    lists = lists_of(inner)
    return [lists[start:stop] for start, stop in pairwise(outer)]


def _unwrapped(column: Any) -> tuple[npt.NDArray[np.int64], Any]:
    """The offsets of each row's values, and the values of all rows."""
    import pyarrow as pa

    if _is_fixed(column.type):
        column = column.cast(pa.list_(column.type.value_type))
    lengths = np.asarray(column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False), np.int64)
    return np.concatenate([[0], np.cumsum(lengths)]), column.flatten()


def _is_fixed(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_fixed_size_list(kind))


@contextmanager
def _open(file: Path) -> Iterator[Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise MissingInput(
            f"{file} needs the package pyarrow, which is not installed; install it with `pip install pyarrow`"
        ) from error
    check_regular(file)
    try:
        with pq.ParquetFile(str(file)) as parquet:
            yield parquet
    except FileNotFoundError as error:
        raise MissingInput(f"{file} does not exist; name the file or folder of log-probabilities") from error
    except (pa.ArrowException, OSError, MemoryError) as error:
        raise DamagedData(
            f"{file} is cut or damaged ({first_line(error)}); fetch it again, or write it again"
        ) from error
