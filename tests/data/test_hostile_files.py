"""Files that are cut, odd or made to do harm: each ends in one sentence with its place, soon and in little memory."""

from __future__ import annotations

import datetime as dt
import decimal
import gzip
import io
import json
import os
import random
import struct
from contextlib import suppress

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from kdkit.builtin.datasets.table import Table
from kdkit.data import csv_rows, file_rows, json_array
from kdkit.errors import DamagedData, KdkitError, MissingInput, UsageError
from kdkit.system.progress import Silent

COUNT = 12
PLAIN = pa.table({"a": [f"q{n}" for n in range(COUNT)], "b": ["t"] * COUNT})
CSV = b"a,b\n" + b"".join(b"q%d,t\n" % n for n in range(COUNT))


def parquet(table, **options) -> bytes:
    made = io.BytesIO()
    pyarrow.parquet.write_table(table, made, **options)
    return made.getvalue()


def feather(table) -> bytes:
    made = io.BytesIO()
    pyarrow.feather.write_feather(table, made)
    return made.getvalue()


def stream(table) -> bytes:
    made = io.BytesIO()
    with pa.ipc.new_stream(made, table.schema) as writer:
        writer.write_table(table)
    return made.getvalue()


def column(values, *, kind=None, how=parquet) -> bytes:
    return how(pa.table({"a": pa.array(values, kind), "b": ["t"] * len(values)}))


def bad_utf8() -> bytes:
    text = pa.Array.from_buffers(
        pa.string(), 1, [None, pa.py_buffer(struct.pack("<ii", 0, 2)), pa.py_buffer(b"\xff\xfe")]
    )
    return stream(pa.Table.from_arrays([text, pa.array(["x"])], names=["a", "b"]))


def read(path):
    return [(row.values.get("a"), row.values.get("b")) for row in file_rows(path, option="train", wanted={"a", "b"})]


