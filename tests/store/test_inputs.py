"""What depends on inputs alone is made once, made again when an input changes, and never taken when it is damaged."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import attrs
import tiny
import tomli_w

from kdkit.api.values import Drop
from kdkit.builtin.datasets.jsonl import Jsonl
from kdkit.data import corpus as corpora
from kdkit.data import file_options
from kdkit.store import inputs, rows
from kdkit.system.progress import Silent
from kdkit.testing.corpora import synthetic_corpus

ROOT = Path(__file__).parents[2]


class Notes:
    """Progress that remembers what is noted."""

    def __init__(self):
        self.notes = []

    def note(self, message):
        self.notes.append(message)


def assert_equal(found, corpus):
    assert corpora.digest(found) == corpora.digest(corpus)
    assert found.drops == corpus.drops


def test_rows_are_read_once_and_come_back_with_what_was_left_out(tmp_path):
    corpus = attrs.evolve(synthetic_corpus(), drops=(Drop(reason="it is odd", count=2, first=("f:1",)),))
    read, progress = [], Notes()

    def reading():
        read.append(1)
        return corpus

    for key in ("a", "a", "b"):
        assert_equal(inputs.rows(key, tmp_path, reading, progress), corpus)
    assert len(read) == 2
    assert len(progress.notes) == 1
    assert "an earlier run or plan has kept" in progress.notes[0]


def test_damaged_rows_are_read_again_with_a_sentence(tmp_path):
    corpus = synthetic_corpus()
    for name in ("train.jsonl", "facts.json"):
        inputs.rows("a", tmp_path, lambda: corpus, Notes())
        file = tmp_path / "data" / "a" / name
        file.write_text(file.read_text()[:-9] + "\n")
        progress = Notes()
        assert_equal(inputs.rows("a", tmp_path, lambda corpus=corpus: corpus, progress), corpus)
        assert any("is damaged" in note and note.endswith("its rows are read again") for note in progress.notes)
        assert_equal(inputs.rows("a", tmp_path, lambda: None, Notes()), corpus)


def test_a_damaged_plan_is_made_again_with_a_sentence(tmp_path):
    inputs.keep_table("k", tmp_path, {"stages": {}, "notes": ["a"]})
    assert inputs.table("k", tmp_path, Notes()) == {"stages": {}, "notes": ["a"]}
    path = tmp_path / "plans" / "k.json"
    for damage in (path.read_text().replace('"a"', '"b"'), "{", "[]"):
        path.write_text(damage)
        progress = Notes()
        assert inputs.table("k", tmp_path, progress) is None
        assert "is damaged" in progress.notes[0]
        assert not path.exists()


PLANNED = """
import os, sys
from kdkit.cli import main
os.chdir(sys.argv[1])
sys.path.insert(0, sys.argv[1])
main(["plan", "r.toml", "--json"])
"""
# Ends where torch is imported, for the rest would take seconds.
UNTIL_TORCH = """
import sys
from kdkit.cli import main

class Torch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print("torch", flush=True)
            sys.exit(9)

sys.meta_path.insert(0, Torch())
main(["plan", "r.toml", "--json"])
"""


def planned(folder):
    """What `kdkit plan` says in a process that has torch."""
    code, said, errors = tiny.code(PLANNED, folder)
    assert code == 0, errors
    return plan_of(said)


def planned_without_torch(folder):
    """What a process says that has not imported it, standard error too; None if it comes to importing it."""
    said = subprocess.run(
        [sys.executable, "-c", UNTIL_TORCH],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])},
    )
    assert said.returncode in {0, 9}, said.stderr
    return None if said.returncode else (plan_of(said.stdout), said.stderr)


def plan_of(text):
    plan = json.loads(text)
    del plan["free"]
    return plan


def test_a_second_plan_mines_nothing_and_needs_no_torch_until_a_test_changes(tmp_path):
    tests = tmp_path / "tinypackage" / "tests"
    tests.mkdir(parents=True)
    for file in (tests / "__init__.py", tests.parent / "__init__.py"):
        file.touch()
    for number in range(24):
        body = "".join(f"def test_{n}():\n    x = {n}\n    assert x + {number} == {n + number}\n\n" for n in range(4))
        (tests / f"test_{number}.py").write_text(body)
    table = {
        "name": "tiny",
        "data": {"name": "python-tests", "packages": ["tinypackage"], "split_by": "module"},
        "teacher": {
            "name": "hf-seq2seq", "vocab_size": 270, "fine_tune": {"epochs": 1},
            "config": {"model_type": "t5", "d_model": 16, "d_ff": 32, "num_layers": 2, "num_heads": 2, "d_kv": 8},
        },
        "student": {"name": "hf-seq2seq", "from_teacher": {"encoder_layers": [0], "decoder_layers": [1]}},
        "loss": {"name": "kd"},
        "generation": {"max_new_tokens": 20},
    }  # fmt: skip
    (tmp_path / "r.toml").write_text(tomli_w.dumps(table))
    assert planned_without_torch(tmp_path) is None
    first = planned(tmp_path)
    assert planned_without_torch(tmp_path) == (first, "")
    (tests / "test_3.py").write_text("def test_0():\n    assert 1 + 1 == 2\n")
    assert planned_without_torch(tmp_path) is None
    changed = planned(tmp_path)
    assert changed != first


def jsonl(path, **more):
    return Jsonl(train=str(path), source="text", target="answer", **more)


def test_rows_of_large_files_are_known_by_every_byte_of_them(tmp_path, monkeypatch):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a", "answer": "b"}\n')
    assert jsonl(path).inputs() is None  # little data
    monkeypatch.setattr(file_options, "KEPT_FROM", 1)
    first, stat = jsonl(path).inputs(), path.stat()
    assert jsonl(path).inputs() == first
    path.write_text('{"text": "a", "answer": "c"}\n')  # as long, and of the same time
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert jsonl(path).inputs() != first
    assert jsonl(tmp_path / "none.jsonl").inputs() is None  # reading says so
    assert jsonl("memory://rows/a.jsonl").inputs() is None
    own = attrs.make_class("Own", {}, bases=(Jsonl,), frozen=True, kw_only=True)
    assert own(train=str(path), source="text", target="answer").inputs() is None


def test_many_rows_come_back_as_the_columns_of_the_store(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "_LARGE", 1)
    monkeypatch.setattr(rows, "KEPT_FROM", 1)
    corpus = synthetic_corpus()
    inputs.rows("k", tmp_path, lambda: corpus, Notes())
    rows.keep(corpus, corpora.write_splits(tmp_path / "run", corpus), tmp_path, Silent())
    monkeypatch.setattr(corpora, "read", None)
    found = inputs.rows("k", tmp_path, None, Notes())
    assert_equal(found, corpus)
    assert found.train.columns.home.parent == tmp_path / "rows"
