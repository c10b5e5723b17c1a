"""Rows of files as examples: fields by name or path, texts made of fields, and checks for all data sets."""

from __future__ import annotations

import json
import math
import string
from difflib import get_close_matches
from itertools import islice
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.data.files import JSON, file_rows
from kdkit.data.jsonlines import DropCount
from kdkit.data.known_ids import KnownIds
from kdkit.data.streams import no_rows
from kdkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from kdkit.api.values import Corpus, Drop, Example, SplitName
    from kdkit.data.csv_rows import Dialect
    from kdkit.data.files import Row
    from kdkit.system.progress import Task

FIELDS_SHOWN, FIELD_SHOWN = 40, 60
"""How many fields a message names, and how many characters of each."""


def field_value(row: Mapping[str, Any], path: str) -> Any:
    """The value of a field; None where it is missing or null.

    Args:
        row: The row.
        path: The field's name, or names with dots between them: `meta.title` is `title` in the object `meta`
            (unless the row has a field `meta.title` itself).
    """
    if path in row:
        return row[path]
    value: Any = row
    for name in path.split("."):
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def as_text(value: Any) -> str:
    """A value as text: strings as they are, lists joined with newlines, the rest as JSON.

    Null is nothing, and so are NaN and the infinities, which JSON has no words for.
    """
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    if isinstance(value, str):
        return value
    if isinstance(value, list):
        return "\n".join(as_text(item) for item in value if item is not None)
    return json.dumps(value, ensure_ascii=False)


