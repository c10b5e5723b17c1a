"""Rows of comma-, tab- or otherwise separated values, every fault with its line.

A value is text as it stands: "007" stays "007". A header names the columns, unless the dialect does.
"""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING, Any, BinaryIO

import attrs

from kdkit.data import compressed
from kdkit.errors import UsageError
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from kdkit.data.jsonlines import DropCount

_LONGEST = 1 << 26
"""Characters of a value, and bytes of a line, at most."""
_DELIMITERS = ",\t;|"


@attrs.frozen(kw_only=True)
class Dialect:
    """How values are separated.

    Attributes:
        delimiter: What stands between them; "" to see it from the header.
        quote: What values with delimiters or line ends in them are within; "" for none.
        columns: The columns' names, for files without a header.
    """

    delimiter: str = ""
    quote: str = '"'
    columns: tuple[str, ...] = ()


def csv_rows(
    stream: BinaryIO,
    name: str,
    dialect: Dialect,
    *,
    skip: DropCount | None,
    wanted: Collection[str] | None,
    check: Callable[[Sequence[str]], None],
) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """The number, the place and the values of each row; blank lines are passed over.

    Args:
        stream: Decompressed bytes.
        name: What to call the file in messages.
        dialect: How values are separated.
        skip: Where rows of too few or too many values are counted; without it the first one is an error.
        wanted: Columns that are needed; None for all.
        check: Called with the columns' names before any row is read.

    Raises:
        UsageError: A row has more or fewer values than there are columns, quotes are not closed, or it is not UTF-8.
        DamagedData: The compressed stream is cut or damaged.
    """
    lines = _Lines(stream, name)
    first = next(lines, None)
    while first is not None and not first.strip():
        first = next(lines, None)
    if first is None:
        return
    csv.field_size_limit(_LONGEST)
    reader = csv.reader(
        _chained(first, lines),
        delimiter=dialect.delimiter or _delimiter_of(first, name, dialect.quote),
        quotechar=dialect.quote or None,
        quoting=csv.QUOTE_MINIMAL if dialect.quote else csv.QUOTE_NONE,
        strict=True,
    )
    offset, columns, number = lines.number - 1, list(dialect.columns), 0
    for line, cells in _cells(reader, name, offset, dialect):
        if not columns:
            columns = cells
            check(columns)
            kept = _kept(columns, wanted, name)
            continue
        if not number and dialect.columns:
            check(columns)
            kept = _kept(columns, wanted, name)
        number += 1
        if len(cells) != len(columns):
            if skip is None:
                raise UsageError(
                    f"{name}:{line}: this row has {plural(len(cells), 'value')}, and there are "
                    f"{plural(len(columns), 'column')}; correct it, put values with delimiters in quotes, or set "
                    "skip_broken = true to leave such rows out"
                )
            skip.add("it has too few or too many values", f"{name}:{line}")
            continue
        yield number, f"{name}:{line}", {column: cells[place] for column, place in kept}


def _cells(reader: Any, name: str, offset: int, dialect: Dialect) -> Iterator[tuple[int, list[str]]]:
    """The values of each row, and the line where it begins."""
    while True:
        line = offset + reader.line_num + 1
        try:
            cells = next(reader, None)
        except csv.Error as error:
            raise UsageError(f"{name}:{line}: {_fault(str(error), dialect)}") from None
        if cells is None:
            return
        if cells and (len(cells) > 1 or cells[0].strip()):
            yield line, cells


def _fault(said: str, dialect: Dialect) -> str:
    """What is wrong with a row, in our words for what the library says often."""
    if "unexpected end of data" in said or "field larger" in said:
        return (
            f"the quote {dialect.quote} that opens a value of this row is never closed; close it, or set "
            'quote = "" if quotes are characters like any other'
        )
    if "expected after" in said:
        return (
            f"a value of this row goes on after its closing quote {dialect.quote}; write a quote within a value twice, "
            'or set quote = "" if quotes are characters like any other'
        )
    if "new-line character" in said:
        return "a carriage return stands outside of quotes in this row; put the value in quotes, or take it out"
    return f"this row cannot be read ({said}); correct it"


def _kept(columns: Sequence[str], wanted: Collection[str] | None, name: str) -> list[tuple[str, int]]:
    """The columns that are needed, with their places."""
    kept: dict[str, int] = {}
    for place, column in enumerate(columns):
        if wanted is None or column in wanted:
            if column in kept:
                raise UsageError(f'{name} has two columns "{column}"; give each column a name of its own')
            kept[column] = place
    return list(kept.items())


def _delimiter_of(header: str, name: str, quote: str) -> str:
    """The delimiter that a header has most of, outside of quotes; a comma where it has none."""
    outside = "".join(header.split(quote)[::2]) if quote else header
    counts = {each: outside.count(each) for each in _DELIMITERS}
    best = max(counts, key=lambda each: (counts[each], -_DELIMITERS.index(each)))
    if not counts[best]:
        return "\t" if ".tsv" in name.lower() else ","
    return best


class _Lines:
    """The lines of a stream as text, with their ends."""

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream, self._name, self.number = stream, name, 0

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        try:
            line = self._stream.readline(_LONGEST)
        except compressed.ERRORS as error:
            raise compressed.damaged(self._name, self.number + 1, error) from error
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) == _LONGEST and not line.endswith(b"\n"):
            raise UsageError(
                f"{self._name}:{self.number}: this line has more than {_LONGEST:,} bytes; write each row on a line of "
                "its own"
            )
        if self.number == 1 and b"\r" in line and not line.endswith(b"\n"):
            raise UsageError(
                f"{self._name}: its lines end with carriage returns alone; convert it, for example with "
                r"`tr '\r' '\n'`"
            )
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise UsageError(
                f"{self._name}:{self.number}:{error.start + 1}: this is not UTF-8; convert the file, for example with "
                "`iconv -f latin1 -t UTF-8`"
            ) from None
        return text.removeprefix("\ufeff") if self.number == 1 else text


def _chained(first: str, rest: Iterator[str]) -> Iterator[str]:
    yield first
    yield from rest
