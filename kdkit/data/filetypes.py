"""Files that are not JSON lines, known by how they begin, so that a message can say what they are."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

_EXPORT = "write its rows as JSON lines, one object a line"
_UTF8 = "convert it to UTF-8, for example with `iconv -t UTF-8`"


@attrs.frozen
class FileType:
    """A kind of file that is not JSON lines.

    Attributes:
        name: What it is, with its article.
        advice: What to do with it.
    """

    name: str
    advice: str


_BEGINNINGS: Mapping[bytes, FileType] = {
    b"PAR1": FileType("a Parquet file", f"{_EXPORT}: with pandas, DataFrame.to_json(orient='records', lines=True)"),
    b"ARROW1": FileType("an Arrow file", _EXPORT),
    b"\xff\xff\xff\xff": FileType("a stream of Arrow records", _EXPORT),
    b"ORC": FileType("an ORC file", _EXPORT),
    b"Obj\x01": FileType("an Avro file", _EXPORT),
    b"SQLite format 3\x00": FileType("an SQLite database", _EXPORT),
    b"\x89HDF\r\n": FileType("an HDF5 file", _EXPORT),
    b"\x93NUMPY": FileType("a NumPy array", _EXPORT),
    b"\xfd7zXZ\x00": FileType("compressed by xz", "decompress it first (`xz -d`)"),
    b"BZh": FileType("compressed by bzip2", "decompress it first (`bzip2 -d`)"),
    b"\x04\x22\x4d\x18": FileType("compressed by lz4", "decompress it first (`lz4 -d`)"),
    b"PK\x03\x04": FileType("a ZIP archive", "extract the file with the rows"),
    b"PK\x05\x06": FileType("an empty ZIP archive", "give another file, with the rows"),
    b"7z\xbc\xaf\x27\x1c": FileType("a 7z archive", "extract the file with the rows"),
    b"\xff\xfe\x00\x00": FileType("UTF-32 text", _UTF8),
    b"\x00\x00\xfe\xff": FileType("UTF-32 text", _UTF8),
    b"\xff\xfe": FileType("UTF-16 text", _UTF8),
    b"\xfe\xff": FileType("UTF-16 text", _UTF8),
    b"{\x00": FileType("UTF-16 text", _UTF8),
    b"\x00{": FileType("UTF-16 text", _UTF8),
    b"version https://git-lfs": FileType("a pointer of Git LFS", "download the file itself (`git lfs pull`)"),
    b"<!DOCTYPE html": FileType("a web page", "download the file itself"),
    b"<html": FileType("a web page", "download the file itself"),
}
_TAR = slice(257, 262)
_ARRAY = FileType("a JSON array", "write each of its rows on a line of its own, for example with `jq -c '.[]'`")
# A row of JSON lines is an object: an array that begins with one, or with its line, holds the rows instead.
_BEGINS_AN_ARRAY = re.compile(rb"\s*\[\s*(\{|\]|$)")
_TABLES = {".csv": "comma-separated values", ".tsv": "tab-separated values"}
_COMPRESSED = (".gz", ".zst", ".zstd")


def other_type(head: bytes, name: str) -> FileType | None:
    """The kind of a file that is not JSON lines; None if it may be JSON lines.

    Args:
        head: Its first line, decompressed, or the beginning of that.
        name: Its name. It tells only tables of values, which begin like nothing in particular.
    """
    for beginning, known in _BEGINNINGS.items():
        if head.startswith(beginning):
            return known
    if head[_TAR] == b"ustar":
        return FileType("a tar archive", "extract the file with the rows")
    if _BEGINS_AN_ARRAY.match(head):
        return _ARRAY
    plain = name.lower()
    for suffix in _COMPRESSED:
        plain = plain.removesuffix(suffix)
    for suffix, what in _TABLES.items():
        if plain.endswith(suffix) and not head.lstrip().startswith(b"{"):
            return FileType(f"a table of {what}", _EXPORT)
    return None