BROKEN = {
    "parquet that is cut": (parquet(PLAIN)[:-9], DamagedData, r"f is cut or damaged, .*; fetch it again"),
    "parquet of first bytes alone": (b"PAR1" + bytes(50), DamagedData, "f is cut or damaged"),
    "parquet with a footer beyond it": (parquet(PLAIN)[:-8] + b"\xff" * 4 + b"PAR1", DamagedData, "f is cut or damaged"),
    "feather that is cut": (feather(PLAIN)[:-30], DamagedData, "f is cut or damaged"),
    "stream that is cut": (stream(PLAIN)[:-90], DamagedData, "f is cut or damaged"),
    "stream of a huge header": (b"\xff" * 4 + struct.pack("<i", 2**31 - 1), DamagedData, "f is cut or damaged"),
    "stream of a negative header": (b"\xff" * 4 + struct.pack("<i", -5), DamagedData, "f is cut or damaged"),
    "two columns of one name": (
        stream(pa.Table.from_arrays([pa.array(["x"])] * 3, names=["a", "a", "b"])), UsageError, 'f has two columns "a"',
    ),
    "bytes that are not text": (
        column([b"ok", b"\xff"]), UsageError, r'f: row 2, column "a": this binary cannot be read as text .*skip_broken',
    ),
    "text that is not text": (bad_utf8(), (UsageError, DamagedData), r"f(: row 1, column \"a\"| is cut or damaged)"),
    "a time beyond years": (
        column([2**60], kind=pa.timestamp("us"), how=feather), UsageError, 'f: row 1, column "a": this timestamp',
    ),
    "parquet in gzip": (gzip.compress(parquet(PLAIN)), UsageError, "f is a Parquet file in gzip"),
    "more values than columns": (CSV + b"x,y,z\n", UsageError, "f:14: this row has 3 values, and there are 2 columns"),
    "fewer values than columns": (CSV + b"x\n", UsageError, "f:14: this row has 1 value, and"),
    "a quote that never closes": (b'a,b\nq,t\n"x,y\n' + b"q,t\n" * 9, UsageError, 'f:3: the quote " that opens a value .* never closed'),
    "text after a closing quote": (b'a,b\n"x"y,z\n', UsageError, "f:2: a value of this row goes on after its closing quote"),
    "old line ends": (CSV.replace(b"\n", b"\r"), UsageError, "f: its lines end with carriage returns alone"),
    "a carriage return within": (b"a,b\nx\ry,z\n", UsageError, "f:2: a carriage return stands outside of quotes"),
    "latin-1": (CSV + "é,ü\n".encode("latin1"), UsageError, "f:14:1: this is not UTF-8; .*iconv -f latin1"),
    "utf-16": (CSV.decode().encode("utf-16"), UsageError, "f is UTF-16 text, .*iconv"),
    "two columns of one name in a header": (b"a,a,b\nx,y,z\n", UsageError, 'f has two columns "a"'),
    "zeros alone": (bytes(1000), UsageError, "f is a binary file of a kind that kdkit does not know"),
    "a spreadsheet": (b"PK\x03\x04" + bytes(26) + b"[Content_Types].xml", UsageError, r"f is a spreadsheet \(XLSX\), .*CSV"),
    "an array that is cut": (b'[{"a": "q"},\n{"a', UsageError, "f:2: the file ends where an object should end"),
    "an array without commas": (b'[{"a": 1} {"a": 2}]', UsageError, "f:1:11: here a comma or ] should stand"),
    "an array with a comma too many": (b'[{"a": 1},]', UsageError, "f:1:11: here an object should stand"),
    "an array of numbers": (b'[{"a": 1},\n  7]', UsageError, "f:2:3: this element is not a JSON object: it is a number"),
    "a broken object": (b'[\n{"a": 1},\n{"a" 2}]', UsageError, "f:3:6: this element is not a JSON object"),
    "two arrays": (b'[{"a": 1}]\n[]', UsageError, "f:2:1: here the file should end"),
    "an array too deep": (b"[" * 10_000_000, UsageError, "f:1:2: here lists .* more than 200 levels"),
    "csv in a gzip that is cut": (gzip.compress(CSV * 400)[:-20], DamagedData, r"f:\d+: the compressed data end early"),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_one_sentence_with_its_place(name, tmp_path, monkeypatch):
    content, kind, message = BROKEN[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(kind, match=rf"^{message}") as raised:
        read("f")
    assert "\n" not in str(raised.value)


READ = {
    "nothing": (b"", []),
    "blank lines": (b"\n \n\n", []),
    "a header alone": (b"a,b", []),
    "a mark and other line ends": (b"\xef\xbb\xbfa,b\r\n007,\r\n\r\n", [("007", "")]),
    "zeros within": (b"a,b\nx\0y,z\n", [("x\0y", "z")]),
    "no rows of parquet": (parquet(PLAIN.slice(0, 0)), []),
    "an empty array": (b" [ ]\n", []),
    "lists of tables": (column([[{"x": [1, None]}]]), [([{"x": [1, None]}], "t")]),
    "a dictionary": (column(["x", None, "x"], kind=pa.dictionary(pa.int8(), pa.string())), [("x", "t"), (None, "t"), ("x", "t")]),
    "decimals": (column([decimal.Decimal("1.50"), decimal.Decimal("1E+3")]), [("1.50", "t"), ("1000.00", "t")]),
    "times": (column([1_714_564_800 * 10**9], kind=pa.timestamp("ns")), [("2024-05-01T12:00:00", "t")]),
    "dates": (column([dt.date(2024, 5, 1)]), [("2024-05-01", "t")]),
    "bytes that are text": (column([b"ok"]), [("ok", "t")]),
    "large integers": (column([2**64 - 1], kind=pa.uint64()), [(2**64 - 1, "t")]),
    "what is not a finite number": (column([float("nan"), float("-inf"), 0.5]), [(None, "t"), (None, "t"), (0.5, "t")]),
    "nulls alone": (column([None], kind=pa.null()), [(None, "t")]),
    "half floats of an arrow file": (column([1.5], kind=pa.float16(), how=feather), [(1.5, "t")]),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_an_odd_file_is_read_as_it_is_meant(name, tmp_path):
    content, expected = READ[name]
    (tmp_path / "f.csv" if content[:1] in b"ab\n\xef" else tmp_path / "f").write_bytes(content)
    (path,) = tmp_path.iterdir()
    assert read(path) == expected


def test_rows_that_cannot_be_read_are_counted_where_that_is_asked(tmp_path):
    good = "".join(f"q{n},t\n" for n in range(40))
    for name, content, place in (
        ("f.csv", f"a,b\n{good}x\n".encode(), "f.csv:42"),
        ("f.json", json.dumps([*({"a": f"q{n}", "b": "t"} for n in range(40)), 7]).encode(), "f.json:1:"),
        ("f.parquet", column([*[b"q"] * 40, b"\xff"]), "f.parquet: row 41"),
    ):
        (tmp_path / name).write_bytes(content)
        corpus = Table(train=str(tmp_path / name), source="a", target="b", skip_broken=True).load(Silent())
        (drop,) = corpus.drops
        assert (drop.count, len(corpus.train) + len(corpus.validation)) == (1, 40)
        assert drop.first[0].startswith(str(tmp_path / place))


@pytest.mark.parametrize("make", [parquet, feather, stream])
def test_flipped_bytes_give_rows_or_one_sentence(make, tmp_path):
    content, draw, path = make(PLAIN), random.Random(7), tmp_path / "f"
    for _ in range(40):
        changed = bytearray(content)
        for _ in range(draw.randint(1, 4)):
            changed[draw.randrange(len(changed))] = draw.randrange(256)
        path.write_bytes(changed)
        with suppress(KdkitError):
            read(path)


def test_what_is_not_a_file_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to("loop")
    for name, message in (
        ("pipe", "is a named pipe"),
        ("link", r"is a link to .*nowhere, which does not exist"),
        ("loop", "cannot be read"),
        ("", r"is a folder; train takes a file; name one of that folder, or several by a pattern such as .*/\*$"),
    ):
        with pytest.raises(MissingInput, match=message):
            read(tmp_path / name)


def test_a_value_without_an_end_is_refused_before_much_of_it_is_in_memory(tmp_path, monkeypatch):
    import tracemalloc

    monkeypatch.setattr(json_array, "LONGEST", 1 << 18)
    monkeypatch.setattr(csv_rows, "_LONGEST", 1 << 18)
    for content, message in (
        (b'[{"a":"' + b"x" * (1 << 25), "an element of the array has more"),
        (b"a,b\n" + b"x" * (1 << 25), "this line has more"),
    ):
        (tmp_path / "f").write_bytes(gzip.compress(content, 1))
        tracemalloc.start()
        with pytest.raises(UsageError, match=message):
            read(tmp_path / "f")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 1 << 22


def test_one_text_for_many_rows_is_in_memory_once(tmp_path):
    path = tmp_path / "f.parquet"
    path.write_bytes(parquet(pa.table({"a": ["x" * 100_000] * 2000, "b": ["t"] * 2000}), compression="zstd"))
    before = pa.total_allocated_bytes()
    for row in file_rows(path, wanted={"a", "b"}):
        assert len(row.values["a"]) == 100_000
        assert pa.total_allocated_bytes() - before < 1 << 24


def test_of_a_million_columns_only_those_that_are_asked_for_are_kept(tmp_path):
    path = tmp_path / "f.csv"
    path.write_bytes(b"a,b" + b",c" * 300_000 + b"\n" + b"x,y" + b"," * 300_000 + b"\n")
    assert read(path) == [("x", "y")]
