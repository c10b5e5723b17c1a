"""A file that is not JSON lines is named for what it is, and compressed files are read as their programs read them."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import struct
import tarfile
import tracemalloc
import zipfile

import pytest
import zstandard

from kdkit.data import jsonlines
from kdkit.data.compressed import decompressed
from kdkit.data.files import FORMATS, JSON
from kdkit.data.filetypes import type_of
from kdkit.data.jsonlines import DropCount, json_lines
from kdkit.errors import DamagedData, UsageError

ROWS = b'{"a": 1}\n{"a": 2}\n'


def lines_of(data: bytes, name: str = "f", **options):
    return [row for _, row in json_lines(decompressed(io.BufferedReader(io.BytesIO(data))), name, **options)]


def archive(kind: str) -> bytes:
    made = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(made, "w") as zipped:
            zipped.writestr("rows.jsonl", ROWS)
    else:
        with tarfile.open(fileobj=made, mode="w") as tarred:
            tarred.addfile(tarfile.TarInfo("rows.jsonl"), None)
    return made.getvalue()


OTHERS = {
    "xz": (lzma.compress(ROWS), "compressed by xz, .*xz -d"),
    "bzip2": (bz2.compress(ROWS), "compressed by bzip2, .*bzip2 -d"),
    "zip": (archive("zip"), "a ZIP archive, .*extract the file"),
    "tar": (archive("tar"), "a tar archive"),
    "tar in gzip": (gzip.compress(archive("tar")), "a tar archive"),
    "parquet": (b"PAR1\x15\x04\x15\x10", r'a Parquet file, .*; read it with data\.name = "table"'),
    "arrow": (b"ARROW1\0\0\xff\xff\xff\xff", "an Arrow file"),
    "arrow stream": (b"\xff\xff\xff\xff\x10\0\0\0", "a stream of Arrow records"),
    "utf-16": (ROWS.decode().encode("utf-16"), "UTF-16 text, .*iconv"),
    "utf-16 without a mark": (ROWS.decode().encode("utf-16-be"), "UTF-16 text"),
    "utf-32": (ROWS.decode().encode("utf-32"), "UTF-32 text"),
    "array": (json.dumps([{"a": 1}, {"a": 2}]).encode(), 'a JSON array, .*"jsonl" or "table"'),
    "array over lines": (json.dumps([{"a": 1}], indent=1).encode(), "a JSON array"),
    "array in zstandard, after a mark": (zstandard.compress(b'\xef\xbb\xbf [ {"a": 1}]'), "a JSON array"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a pointer of Git LFS, .*git lfs pull"),
    "web page": (b"<!DOCTYPE html><html>", "a web page"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_a_file_of_another_kind_is_named_even_where_broken_lines_are_left_out(kind):
    data, sentence = OTHERS[kind]
    with pytest.raises(UsageError, match=f"^f is {sentence}"):
        lines_of(data, skip=DropCount())


@pytest.mark.parametrize(("name", "kind"), [("x/rows.csv", "comma"), ("rows.TSV.gz", "tab")])
def test_a_table_of_values_is_known_by_its_name(name, kind):
    with pytest.raises(UsageError, match=f"is a table of {kind}-separated values"):
        lines_of(b"a,b\n1,2\n", name)
    assert lines_of(ROWS, name) == [{"a": 1}, {"a": 2}]


@pytest.mark.parametrize(
    ("head", "name", "formats", "kind"),
    [
        (b"# A note\n\nIt says so.", "notes/a.MD", JSON, "plain text"),
        (b"Once upon a time", "a.txt.gz", JSON, "plain text"),
        (ROWS, "a.txt", JSON, "a file of JSON lines"),
        (b"", "a.txt", JSON, "a file of JSON lines"),
        (b"Once upon a time", "a.jsonl", JSON, "a file of JSON lines"),  # whose first line is named as wrong
        (b"Once upon a time", "a.txt", FORMATS, "a table of comma-separated values"),
    ],
)
def test_a_text_is_known_by_its_name_where_no_tables_are_read(head, name, formats, kind):
    assert type_of(head, name, formats).name == kind


def test_an_object_over_several_lines_is_called_that():
    with pytest.raises(UsageError, match=r"f:1:\d: .*its object ends on a later line"):
        lines_of(json.dumps({"a": 1}, indent=1).encode())


def skippable(size: int, number: int = 0) -> bytes:
    return struct.pack("<II", 0x184D2A50 + number, size) + b"x" * size


FRAME = zstandard.compress(ROWS)
MEMBER = gzip.compress(ROWS, mtime=0)  # the names of tests hold it, and must not change with the time


@pytest.mark.parametrize(
    ("data", "times"),
    [
        (skippable(4) + FRAME + skippable(4) + FRAME, 2),  # as pzstd writes them
        (skippable(9, 15) + FRAME + skippable(100_000, 3), 1),
        (MEMBER + MEMBER, 2),
        (MEMBER + bytes(1000), 1),
        (MEMBER + bytes(100_000) + MEMBER, 2),
        (MEMBER + b"what a mail program added", 1),
        (MEMBER + b"\x1f", 1),
    ],
)
def test_frames_without_data_and_bytes_after_the_last_member_are_passed_over(data, times):
    assert lines_of(data) == [{"a": 1}, {"a": 2}] * times


@pytest.mark.parametrize("data", [skippable(9)[:-1], MEMBER + MEMBER[:5], FRAME + b"no frame", MEMBER[:-1]])
def test_a_frame_that_is_cut_or_none_is_damage(data):
    with pytest.raises(DamagedData, match=r"f:\d: the compressed data end early or are damaged"):
        lines_of(data)


def test_a_bomb_is_read_a_little_at_a_time(monkeypatch):
    """A line without an end is refused before much of it is in memory."""
    monkeypatch.setattr(jsonlines, "LONGEST", 1 << 20)
    bomb = zstandard.compress(bytes(1 << 27))
    tracemalloc.start()
    with pytest.raises(UsageError, match="f has a line of more than 1,048,576 bytes"):
        lines_of(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 26
