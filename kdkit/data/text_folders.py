"""Folders of plain text: which files they have, and each of them as a row."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from kdkit.data.files import Row, files_of
from kdkit.data.jsonlines import near_file
from kdkit.errors import MissingInput, UsageError
from kdkit.system.files import user_path
from kdkit.system.reading import read_text
from kdkit.system.url import is_url

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kdkit.data.jsonlines import DropCount

ENDINGS = (".txt", ".md", ".rst")
_OF_ROWS = frozenset({".json", ".jsonl", ".csv", ".tsv", ".parquet", ".arrow"})


def text_files(name: str, *, option: str, endings: Sequence[str] = ENDINGS) -> list[str]:
    """The files that a folder, a file or a pattern names, in order.

    Of a folder those with such endings, and of the folders in it; what begins with a dot is left out.

    Raises:
        MissingInput: There is none.
        UsageError: It is a URL.
    """
    if is_url(name):
        raise UsageError(f"{option} names {name}, but a folder of texts has to be on this machine; fetch it first")
    found: list[str] = []
    for each in files_of(name, option=option):
        path = user_path(each)
        if path.is_dir():
            found += _within(path, each, endings)
        elif path.exists():
            found.append(each)
        else:
            raise MissingInput(f"{option} names {each}, which is not there{near_file(path)}; give the folder of texts")
    if not found:
        raise MissingInput(
            f"{name} has no file whose name ends with {', '.join(endings)}; give {option} another folder, or name "
            "other endings"
        )
    return found


def text_rows(files: Sequence[str], *, skip: DropCount | None = None) -> Iterator[Row]:
    """Each file as a row: its `text`, its `path`, and the `folder` that it is in.

    Args:
        files: Their paths.
        skip: Where files that are not text are counted; without it the first one is an error.

    Raises:
        UsageError: A file is not UTF-8.
        DamagedData: It is not a regular file.
    """
    for number, name in enumerate(files, 1):
        try:
            text = read_text(user_path(name), encoding="utf-8-sig")
        except UnicodeDecodeError as error:
            if skip is None:
                raise UsageError(
                    f"{name}: is not UTF-8 (byte {error.start} is 0x{error.object[error.start]:02x}); convert it, or "
                    "leave such files out with data.skip_broken = true"
                ) from error
            skip.add("it is not UTF-8", name)
            continue
        yield Row(number, name, {"text": text, "path": name, "folder": Path(name).parent.as_posix()})


def is_of_texts(folder: Path) -> bool:
    """Whether a folder, or those in it, have files of text and none of rows."""
    names = [name for _, _, files in os.walk(folder) for name in files]
    return any(name.endswith(ENDINGS) for name in names) and not any(
        suffix in _OF_ROWS for name in names for suffix in Path(name).suffixes
    )


def _within(folder: Path, name: str, endings: Sequence[str]) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        inner = Path(place).relative_to(folder)
        for file in sorted(files):
            if file.endswith(tuple(endings)) and not file.startswith("."):
                yield (Path(name) / inner / file).as_posix()
