"""The data set `text-files`: each file of a folder is a text."""

from __future__ import annotations

import pytest

from kdkit.builtin.datasets.text_files import TextFiles
from kdkit.errors import MissingInput, UsageError
from kdkit.system.progress import Silent
from kdkit.testing import check_dataset


@pytest.fixture
def notes(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for number in range(24):
        file = tmp_path / "notes" / f"week{number % 4}" / f"{number}.txt"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"note {number}\r\nwith a line\n", newline="")
    for name in (".hidden.txt", "week0/code.py", ".git/x.txt"):
        (tmp_path / "notes" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "notes" / name).write_text("no")
    (tmp_path / "notes" / "week1" / "bom.md").write_bytes(b"\xef\xbb\xbfmarked")
    return tmp_path / "notes"


def texts(corpus):
    return {example.id: example.target for split in (corpus.train, corpus.validation, corpus.test) for example in split}


def test_each_file_of_a_folder_is_a_text(notes):
    source = TextFiles(train="notes", validation_share=0.2)
    found = texts(source.load(Silent()))
    assert len(found) == 25
    assert found["notes/week3/7.txt"] == "note 7\nwith a line\n"
    assert found["notes/week1/bom.md"] == "marked"
    assert source.form == "text"
    check_dataset(source, rows=[{"text": "marked", "path": "notes/week1/bom.md", "folder": "notes/week1"}])


def test_folders_patterns_endings_and_fields(notes):
    named = TextFiles(train=("notes/week0", "notes/week1/*.txt"), validation="notes/week2", endings=(".txt", ".py"))
    corpus = named.load(Silent())
    assert sorted(each.id for each in corpus.train)[:2] == ["notes/week0/0.txt", "notes/week0/12.txt"]
    assert len(corpus.train) == 13
    assert len(corpus.validation) == 6
    apart = TextFiles(train="notes", text="{folder}: {text}", group="folder", validation_share=0.4).load(Silent())
    folders = [{each.target.partition(":")[0] for each in split} for split in (apart.train, apart.validation)]
    assert folders[0] | folders[1] == {f"notes/week{number}" for number in range(4)}
    assert not folders[0] & folders[1]


def test_what_is_no_text_is_named(notes):
    (notes / "week0" / "latin.txt").write_bytes(b"caf\xe9")
    with pytest.raises(UsageError, match=r"^notes/week0/latin\.txt: is not UTF-8 \(byte 3 is 0xe9\); convert it, or"):
        TextFiles(train="notes").load(Silent())
    corpus = TextFiles(train="notes", skip_broken=True).load(Silent())
    (drop,) = corpus.drops
    assert (drop.count, drop.reason, drop.first) == (1, "it is not UTF-8", ("notes/week0/latin.txt",))
    for train, error, message in (
        (
            "note",
            MissingInput,
            r"train names note, which is not there \(did you mean notes\?\); give the folder of texts",
        ),
        ("notes/.git", MissingInput, "has no file whose name ends with .txt, .md, .rst; give train another folder, or"),
        ("s3://bucket/notes", UsageError, "a folder of texts has to be on this machine; fetch it first"),
    ):
        (notes / ".git" / "x.txt").unlink(missing_ok=True)
        with pytest.raises(error, match=message):
            TextFiles(train=train).check_inputs()
