"""The data set `assertion-jsonl`."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from kdkit.api import DataSource, Silent
from kdkit.errors import UsageError
from kdkit.testing import check_dataset
from kdkit_assertions.assertion_jsonl import AssertionJsonl, assertion_list

SHARED = Path(__file__).resolve().parents[3] / "../shared/data/java_assertions"


def row(i, **changes):
    fields = {
        "id": f"row{i}",
        "project": "demo",
        "focal_code": f"int f() {{ return {i}; }}",
        "test_masked": f"void test{i}() {{ /*<ASSERT_0>*/ }}",
        "assertions": [f"assertEquals({i}, f());", "assertTrue(g());"],
        "kinds": ["equals", "true"],
        "focal_in_prefix": i % 2 == 0,
    }
    return {name: value for name, value in (fields | changes).items() if value is not ...}


def write(path, rows):
    path.write_bytes(gzip.compress("".join(json.dumps(fields) + "\n" for fields in rows).encode()))
    return str(path)


def load(tmp_path, rows, **options):
    train = write(tmp_path / "train.jsonl.gz", rows)
    validation = write(tmp_path / "valid.jsonl.gz", [row(100 + i) for i in range(3)])
    return AssertionJsonl(train=train, validation=validation, **options).load(Silent())


def test_rows_become_prompts_with_their_facts(tmp_path):
    corpus = load(tmp_path, [row(0), row(1)])
    first = corpus.train[0]
    assert first.id == "row0"
    assert first.source == "FOCAL CODE:\nint f() { return 0; }\n\nTEST METHOD:\nvoid test0() { /*<ASSERT_0>*/ }"
    assert first.target == "assertEquals(0, f());\nassertTrue(g());"
    assert first.meta == {
        "assertions": ["assertEquals(0, f());", "assertTrue(g());"],
        "kinds": ["equals", "true"],
        "answerable": True,
        "project": "demo",
    }
    assert corpus.train[1].meta["answerable"] is False
    assert len(first.cuts) == 2
    assert isinstance(AssertionJsonl(train="a", validation="b"), DataSource)


def test_focal_code_kinds_and_the_like_may_be_missing(tmp_path):
    bare = row(0, focal_code=..., kinds=..., focal_in_prefix=..., project=..., id=...)
    (example,) = load(tmp_path, [bare]).train
    assert example.source.startswith("TEST METHOD:\n")
    assert (example.id, list(example.meta)) == ("train:1", ["assertions"])


def test_rows_that_cannot_be_used_are_counted(tmp_path):
    rows = [row(0), row(1, test_masked=None), row(2, assertions=[]), row(3, assertions=[" "]), row(4, assertions=...)]
    corpus = load(tmp_path, rows)
    assert [(drop.reason, drop.count) for drop in corpus.drops] == [
        ("it has no assertions", 3),
        ("it has no masked test", 1),
    ]
    assert corpus.drops[1].first[0].endswith("train.jsonl.gz:2")


def test_other_names_are_a_matter_of_options(tmp_path):
    rows = [{"cut": "f", "body": "t", "truth": "assertTrue(a);\n\nassertTrue(b);"}]
    train = write(tmp_path / "t.gz", rows)
    validation = write(tmp_path / "v.gz", rows)
    source = AssertionJsonl(train=train, validation=validation, focal="cut", test_method="body", assertions="truth")
    (example,) = source.load(Silent()).train
    assert example.source == "FOCAL CODE:\nf\n\nTEST METHOD:\nt"
    assert example.target == "assertTrue(a);\nassertTrue(b);"
    assert example.meta["assertions"] == ["assertTrue(a);", "assertTrue(b);"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"test_method": "test_maskd"}, 'test_method names the field "test_maskd".*did you mean "test_masked"'),
        ({"kinds": "kind"}, 'kinds names the field "kind".*did you mean "kinds"'),
    ],
)
def test_a_field_that_was_named_must_be_there(tmp_path, options, message):
    with pytest.raises(UsageError, match=message):
        load(tmp_path, [row(0)], **options)


def test_limits_take_the_first_rows(tmp_path):
    corpus = load(tmp_path, [row(i) for i in range(5)], train_rows=2, validation_rows=1)
    assert ([example.id for example in corpus.train], len(corpus.validation)) == (["row0", "row1"], 1)


@pytest.mark.parametrize(
    ("value", "statements"),
    [("a;\nb;", ["a;", "b;"]), (["a;\n b;", "", None, "c;"], ["a;\n b;", "c;"]), (None, []), ("", [])],
)
def test_assertions_are_a_list_or_lines(value, statements):
    assert assertion_list(value) == statements


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="needs ../shared/data/java_assertions")
def test_the_real_rows_are_read_whole():
    source = AssertionJsonl(train=str(SHARED / "train.jsonl.gz"), validation=str(SHARED / "valid.jsonl.gz"))
    corpus = source.load(Silent())
    assert (len(corpus.train), len(corpus.validation), corpus.drops) == (14_653, 2_123, ())
    assert sum(len(example.meta["assertions"]) for example in corpus.train) == 29_423
    assert sum(len(example.meta["assertions"]) for example in corpus.validation) == 3_579
    assert all(len(example.meta["kinds"]) == len(example.meta["assertions"]) for example in corpus.train)
    share = sum(example.meta["answerable"] for example in corpus.validation + corpus.train) / 16_776
    assert 0.55 < share < 0.61
    assert "commons-lang" in {example.meta["project"] for example in corpus.train}


def test_it_keeps_the_promises_of_data_sets(tmp_path):
    train = write(tmp_path / "train.gz", [row(i) for i in range(3)])
    check_dataset(AssertionJsonl(train=train, validation=write(tmp_path / "validation.gz", [row(9)])))
