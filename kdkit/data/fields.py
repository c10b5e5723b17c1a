"""Rows of JSON lines as examples: fields by name or path, texts made of fields, and checks for all data sets."""

from __future__ import annotations

import json
import math
import string
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.data.jsonlines import DropCount, json_lines, open_lines
from kdkit.data.streams import no_rows
from kdkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from kdkit.api.values import Corpus, Drop, Example, SplitName
    from kdkit.system.progress import Task

FIELDS_SHOWN = 40


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
        skip_broken: bool,
        task: Task,
    ) -> None:
        """A reader.

        Args:
            make: Given an id and a row, an example, or why there is none: the end of "dropped because ...".
            id_field: The field that holds a row's id. Without it, and in rows without it: `split:line`.
            fields: For each option, the fields that it names; each must be in some row of every file.
            skip_broken: Whether lines that are not JSON are counted as left out, rather than an error.
            task: Advanced at each row.
        """
        self._make = make
        self._id_field = id_field
        self._fields = fields
        self._drops = DropCount()
        self._skip = self._drops if skip_broken else None
        self._task = task
        self._places: dict[str, str] = {}

    @property
    def drops(self) -> tuple[Drop, ...]:
        """The rows left out so far."""
        return self._drops.drops()

    def read(self, path: str, split: SplitName, *, limit: int = 0) -> tuple[Example, ...]:
        """The examples of a file, all in memory: see `stream`."""
        return tuple(self.stream(path, split, limit=limit))

    def stream(self, path: str, split: SplitName, *, limit: int = 0) -> Iterator[Example]:
        """The examples of a file, at most `limit` of them (0 for all), one after the other.

        Raises:
            MissingInput: There is no such file.
            UsageError: A line is broken, two rows have one id, or an option names a field that no row has; the last at
                the end of the file.
            DamagedData: The file is compressed, and cut or damaged.
        """
        given = 0
        seen: set[str] = set()
        with open_lines(path, option=split) as stream:
            for number, row in json_lines(stream, path, skip=self._skip):
                self._task.advance()
                _collect_names(row, "", seen)
                place = f"{path}:{number}"
                example = self._make(self._id_of(row, split, number, place), row)
                if isinstance(example, str):
                    self._drops.add(example, place)
                    continue
                yield example
                given += 1
                if limit and given >= limit:
                    break
        if seen:
            self._check_fields(seen, path)

    def _id_of(self, row: Mapping[str, Any], split: str, number: int, place: str) -> str:
        if not self._id_field:
            return f"{split}:{number}"  # no two rows have one: nothing is remembered
        given = field_value(row, self._id_field)
        name = f"{split}:{number}" if given is None or given == "" else as_text(given)
        other = self._places.setdefault(name, place)
        if other != place:
            raise UsageError(
                f'{place} has the id "{name}", and so does {other}; ids must be unique over all files, so '
                "choose another field as id, or none"
            )
        return name

    def _check_fields(self, seen: set[str], path: str) -> None:
        for option, names in self._fields.items():
            for name in names:
                if name not in seen:
                    near = get_close_matches(name, seen, n=1)
                    guess = f' (did you mean "{near[0]}"?)' if near else ""
                    raise UsageError(
                        f'{option} names the field "{name}", which no row of {path} has{guess}; '
                        f"its fields are {', '.join(sorted(seen)[:FIELDS_SHOWN])}"
                    )


def require_rows(corpus: Corpus, *, train: str, validation: str) -> Corpus:
    """The corpus; refused if a part that it needs has no rows.

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


def _collect_names(row: Mapping[str, Any], prefix: str, into: set[str]) -> None:
    for name, value in row.items():
        into.add(prefix + name)
        if isinstance(value, dict):
            _collect_names(value, f"{prefix}{name}.", into)
