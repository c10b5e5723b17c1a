"""Inputs for a student are read from files of every kind that data sets read, with places in messages."""

from __future__ import annotations

import csv
import json

import pytest
from causal_kit import chat_tokenizer

from kdkit.builtin.datasets.jsonl import Jsonl
from kdkit.builtin.datasets.table import Table
from kdkit.cli.predict import answerable, prompts_of
from kdkit.errors import UsageError

pa = pytest.importorskip("pyarrow")
ROWS = [{"id": "a", "text": 'one, "two"\nthree'}, {"id": "b", "text": "vier — fünf"}, {"id": "c", "text": "7"}]


def files(folder):
    import pyarrow.feather
    import pyarrow.parquet

    lines, array = folder / "rows.jsonl", folder / "rows.json"
    lines.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
    array.write_text(json.dumps(ROWS), encoding="utf-8")
    yield from (lines, array)
    for name, delimiter in (("rows.csv", ","), ("rows.tsv", "\t")):
        with (folder / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ["id", "text"], delimiter=delimiter)
            writer.writeheader()
            writer.writerows(ROWS)
        yield folder / name
    # A column that no prompt needs, and whose values are not text, is not read.
    table = pa.Table.from_pylist(ROWS).append_column("raw", pa.array([b"\xff"] * 3))
    pyarrow.parquet.write_table(table, folder / "rows.parquet")
    pyarrow.feather.write_feather(table, str(folder / "rows.feather"))
    yield from (folder / "rows.parquet", folder / "rows.feather")


def test_the_same_inputs_come_from_every_kind_of_file(tmp_path):
    source = Jsonl(train="train.jsonl", source="say: {text}", target="answer")
    for path in files(tmp_path):
        found = prompts_of(source, str(path))
        assert [each.source for each in found] == [f"say: {row['text']}" for row in ROWS], path.name
        assert [each.meta["given_id"] for each in found] == ["a", "b", "c"], path.name


def test_a_file_is_read_by_the_dialect_of_the_students_recipe_and_rows_are_called_by_number(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("x|left\ny|right\n")
    source = Table(train="t.csv", source="text", target="label", delimiter="|", columns=("text", "label"))
    assert [(each.source, each.meta["given_id"]) for each in prompts_of(source, str(path))] == [("x", "1"), ("y", "2")]


def test_a_row_that_cannot_be_used_is_named_by_its_place(tmp_path, capsys):
    path = tmp_path / "rows.csv"
    path.write_text("text,other\nfine,1\n,2\n")
    with pytest.raises(
        UsageError, match=r"rows\.csv:3: the row cannot be used because it lacks text, .*; fill it, or leave"
    ):
        prompts_of(Table(train="t.csv", source="text", target="label"), str(path))
    path.write_text("text,other\nfine,1\nmore,2,3\n,4\n")
    with pytest.raises(UsageError, match=r"rows\.csv:3"):
        prompts_of(Table(train="t.csv", source="text", target="label"), str(path))
    left = prompts_of(Table(train="t.csv", source="text", target="label", skip_broken=True), str(path))
    assert [each.source for each in left] == ["fine"]
    said = capsys.readouterr().err
    assert said.count("1 left out, each because") == 2
    assert "it lacks text, which its source needs (" in said


def test_conversations_that_the_template_refuses_are_left_out_where_broken_rows_are(tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    chats = [[{"role": "user", "content": text}] for text in ("fine", "no")]
    path.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    template = "{% for m in messages %}{{ raise_exception('no such word') if m.content == 'no' }}{% endfor %}"
    for skip_broken in (False, True):
        source = Jsonl(train="t.jsonl", messages="messages", skip_broken=skip_broken)
        rows = prompts_of(source, str(path))
        left = answerable(rows, source, chat_tokenizer(template), str(path))
        assert left == (rows[:1] if skip_broken else rows)
    assert "the chat template refuses it (no such word)" in capsys.readouterr().err
    with pytest.raises(UsageError, match="has no row that the chat template of the student takes"):
        answerable(rows[1:], source, chat_tokenizer(template), str(path))
