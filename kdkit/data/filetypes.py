"""Kinds of files, recognized by their first bytes: which of kdkit's readers takes a file, or what to do with it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

Format: TypeAlias = Literal["json lines", "json array", "csv", "parquet", "arrow", "arrow stream"]
"""What kdkit reads rows from."""

_EXPORT = "write its rows as JSON lines, one object a line"
_UTF8 = "convert it to UTF-8, for example with `iconv -t UTF-8`"
_TABLE = 'read it with data.name = "table"'


@attrs.frozen
class FileType:
    """A kind of file.

    Attributes:
        name: The kind, with its article.
        advice: What to do with such a file where it is not read.
        format: What kdkit reads it as; None where it does not.
    """

    name: str
    advice: str
    format: Format | None = None


JSON_LINES = FileType("a file of JSON lines", _TABLE, "json lines")
JSON_ARRAY = FileType("a JSON array", 'read it with data.name = "jsonl" or "table"', "json array")
_CSV = FileType("a table of comma-separated values", _TABLE, "csv")
_TSV = FileType("a table of tab-separated values", _TABLE, "csv")

_BINARY = FileType("a binary file of a kind that kdkit does not know", _EXPORT)

_BEGINNINGS: Mapping[bytes, FileType] = {
    b"PAR1": FileType("a Parquet file", _TABLE, "parquet"),
    b"PARE": FileType("an encrypted Parquet file", "write it without encryption"),
    b"ARROW1": FileType("an Arrow file", _TABLE, "arrow"),
    b"FEA1": FileType("a Feather file of version 1", "write it again with a newer pyarrow or pandas"),
    b"\xff\xff\xff\xff": FileType("a stream of Arrow records", _TABLE, "arrow stream"),
    b"ORC": FileType("an ORC file", _EXPORT),
    b"Obj\x01": FileType("an Avro file", _EXPORT),
    b"SQLite format 3\x00": FileType("an SQLite database", _EXPORT),
    b"\x89HDF\r\n": FileType("an HDF5 file", _EXPORT),
    b"\x93NUMPY": FileType("a NumPy array", _EXPORT),
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": FileType("a spreadsheet of an old Excel", "export it as CSV in UTF-8"),
    b"%PDF": FileType("a PDF document", _EXPORT),
    b"\xfd7zXZ\x00": FileType("compressed by xz", "decompress it first (`xz -d`)"),
    b"BZh": FileType("compressed by bzip2", "decompress it first (`bzip2 -d`)"),
    b"\x04\x22\x4d\x18": FileType("compressed by lz4", "decompress it first (`lz4 -d`)"),
    b"\xff\x06\x00\x00sNaPpY": FileType("compressed by snappy", "decompress it first"),
    b"PK\x03\x04": FileType("a ZIP archive", "extract the file with the rows first"),
    b"PK\x05\x06": FileType("an empty ZIP archive", "use the file that holds the rows"),
    b"7z\xbc\xaf\x27\x1c": FileType("a 7z archive", "extract the file with the rows first"),
    b"\xff\xfe\x00\x00": FileType("UTF-32 text", _UTF8),
    b"\x00\x00\xfe\xff": FileType("UTF-32 text", _UTF8),
    b"\xff\xfe": FileType("UTF-16 text", _UTF8),
    b"\xfe\xff": FileType("UTF-16 text", _UTF8),
    b"{\x00": FileType("UTF-16 text", _UTF8),
    b"\x00{": FileType("UTF-16 text", _UTF8),
    b"version https://git-lfs": FileType("a pointer of Git LFS", "fetch the file itself (`git lfs pull`)"),
    b"<!DOCTYPE html": FileType("a web page", "fetch the file itself"),
    b"<html": FileType("a web page", "fetch the file itself"),
    b"<?xml": FileType("an XML document", _EXPORT),
}
_TAR = slice(257, 262)
_SHEET = (b"[Content_Types].xml", b"xl/", b"_rels/")
"""What the ZIP archive that is a spreadsheet begins with, after 30 bytes of header."""
# A row of JSON lines is an object: an array that begins with one, or with its line, holds the rows instead.
_BEGINS_AN_ARRAY = re.compile(rb"\s*\[\s*(\{|\]|$)")
_HEADER = re.compile(rb"""["']?\w[\w .-]*["']?([,;|\t] ?["']?\w[\w .-]*["']?)+\r?$""")
"""Names beside each other, as a table of values begins."""
_TABLES = {".csv": _CSV, ".tsv": _TSV, ".tab": _TSV}
_TEXT = FileType("plain text", 'write each text as one line, {"text": "..."}')
_TEXTS = (".txt", ".md", ".rst", ".py")
_COMPRESSED = (".gz", ".zst", ".zstd")


def other_type(head: bytes, name: str) -> FileType | None:
    """The kind of a file if it is not JSON lines; None if it may be.

    Args:
        head: The file's beginning, decompressed.
        name: Its name. Only tables of values are recognized by it, because they have no typical first bytes.
    """
    known = _by_first_bytes(head)
    if known is not None:
        return known
    first = head.partition(b"\n")[0]
    if _BEGINS_AN_ARRAY.match(head if not first.strip() else first):
        return JSON_ARRAY
    named = table_by_name(name)
    if named is not None and not head.lstrip().startswith(b"{"):
        return named
    if _HEADER.match(first):
        return _TSV if b"\t" in first else _CSV
    return None


def _by_first_bytes(head: bytes) -> FileType | None:
    if head.startswith(b"PK\x03\x04") and head[30:].startswith(_SHEET):
        return FileType("a spreadsheet (XLSX)", "export it as CSV in UTF-8")
    if head[_TAR] == b"ustar":
        return FileType("a tar archive", "extract the file with the rows first")
    return next((known for beginning, known in _BEGINNINGS.items() if head.startswith(beginning)), None)


def table_by_name(name: str) -> FileType | None:
    """The kind of table of values that a file's name says it is."""
    plain = _plain_name(name)
    return next((kind for suffix, kind in _TABLES.items() if plain.endswith(suffix)), None)


def _plain_name(name: str) -> str:
    """A name as if its file were not compressed."""
    plain = name.lower()
    for suffix in _COMPRESSED:
        plain = plain.removesuffix(suffix)
    return plain


def type_of(head: bytes, name: str, formats: Collection[str]) -> FileType:
    """The kind of a file, where some formats are read.

    A file that begins like nothing in particular is JSON lines if it begins like an object, or where no tables of
    values are read, so that its first line is named as wrong; else a table of values.
    """
    found = other_type(head, name)
    if found is not None:
        return found
    begins = head.lstrip()
    if "csv" not in formats or not begins or begins.startswith(b"{"):
        is_text = begins and not begins.startswith((b"{", b"[")) and _plain_name(name).endswith(_TEXTS)
        return _TEXT if is_text else JSON_LINES
    if begins.startswith(b"["):
        return JSON_ARRAY
    return _BINARY if b"\0" in head else _CSV
