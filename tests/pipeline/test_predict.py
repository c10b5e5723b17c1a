"""What a student is asked: rows of files of every kind that data sets read, and rows of Python, with their places."""

from __future__ import annotations

import csv
import json

import pytest
from causal_kit import chat_tokenizer

import kdkit
from kdkit.builtin.datasets.jsonl import Jsonl
from kdkit.builtin.datasets.table import Table
from kdkit.errors import MissingInput, PluginError, UsageError
from kdkit.pipeline.predict import student_folder
from kdkit.pipeline.prompts import answerable, prompts_of, prompts_of_file
from kdkit.recipe import WritingRecipe

pa = pytest.importorskip("pyarrow")
ROWS = [{"id": "a", "text": 'one, "two"\nthree'}, {"id": "b", "text": "vier — fünf"}, {"id": "c", "text": "7"}]


PAIRS = Jsonl(train="t.jsonl", source="say: {text}", target="answer")
CHATS = Jsonl(train="t.jsonl", messages="talk.turns")


def recipe(source, no_data=""):
    return WritingRecipe(data=source, no_data=no_data, tokens=None, student=None, generation=None, device="cpu")


def of_file(source, path, note=print):
    return prompts_of_file(recipe(source), str(path), note=note)


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
        found = of_file(source, path)
        assert [each.source for each in found] == [f"say: {row['text']}" for row in ROWS], path.name
        assert [each.meta["given_id"] for each in found] == ["a", "b", "c"], path.name


def test_a_file_is_read_by_the_dialect_of_the_students_recipe_and_rows_are_called_by_number(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("x|left\ny|right\n")
    source = Table(train="t.csv", source="text", target="label", delimiter="|", columns=("text", "label"))
    assert [(each.source, each.meta["given_id"]) for each in of_file(source, path)] == [("x", "1"), ("y", "2")]


def test_a_row_that_cannot_be_used_is_named_by_its_place(tmp_path):
    said = []
    path = tmp_path / "rows.csv"
    path.write_text("text,other\nfine,1\n,2\n")
    with pytest.raises(
        UsageError, match=r"rows\.csv:3: the row cannot be used because it lacks the field text, .*; fill it, or leave"
    ):
        of_file(Table(train="t.csv", source="text", target="label"), path)
    path.write_text("text,other\nfine,1\nmore,2,3\n,4\n")
    with pytest.raises(UsageError, match=r"rows\.csv:3"):
        of_file(Table(train="t.csv", source="text", target="label"), path)
    left = of_file(Table(train="t.csv", source="text", target="label", skip_broken=True), path, note=said.append)
    assert [each.source for each in left] == ["fine"]
    assert "".join(said).count("1 left out, each because") == 2
    assert "it lacks the field text, which data.source names (" in said[-1]


def test_conversations_that_the_template_refuses_are_left_out_where_broken_rows_are(tmp_path):
    path = tmp_path / "rows.jsonl"
    chats = [[{"role": "user", "content": text}] for text in ("fine", "no")]
    path.write_text("".join(json.dumps({"messages": chat}) + "\n" for chat in chats))
    template = "{% for m in messages %}{{ raise_exception('no such word') if m.content == 'no' }}{% endfor %}"
    said = []
    for skip_broken in (False, True):
        source = Jsonl(train="t.jsonl", messages="messages", skip_broken=skip_broken)
        rows = of_file(source, path)
        left = answerable(rows, source, chat_tokenizer(template), str(path), note=said.append)
        assert left == (rows[:1] if skip_broken else rows)
    assert "the chat template refuses it (no such word)" in said[-1]
    with pytest.raises(UsageError, match="has no row that the chat template of the student takes"):
        answerable(rows[1:], source, chat_tokenizer(template), str(path), note=said.append)


def test_a_text_is_a_whole_input_and_a_mapping_goes_through_the_template():
    rows = prompts_of(recipe(PAIRS), ["one", {"text": "two"}, {"id": 7, "source": "three"}])
    assert [(each.source, each.meta["given_id"]) for each in rows] == [("one", "0"), ("say: two", "1"), ("three", 7)]


def test_a_conversation_is_a_list_of_messages_or_a_single_text_of_the_user():
    asked = [{"role": "user", "content": "hello"}]
    rows = prompts_of(
        recipe(CHATS), ["hello", asked, {"talk": {"turns": [*asked, {"role": "assistant", "content": "x"}]}}]
    )
    assert [json.loads(each.target) for each in rows] == [{"messages": asked}] * 3
    assert {each.form for each in rows} == {"chat"}


@pytest.mark.parametrize(
    ("source", "rows", "sentence"),
    [
        (PAIRS, "one", r"rows must be a list, is one str; put it in a list: \[row\]"),
        (PAIRS, {"text": "one"}, r"rows must be a list, is one mapping; put it in a list: \[row\]"),
        (PAIRS, 3, "rows must be a list, is of type int"),
        (
            PAIRS,
            ["a", {"txt": "a"}],
            r"rows\[1\] cannot be used because it lacks the field text, which data.source names; give it, or .*",
        ),
        (PAIRS, ["a", None], r"rows\[1\] cannot be used because it is None, and not a text, a list of messages or .*"),
        (PAIRS, [["a", "b"]], r"rows\[0\] cannot be used because it is a list, and the student was not trained on .*"),
        (CHATS, [{"role": "user", "content": "x"}], r"rows must be a list of conversations, is one conversation; .*"),
        (CHATS, [["x"]], r"rows\[0\] cannot be used because its messages is not a list of messages, each with a .*"),
        (CHATS, [{"messages": []}], r"rows\[0\] cannot be used because .*"),
    ],
)
def test_rows_that_cannot_be_used_are_refused_in_a_sentence(source, rows, sentence):
    with pytest.raises(UsageError, match=f"^{sentence}$"):
        prompts_of(recipe(source), rows)


def test_a_table_of_pandas_is_not_taken_for_the_names_of_its_columns():
    class DataFrame:
        def __iter__(self):
            return iter(["text", "answer"])

    with pytest.raises(UsageError, match=r'is a DataFrame; give its rows as dictionaries: frame\.to_dict\("records"\)'):
        prompts_of(recipe(PAIRS), DataFrame())


def test_a_data_set_that_is_not_installed_is_only_missed_by_rows_that_need_it():
    gone = recipe(None, no_data='unknown data set "of-a-plugin"')
    assert [each.source for each in prompts_of(gone, ["a", {"source": "b"}])] == ["a", "b"]
    with pytest.raises(
        PluginError, match=r'rows\[0\]: the row has no field `source`, and .* unknown data set "of-a-plu'
    ):
        prompts_of(gone, [{"text": "a"}])


def test_what_is_not_a_student_is_said_to_be_what_it_is(tmp_path):
    for name, file in (("sweep", "sweep.json"), ("run", "run.json"), ("other", "x")):
        (tmp_path / name).mkdir()
        (tmp_path / name / file).write_text("{}")
    for name, what in (
        ("sweep", r"it is a sweep, whose students are in its trials \(.*trials\); give a finished run folder, or .*"),
        ("run", r"it is a run whose student is not finished \(it has no student/best\); .*"),
        ("other", r"it has no kdkit_recipe\.toml; .*"),
        ("other/x", "it is a file; .*"),
        ("nowhere", "there is no such folder; .*"),
    ):
        with pytest.raises(MissingInput, match=f"{name} is not a student made by kdkit: {what}$"):
            student_folder(tmp_path / name)
        with pytest.raises(MissingInput, match="is not a student made by kdkit"):
            kdkit.predict(tmp_path / name, ["a"])
