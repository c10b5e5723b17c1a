"""Rows of Parquet and Arrow files, a batch in memory at a time, every fault with its row and column.

Values become those that JSON has: dates and times ISO 8601 text, decimals their digits, bytes the UTF-8 text that they
are, what is not a finite number null, a value of a dictionary what it stands for.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from kdkit.errors import DamagedData, MissingInput, UsageError
from kdkit.system.parsing import DEEPEST_ROW
from kdkit.system.wording import first_line

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from pathlib import Path

    from kdkit.data.filetypes import Format
    from kdkit.data.jsonlines import DropCount

_BATCH_ROWS, _BATCH_BYTES = 1024, 1 << 24
_MOST_COLUMNS = 100_000


def arrow_rows(
    path: Path,
    name: str,
    format_: Format,
    *,
    skip: DropCount | None,
    wanted: Collection[str] | None,
    check: Callable[[Sequence[str]], None],
) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """The number, the place and the values of each row.

    Args:
        path: The file.
        name: What to call it in messages.
        format_: "parquet", "arrow" or "arrow stream".
        skip: Where rows with a value that cannot be read are counted; without it the first one is an error.
        wanted: Columns that are needed; None for all.
        check: Called with the columns' names before any row is read.

    Raises:
        MissingInput: pyarrow is not installed.
        UsageError: A value is not text, number, list or table, or two columns that are needed have one name.
        DamagedData: The file is cut or damaged.
    """
    pa = _pyarrow(name)
    with _naming_damage(pa, name), pa.OSFile(str(path)) as file:
        schema, batches = _OPENERS[format_](pa, file)
        names = list(schema.names)
        check(names)
        chosen = _chosen(names, wanted, name)
        yield from _rows(pa, batches(chosen), chosen, name, skip)


def batch_rows(
    batches: Iterator[Any], name: str, *, skip: DropCount | None, begin: int = 0
) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """The number, the place and the values of each row of some Arrow batches or tables.

    Args:
        batches: The batches.
        name: What to call their source in messages.
        skip: Where rows with a value that cannot be read are counted; without it the first one is an error.
        begin: How many rows come before.

    Raises:
        UsageError: A value is not text, number, list or table.
    """
    number = begin
    for batch in batches:
        batch.validate(full=True)  # what is wrong in a damaged file would else be read beyond its end
        names = batch.schema.names
        columns = [_values(column) for column in batch.columns]
        for place in range(batch.num_rows):
            number += 1
            row: dict[str, Any] = {}
            for index, column in enumerate(names):
                values = columns[index]
                if values is not None:
                    row[column] = values[place]
                    continue
                try:
                    row[column] = plain(batch.column(index)[place].as_py())
                except UNREADABLE as error:
                    if skip is None:
                        raise UsageError(
                            f'{name}: row {number}, column "{column}": this {_kind(batch.column(index))} cannot be '
                            f"read as text ({first_line(error)}); correct it, choose another column, or set "
                            "skip_broken = true to leave such rows out"
                        ) from None
                    skip.add("a value of it cannot be read", f"{name}: row {number}")
                    break
            else:
                yield number, f"{name}: row {number}", row


UNREADABLE = (ValueError, TypeError, OverflowError, RecursionError, ArithmeticError, KeyError)
"""What Python and pyarrow raise of values that cannot be made into ours."""


def _values(column: Any) -> list[Any] | None:
    """The values of a column, made at once; None if one of them cannot be, which is then looked for."""
    import pyarrow as pa

    try:
        if pa.types.is_dictionary(column.type):
            places = column.indices.to_pylist()
            words = {place: plain(column.dictionary[place].as_py()) for place in set(places) - {None}}
            return [words.get(place) for place in places]
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            found: list[Any] = column.to_numpy(zero_copy_only=False).tolist()
            return found
        return [plain(value) for value in column.to_pylist()]
    except UNREADABLE:
        return None


def _kind(column: Any) -> str:
    return str(getattr(column.type, "value_type", column.type) if hasattr(column, "dictionary") else column.type)


def plain(value: Any, depth: int = 0) -> Any:
    """A value as JSON has it.

    Raises:
        ValueError: It is bytes that are not UTF-8, nested too deeply, or of a kind that JSON has nothing for.
    """
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, list | tuple | dict):
        if depth >= DEEPEST_ROW:
            raise ValueError(f"it is nested more than {DEEPEST_ROW} levels deep")
        if isinstance(value, dict):
            return {str(key): plain(each, depth + 1) for key, each in value.items()}
        return [plain(each, depth + 1) for each in value]
    for kinds, made in _MADE:
        if isinstance(value, kinds):
            return made(value)
    raise ValueError(f"there is no text for a {type(value).__name__}")


_MADE: tuple[tuple[tuple[type, ...], Callable[[Any], Any]], ...] = (
    ((float,), lambda value: value if math.isfinite(value) else None),
    ((bytes,), lambda value: value.decode("utf-8")),
    ((dt.datetime, dt.date, dt.time), lambda value: value.isoformat()),
    ((decimal.Decimal,), lambda value: format(value, "f") if value.is_finite() else None),
    ((dt.timedelta,), str),
)


def _rows(
    pa: Any, batches: Iterator[Any], chosen: Sequence[str], name: str, skip: DropCount | None
) -> Iterator[tuple[int, str, dict[str, Any]]]:
    def whole() -> Iterator[Any]:
        for batch in batches:
            yield pa.RecordBatch.from_arrays(
                [_without_nanoseconds(pa, batch.column(column)) for column in chosen], names=list(chosen)
            )

    return batch_rows(whole(), name, skip=skip)


def _without_nanoseconds(pa: Any, values: Any) -> Any:
    """Times in nanoseconds, of which Python knows nothing, in microseconds, or as text where that would lose some."""
    if not pa.types.is_timestamp(values.type) or values.type.unit != "ns":
        return values
    try:
        return values.cast(pa.timestamp("us", values.type.tz))
    except pa.ArrowInvalid:
        return values.cast(pa.string())


def _parquet(pa: Any, file: Any) -> tuple[Any, Callable[[Sequence[str]], Iterator[Any]]]:
    from pyarrow import parquet

    metadata = parquet.read_metadata(file)
    rows, size = max(metadata.num_rows, 1), 0
    for index in range(metadata.num_row_groups):
        size += max(metadata.row_group(index).total_byte_size, 0)
    schema = metadata.schema.to_arrow_schema()
    # One text for many rows is in the file once, and need not be in memory once for each.
    texts = [field.name for field in schema if pa.types.is_string(field.type) or pa.types.is_binary(field.type)]
    opened = parquet.ParquetFile(file, metadata=metadata, read_dictionary=texts, pre_buffer=False, buffer_size=1 << 16)
    batch = max(1, min(_BATCH_ROWS, _BATCH_BYTES * rows // max(size, 1)))

    def batches(chosen: Sequence[str]) -> Iterator[Any]:
        found: Iterator[Any] = opened.iter_batches(batch_size=batch, columns=list(chosen), use_threads=False)
        return found

    return schema, batches


def _arrow(pa: Any, file: Any) -> tuple[Any, Callable[[Sequence[str]], Iterator[Any]]]:
    opened = pa.ipc.open_file(file)
    return opened.schema, lambda _: (opened.get_batch(index) for index in range(opened.num_record_batches))


def _arrow_stream(pa: Any, file: Any) -> tuple[Any, Callable[[Sequence[str]], Iterator[Any]]]:
    opened = pa.ipc.open_stream(file)
    return opened.schema, lambda _: iter(opened)


_OPENERS: dict[str, Callable[[Any, Any], tuple[Any, Callable[[Sequence[str]], Iterator[Any]]]]] = {
    "parquet": _parquet,
    "arrow": _arrow,
    "arrow stream": _arrow_stream,
}


def _chosen(names: Sequence[str], wanted: Collection[str] | None, name: str) -> list[str]:
    """The columns that are needed, each there once."""
    chosen = [column for column in names if wanted is None or column in wanted]
    if len(chosen) > _MOST_COLUMNS:
        raise UsageError(f"{name} has {len(chosen):,} columns, and kdkit reads at most {_MOST_COLUMNS:,} of them")
    if len(set(chosen)) < len(chosen):
        twice = next(column for column in chosen if chosen.count(column) > 1)
        raise UsageError(f'{name} has two columns "{twice}"; give each column a name of its own')
    return chosen


def _pyarrow(name: str) -> Any:
    try:
        import pyarrow as pa
        import pyarrow.ipc
    except ImportError as error:
        raise MissingInput(
            f"{name} needs the package pyarrow, which is not installed; install it, or write its rows as JSON lines"
        ) from error
    return pa


@contextmanager
def _naming_damage(pa: Any, name: str) -> Iterator[None]:
    """Say of what pyarrow raises within that the file is damaged."""
    try:
        yield
    except (pa.ArrowException, OSError, MemoryError, UnicodeDecodeError) as error:
        raise DamagedData(
            f"{name} is cut or damaged, or not what its first bytes say ({first_line(error)}); fetch it again, or "
            "write it again"
        ) from error
