"""A file of rows as `kdkit init` sees it: its columns, what they may be for, and some rows."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.data import DropCount, Template, file_rows
from kdkit.data.datasets_library import library_for, splits_of
from kdkit.data.files import JSON
from kdkit.data.jsonlines import near_file
from kdkit.data.text_folders import ENDINGS, is_of_texts, text_files, text_rows
from kdkit.errors import MissingInput, UsageError
from kdkit.system.files import user_path
from kdkit.system.reading import open_regular
from kdkit.system.url import is_url
from kdkit.system.wording import did_you_mean, first_few, plural

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

FEWEST = 10
"""Rows of which a first recipe can be made."""
SAMPLE = 2000
"""Rows from the beginning that are looked at."""
_LONGEST_LINE, _SHOWN = 4096, 60
COUNTED = 200_000
"""Rows up to which all are counted."""
PAIRS = (
    ("prompt", "completion"),
    ("prompt", "response"),
    ("instruction", "output"),
    ("instruction", "response"),
    ("question", "answer"),
    ("query", "response"),
    ("source", "target"),
    ("input", "output"),
    ("article", "highlights"),
    ("document", "summary"),
    ("dialogue", "summary"),
    ("text", "summary"),
    ("code", "docstring"),
    ("src", "tgt"),
    ("text", "label"),
    ("sentence", "label"),
)
"""Names that columns often have: what is read, and what is written."""
CHATS = ("messages", "conversations", "conversation", "chat", "dialog")
TEXTS = ("text", "content", "document", "body", "code")
_IDS = frozenset({"id", "uid", "key", "index", "idx"})


@attrs.frozen(kw_only=True)
class Columns:
    """What a row is made of: names or templates, as the options of data sets are.

    Attributes:
        source: What is read.
        target: What is written.
        text: A text that is learned whole.
        messages: A conversation.
        is_guessed: Whether kdkit chose them by their place or kind, and not by a name that says what they are.
    """

    source: str | None = None
    target: str | None = None
    text: str | None = None
    messages: str | None = None
    is_guessed: bool = False

    def options(self) -> dict[str, str]:
        """Those that are given, as options."""
        named = {name: getattr(self, name) for name in ("source", "target", "text", "messages")}
        return {name: value for name, value in named.items() if value is not None}


@attrs.frozen(kw_only=True)
class Looked:
    """What was seen of a file or folder of rows.

    Attributes:
        path: As it was given.
        dataset: The data set that reads it.
        options: The options with which that finds it, such as `train`.
        rows: Some rows.
        count: How many there are.
        is_counted: Whether all were counted; else it is an estimate by the size of the file.
        broken: How many rows could not be read so far.
    """

    path: str
    dataset: str
    options: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]
    count: int
    is_counted: bool
    broken: int

    @property
    def rows_in_words(self) -> str:
        """How many rows there are: "about 1,200,000 rows"."""
        return f"{'' if self.is_counted else 'about '}{plural(self.count, 'row')}"

    @property
    def columns(self) -> list[str]:
        """The names of the columns, in the order of the file."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def kind_of(self, column: str) -> str:
        """What most values of a column are: text, conversation, or other."""
        values = [row[column] for row in self.rows if row.get(column) not in (None, "")]
        for kind, fits in (("text", _is_text), ("conversation", _is_conversation)):
            if values and sum(map(fits, values)) > 0.8 * len(values):
                return kind
        return "other"

    def guess(self) -> Columns:
        """What the columns are for; of columns of which that cannot be told, that it is a guess and nothing else.

        Raises:
            UsageError: There are no columns.
        """
        kinds = {column: self.kind_of(column) for column in self.columns}
        chats = [column for column in (*CHATS, *kinds) if kinds.get(column) == "conversation"]
        if chats:
            return Columns(messages=chats[0])
        texts = [column for column, kind in kinds.items() if kind == "text" and column.lower() not in _IDS]
        by_name = {column.lower(): column for column in texts}
        for source, target in PAIRS:
            if source in by_name and target in by_name:
                return Columns(source=self._with_input(by_name, source), target=by_name[target])
        if len(texts) == 1 or (texts and not set(texts) - {by_name.get(name) for name in TEXTS}):
            return Columns(text=next((by_name[name] for name in TEXTS if name in by_name), texts[0]))
        if len(texts) == 2:
            return Columns(source=texts[0], target=texts[1], is_guessed=True)
        within = next((name for name, value in self.rows[0].items() if _is_rows(value)), None)
        if self.count == 1 and within is not None:
            raise UsageError(
                f"{self.path} is one object, whose rows are in {within!r}; write these as JSON lines, one object a line"
            )
        if not self.columns:
            raise UsageError(f"{self.path} has no columns; give a file whose rows have some")
        return Columns(is_guessed=True)

    def _with_input(self, by_name: Mapping[str, str], source: str) -> str:
        """An instruction with the input that it is about, as data sets of Alpaca's kind have both."""
        if source == "instruction" and "input" in by_name:
            return "{" + by_name[source] + "}\n{" + by_name["input"] + "}"
        return by_name[source]

    def check(self, columns: Columns) -> None:
        """Refuse columns that the file does not have or that nobody named, and too few rows.

        Raises:
            UsageError: It lacks one, none is named, or it has too few rows.
        """
        if not columns.options():
            raise UsageError(
                f"{self.path} has the columns {first_few(self.columns)}, which do not say what is read and what is "
                "written; give --source and --target, or --text, or --messages"
            )
        templates, there = [Template.parse(value) for value in columns.options().values()], self.columns
        for field in (field for template in templates for field in template.fields):
            if field.partition(".")[0] not in there:
                raise UsageError(
                    f"{self.path} has no column {field}{did_you_mean(field, there)}; it has {first_few(there)}"
                )
        if self.count < FEWEST:
            raise UsageError(
                f"{self.path} has {plural(self.count, 'row')}, and a first recipe needs at least {FEWEST}: some train, "
                "and some are held out"
            )