@attrs.frozen(kw_only=True)
class Template:
    """A text with fields in it: `summarize: {text}`.

    Attributes:
        pieces: Literal text, and the field after it (None after the last).
    """

    pieces: tuple[tuple[str, str | None], ...]

    @classmethod
    def parse(cls, text: str) -> Template:
        """A template from its text: a field's name or path alone, or a text with field names in braces.

        Braces hold a name or a path and nothing more: no attributes, indices, conversions or format codes. Doubled
        braces stand for themselves.

        Raises:
            UsageError: It is neither.
        """
        if "{" not in text and "}" not in text:
            if not text.strip():
                raise UsageError(
                    f"{text!r} does not name a field; give a field's name, or a text with field names in braces"
                )
            return cls(pieces=(("", text),))
        try:
            parsed = list(string.Formatter().parse(text))
        except ValueError as error:
            raise UsageError(f"the template {text!r} is wrong: {error}; write a literal brace twice") from None
        for _, name, code, conversion in parsed:
            if name is not None and (not name.strip() or code or conversion):
                raise UsageError(f"the template {text!r} is wrong: write only the name of a field in braces")
        if all(name is None for _, name, _, _ in parsed):
            raise UsageError(f"the template {text!r} has no field; write field names in braces")
        return cls(pieces=tuple((literal, name) for literal, name, _, _ in parsed))

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields it reads."""
        return tuple(name for _, name in self.pieces if name is not None)

    def fill(self, row: Mapping[str, Any]) -> str | None:
        """The text for a row; None where a field is missing or null, or all of them are blank."""
        values = {name: field_value(row, name) for name in self.fields}
        if any(value is None for value in values.values()):
            return None
        texts = {name: as_text(value) for name, value in values.items()}
        if not any(text.strip() for text in texts.values()):
            return None
        return "".join(literal + (texts[name] if name is not None else "") for literal, name in self.pieces)


class RowReader:
    """Reads files of rows into examples.

    It counts rows that are left out, refuses an id that came before, and refuses a field that no row of a file has.
    """

    def __init__(
        self,
        make: Callable[[str, Mapping[str, Any]], Example | str],
        *,
        id_field: str | None,
        fields: Mapping[str, tuple[str, ...]],
        optional: Collection[str] = (),
        skip_broken: bool,
        task: Task,
        formats: Collection[str] = JSON,
        dialect: Dialect | None = None,
    ) -> None:
        """A reader.

        Args:
            make: Given an id and a row, an example, or why there is none: the end of "dropped because ...".
            id_field: The field that holds a row's id. Without it, and in rows without it: `split:line`.
            fields: For each option, the fields that it names; each must be in some row of every file.
            optional: Those of the options whose fields need not be.
            skip_broken: Whether broken rows are counted as left out, rather than an error.
            task: Advanced at each row.
            formats: What kinds of files are read.
            dialect: How the values of a table of values are separated.
        """
        self._make = make
        self._id_field = id_field
        self._fields, self._optional = fields, frozenset(optional)
        self._drops = DropCount()
        self.skip = self._drops if skip_broken else None
        self._task = task
        self._formats, self._dialect = formats, dialect
        self._ids = KnownIds()
        self._seen: dict[str, set[str]] = {}

    @property
    def drops(self) -> tuple[Drop, ...]:
        """The rows left out so far."""
        return self._drops.drops()

    @property
    def wanted(self) -> frozenset[str]:
        """The columns in which the fields may be."""
        return columns_of(path for names in self._fields.values() for path in names)

    def read(self, path: str, split: SplitName, *, limit: int = 0) -> tuple[Example, ...]:
        """The examples of a file, all in memory: see `stream`."""
        return tuple(self.stream(path, split, limit=limit))

    def stream(self, path: str, split: SplitName, *, limit: int = 0) -> Iterator[Example]:
        """The examples of a file, at most `limit` of them (0 for all), one after the other.

        Raises:
            MissingInput: There is no such file.
            UsageError: A row is broken, two rows have one id, or an option names a field that no row has; the last at
                the end of the file, or at its beginning where its columns have names.
            DamagedData: The file is cut or damaged.
        """
        made = self.examples(self.rows(path, split), path, prefix=split)
        yield from (example for example, _ in islice(made, limit or None))
        self.check_fields()

    def rows(self, path: str, option: str) -> Iterator[Row]:
        """The rows of a file, with the fields that are needed."""
        return file_rows(
            path,
            option=option,
            formats=self._formats,
            dialect=self._dialect,
            skip=self.skip,
            wanted=self.wanted,
            check=lambda columns: self.check_columns(columns, path),
        )

    def examples(self, rows: Iterable[Row], origin: str, *, prefix: str) -> Iterator[tuple[Example, Mapping[str, Any]]]:
        """The examples that rows make, each with the values of its row.

        Args:
            rows: The rows.
            origin: Where they come from, for messages.
            prefix: What the ids of rows begin with that have none: "train".

        Raises:
            UsageError: Two rows have one id.
        """
        seen = self._seen.setdefault(origin, set())
        for number, place, row in rows:
            self._task.advance()
            _collect_names(row, "", seen)
            example = self._make(self._id_of(row, prefix, number, place), row)
            if isinstance(example, str):
                self._drops.add(example, place)
                continue
            yield example, row

    def check_fields(self) -> None:
        """Refuse a field that no row of some origin has had, and an id that two have had; called when all are read.

        Raises:
            UsageError: An option names such a field, or two rows have one id.
        """
        self._ids.finish()
        for origin, seen in self._seen.items():
            if seen:
                self._check_fields(seen, origin)

    def _id_of(self, row: Mapping[str, Any], split: str, number: int, place: str) -> str:
        if not self._id_field:
            return f"{split}:{number}"  # no two rows have one: nothing is remembered
        given = field_value(row, self._id_field)
        name = f"{split}:{number}" if given is None or given == "" else as_text(given)
        self._ids.add(name, place)
        return name

    def check_columns(self, columns: Sequence[str], path: str) -> None:
        """Refuse a field whose column is not there, before any row is read."""
        there = set(columns)
        fields = {name for names in self._fields.values() for name in names}
        self._check_fields(there | {name for name in fields if there.intersection(_beginnings(name))}, path)

    def _check_fields(self, seen: set[str], path: str) -> None:
        for option, names in self._fields.items():
            for name in names if option not in self._optional else ():
                if name not in seen:
                    near = get_close_matches(name, seen, n=1)
                    guess = f' (did you mean "{near[0]}"?)' if near else _delimiter(seen)
                    raise UsageError(
                        f'{option} names the field "{name}", which no row of {path} has{guess}; '
                        f"its fields are {', '.join(name[:FIELD_SHOWN] for name in sorted(seen)[:FIELDS_SHOWN])}"
                    )


def _delimiter(names: Collection[str]) -> str:
    """What separates the columns of a table that seems to have one, as a hint; else empty."""
    only = next(iter(names)) if len(names) == 1 else ""
    found = next((each for each in ";\t|" if each in only), None)
    return f" (set data.delimiter = {json.dumps(found)}?)" if found else ""


def require_rows(corpus: Corpus, *, train: str, validation: str) -> Corpus:
    """The corpus itself, if it has rows to train and to validate with; otherwise an error.

    Args:
        corpus: The rows.
        train: Where the training rows come from, for the error.
        validation: Where the validation rows come from.

    Raises:
        UsageError: A part has none.
    """
    for name, rows, origin in (("training", corpus.train, train), ("validation", corpus.validation, validation)):
        if not rows:
            raise UsageError(no_rows(name, origin, corpus.drops))
    return corpus


def columns_of(fields: Iterable[str]) -> frozenset[str]:
    """The columns in which some fields may be."""
    return frozenset(name for field in fields for name in _beginnings(field))


def _beginnings(path: str) -> list[str]:
    """The columns in which a field may be: `meta.title` in itself, or in `meta`."""
    parts = path.split(".")
    return [".".join(parts[:count]) for count in (len(parts), 1)]


def _collect_names(row: Mapping[str, Any], prefix: str, into: set[str]) -> None:
    for name, value in row.items():
        into.add(prefix + name)
        if isinstance(value, dict):
            _collect_names(value, f"{prefix}{name}.", into)