def look(path: str) -> Looked:
    """Look at a file of rows, a folder of texts, or one that the library datasets reads.

    Raises:
        MissingInput: It is not there.
        UsageError: It is of a kind that kdkit does not read, or holds no row.
    """
    place = user_path(path)
    if not is_url(path) and place.is_dir():
        return _texts(path) if is_of_texts(place) else _folder(path)
    if not is_url(path) and not place.exists():
        raise MissingInput(f"{path} is not there{near_file(place)}; give a file of rows or a folder")
    if place.suffix in ENDINGS and not is_url(path):
        _refuse_prose(place, path)
    try:
        return _file(path, "jsonl", lambda skip: file_rows(path, formats=JSON, skip=skip, option="the data set"))
    except UsageError as not_json:
        try:
            return _file(path, "table", lambda skip: file_rows(path, skip=skip, option="the data set"))
        except UsageError as error:
            raise error from not_json


def _refuse_prose(place: Path, path: str) -> None:
    """Refuse a text that is neither a table nor JSON: it would be read as a table of one column."""
    with open_regular(place) as file:
        head = file.readline(_LONGEST_LINE).strip()
    may_be_rows = place.suffix == ".txt" and any(each in head for each in (b",", b";", b"\t", b"|", b"{", b"["))
    if not head or may_be_rows:
        return
    shown = head.decode("utf-8", "replace")[:_SHOWN]
    example = json.dumps({"text": shown}, ensure_ascii=False)
    raise UsageError(
        f"{path} is plain text; give the folder with all texts, or write them as JSON lines, one text a line, such as "
        f"{example}"
    )


def _file(path: str, dataset: str, rows: Callable[[DropCount], Iterator[Any]]) -> Looked:
    skip = DropCount()
    reading = rows(skip)
    found = [row.values for row in islice(reading, SAMPLE)]
    if not found:
        raise UsageError(f"{path} holds no row; give a file that does")
    count = len(found) + sum(1 for _ in islice(reading, COUNTED - len(found)))
    broken = sum(drop.count for drop in skip.drops())
    return Looked(
        path=path,
        dataset=dataset,
        options={"train": path},
        rows=found,
        count=count if count < COUNTED else _estimated(path, found),
        is_counted=count < COUNTED,
        broken=broken,
    )


def _estimated(path: str, rows: Sequence[Mapping[str, Any]]) -> int:
    """How many rows a file has, by its size and that of its first ones; one that is compressed has more."""
    size = sum(len(str(value)) for row in rows for value in row.values()) / len(rows)
    return COUNTED if is_url(path) else max(COUNTED, round(user_path(path).stat().st_size / max(size, 1)))


def _texts(path: str) -> Looked:
    files = text_files(path, option="the data set")
    skip = DropCount()
    rows = [{"text": row.values["text"]} for row in text_rows(files[:SAMPLE], skip=skip)]
    broken = sum(drop.count for drop in skip.drops())
    return Looked(
        path=path,
        dataset="text-files",
        options={"train": path},
        rows=rows,
        count=len(files) - broken,
        is_counted=True,
        broken=broken,
    )


def _folder(path: str) -> Looked:
    library_for(path)  # where it is not installed, it has not looked
    try:
        splits = splits_of(path)
    except MissingInput as error:
        raise MissingInput(
            f"{path} is a folder in which the library datasets finds no rows; give the file with the rows"
        ) from error
    train = "train" if "train" in splits else next(iter(splits))
    others = {
        split: name
        for split, names in (("validation", ("validation", "valid", "dev")), ("test", ("test",)))
        for name in names
        if name in splits and name != train
    }
    rows = [dict(row) for row in splits[train].select(range(min(SAMPLE, len(splits[train]))))]
    if not rows:
        raise UsageError(f"{path} holds no row; give a folder that does")
    return Looked(
        path=path,
        dataset="hf-dataset",
        options={"path": path, "train": train, **others},
        rows=rows,
        count=len(splits[train]),
        is_counted=True,
        broken=0,
    )


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) for each in value)


def _is_conversation(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(each, dict) and ({"role", "content"} <= each.keys() or {"from", "value"} <= each.keys())
        for each in value
    )
