"""The data sets `table` and `hf-dataset`: one and the same data, whatever they are kept as."""

from __future__ import annotations

import csv
import gzip
import json
import sys
from collections import Counter
from pathlib import Path

import attrs
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from kdkit.api import StreamedSource
from kdkit.builtin.datasets.hf_dataset import HfDataset
from kdkit.builtin.datasets.jsonl import Jsonl
from kdkit.builtin.datasets.table import Table
from kdkit.data import Splitter, dealt, file_rows
from kdkit.errors import MissingInput, UsageError
from kdkit.plugins.fields import digested
from kdkit.system.progress import Silent
from kdkit.testing import check_dataset

ROWS = [
    {"text": f'they say "{n}", or\nnot; é', "answer": f"00{n}", "who": f"author {n % 13}", "empty": ""}
    for n in range(60)
]
ASKED = {"source": "ask: {text}", "target": "answer", "meta": ("who",), "group": "who", "test_share": 0.4}


@pytest.fixture(autouse=True)
def _quiet_hub(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("KDKIT_MIRROR", str(tmp_path / "mirrors"))


def written(folder: Path, rows=ROWS) -> dict[str, Path]:
    """The rows in a file of each kind."""
    files = {
        name: folder / name
        for name in (
            "a.jsonl",
            "a.json",
            "a.csv",
            "a.tsv",
            "semicolons.txt",
            "a.csv.gz",
            "a.parquet",
            "a.feather",
            "a.arrows",
        )
    }
    files["a.jsonl"].write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    files["a.json"].write_text(json.dumps(rows, indent=1), encoding="utf-8")
    for name, delimiter in (("a.csv", ","), ("a.tsv", "\t"), ("semicolons.txt", ";")):
        with files[name].open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, rows[0].keys(), delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
    files["a.csv.gz"].write_bytes(gzip.compress(files["a.csv"].read_bytes(), mtime=0))
    table = pa.Table.from_pylist(rows)
    pyarrow.parquet.write_table(table, files["a.parquet"], row_group_size=17)
    pyarrow.feather.write_feather(table, str(files["a.feather"]), chunksize=13)
    with pa.ipc.new_stream(str(files["a.arrows"]), table.schema) as stream:
        stream.write_table(table)
    return files


def load(cls=Table, **options):
    return cls(**{**ASKED, **options}).load(Silent())


def test_the_same_rows_make_equal_corpora_whatever_they_are_kept_as(tmp_path):
    files = written(tmp_path)
    expected = load(Jsonl, train=str(files["a.jsonl"]))
    assert expected.train[0].target == "000"
    assert all(expected.split(split) for split in ("train", "validation", "test"))
    assert load(Jsonl, train=str(files["a.json"])) == expected
    sources = [Table(**ASKED, train=str(file)) for file in files.values()]
    assert [source.load(Silent()) == expected for source in sources] == [True] * len(files)
    assert len({str(digested(source)) for source in sources}) == len(files)


def test_a_saved_data_set_and_a_folder_of_files_make_the_same_corpus(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    expected = load(Jsonl, train=str(written(tmp_path)["a.jsonl"]))
    datasets.disable_progress_bars()
    whole = datasets.Dataset.from_list(ROWS)
    whole.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict(train=whole, other=whole.select(range(3))).save_to_disk(str(tmp_path / "two"))
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "train.jsonl").write_bytes((tmp_path / "a.jsonl").read_bytes())
    for path in ("one", "two", "files", "file://one"):
        named = path.replace("://", f"://{tmp_path}/") if "://" in path else str(tmp_path / path)
        assert load(HfDataset, path=named) == expected
    held_out = load(HfDataset, path=str(tmp_path / "two"), test="other", test_share=None)
    assert [row.id for row in held_out.test] == ["test:1", "test:2", "test:3"]
    with pytest.raises(UsageError, match=r'test names the split "tst", and .* has train, other$'):
        load(HfDataset, path=str(tmp_path / "two"), test="tst", test_share=None)


def test_a_class_label_is_its_name(tmp_path):
    import datasets

    datasets.disable_progress_bars()
    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})
    rows = [{"text": f"q{n}", "label": n % 2 if n else None} for n in range(40)]
    datasets.Dataset.from_list(rows, features=features).save_to_disk(str(tmp_path / "d"))
    corpus = HfDataset(path=str(tmp_path / "d"), source="text", target="label").load(Silent())
    assert {row.target for row in corpus.train} == {"no", "yes"}
    assert corpus.drops[0].count == 1


def test_what_is_not_on_the_hub_or_has_no_library_is_one_sentence(monkeypatch):
    source = HfDataset(path="nobody/nothing", source="text", target="answer")
    assert not source.is_here()
    with pytest.raises(MissingInput, match=r"^nobody/nothing cannot be read by the library datasets \(.*\); correct"):
        source.load(Silent())
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingInput, match=r"needs the package datasets"):
        source.load(Silent())


def test_the_data_sets_keep_their_promises(tmp_path):
    for name in ("a.csv", "a.parquet"):
        source = Table(**ASKED, train=str(written(tmp_path)[name]))
        assert isinstance(source, StreamedSource)
        check_dataset(source, rows=ROWS)


def test_rows_of_one_group_stay_together_and_added_rows_move_none(tmp_path):
    before = load(train=str(written(tmp_path)["a.csv"]))
    splits = {row.meta["who"]: split for split in ("train", "validation", "test") for row in before.split(split)}
    assert sum(len({row.meta["who"] for row in before.split(s)}) for s in ("train", "validation", "test")) == len(
        splits
    )
    more = [*ROWS, *({**row, "who": f"another {n}"} for n, row in enumerate(ROWS))]
    after = load(train=str(written(tmp_path, more)["a.csv"]))
    for split in ("train", "validation", "test"):
        for row in after.split(split):
            assert splits.get(row.meta["who"], split) == split


def test_a_share_that_no_group_falls_into_is_named_with_what_to_do(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("text,answer,who\n" + "".join(f"t{n},a,w{n % 2}\n" for n in range(40)))
    few = r'no row of .*rows\.csv is held out for validation, with a share of 0\.1: rows of one "who" stay'
    with pytest.raises(UsageError, match=few):
        Table(train=str(path), source="text", target="answer", group="who").load(Silent())
    path.write_text("text,answer\nt,a\n")
    with pytest.raises(
        UsageError, match=r"held out for validation, with a share of 0\.1: there are too few; set validation_share"
    ):
        Table(train=str(path), source="text", target="answer").load(Silent())


def test_the_splitter_gives_the_shares_and_keeps_the_validation_of_today():
    keys = [f"train:{n}" for n in range(4000)]
    three, two = Splitter(validation_share=0.1, test_share=0.2), Splitter(validation_share=0.1)
    counts = Counter(map(three.split_of, keys))
    assert abs(counts["validation"] - 400) < 100
    assert abs(counts["test"] - 800) < 130
    assert all((three.split_of(key) == "validation") == (two.split_of(key) == "validation") for key in keys)


def test_several_files_are_mixed_by_shares_until_one_ends(tmp_path):
    for name, count in (("a", 100), ("b", 9), ("c", 2)):
        rows = "".join(f"{name}{n},x\n" for n in range(count))
        (tmp_path / f"{name}.csv").write_text(f"text,answer\n{rows}")
    a, b, c = (str(tmp_path / f"{name}.csv") for name in "abc")
    mixed = Table(source="text", target="answer", train=(a, b), validation=c, shares=(3.0, 1.0)).load(Silent())
    sources = [row.source for row in mixed.train]
    assert Counter(source[0] for source in sources) == {"a": 29, "b": 9}
    assert Counter(source[0] for source in sources[:20]) == {"a": 15, "b": 5}
    assert [source for source in sources if source[0] == "b"] == [f"b{n}" for n in range(9)]
    assert mixed.train[0].id == "train:a.csv:1"


@pytest.mark.parametrize("shares", [(1.0, 1.0), (5.0, 2.0, 1.0), (0.2, 0.8)])
def test_no_prefix_of_a_mix_is_a_row_away_from_its_shares(shares):
    given = [0] * len(shares)
    for count, place in enumerate(dealt([iter([index] * 100) for index in range(len(shares))], shares), 1):
        given[place] += 1
        for own, share in zip(given, shares, strict=True):
            assert abs(own - share / sum(shares) * count) < 1
    assert max(given) == 100


def test_patterns_name_files_in_order_and_ids_tell_them_apart(tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        for name in ("part-1.csv", "part-2.csv"):
            (tmp_path / folder / name).write_text(f"text,answer\n{folder}{name},a\n" * 1 + "q,a\n" * 20)
    corpus = load(train=str(tmp_path / "*" / "part-*.csv"), meta=(), group=None, test_share=None)
    assert len(corpus.train) + len(corpus.validation) == 84
    ids = {row.id for split in ("train", "validation") for row in corpus.split(split)}
    assert {"train:x/part-1.csv:1", "train:y/part-2.csv:21"} <= ids
    with pytest.raises(MissingInput, match=r"no file matches .*zzz\*; give train a pattern"):
        load(train=str(tmp_path / "zzz*"))
    with pytest.raises(UsageError, match=r"train names .* twice"):
        load(train=(str(tmp_path / "x" / "part-1.csv"),) * 2)


def test_files_at_a_url_are_fetched_once(tmp_path, monkeypatch):
    import fsspec

    from kdkit.system.url import RemoteFolder

    memory = fsspec.filesystem("memory")
    fetched = []
    download = RemoteFolder.download
    monkeypatch.setattr(
        RemoteFolder, "download", lambda self, name, path: (fetched.append(name), download(self, name, path))
    )
    files = written(tmp_path)
    for name in ("a.csv", "a.parquet"):
        with memory.open(f"/rows/{name}", "wb") as file:
            file.write(files[name].read_bytes())
    expected = load(train=str(files["a.csv"]))
    for _ in range(2):
        assert load(train="memory://rows/a.csv") == expected
    assert load(train="memory://rows/*.parquet") == expected
    assert fetched == ["a.csv", "a.parquet"]
    with pytest.raises(MissingInput, match=r"there is no file memory://rows/gone\.csv"):
        load(train="memory://rows/gone.csv")


def test_options_that_contradict_each_other_are_refused():
    for options, message in (
        ({"validation": "v", "validation_share": 0.1}, "validation and validation_share are both given"),
        ({"test": "t", "test_share": 0.1}, "test and test_share are both given"),
        ({"validation": "v", "group": "who"}, "group is given, but no share is split off"),
        ({"validation_share": 0.6, "test_share": 0.5}, "leave no training rows"),
        ({"shares": (1.0,), "train": ("a", "b")}, "shares has 1 numbers, and train names 2"),
        ({"train": ()}, "train names no file"),
    ):
        with pytest.raises(UsageError, match=message):
            Table(**{"train": "t", "source": "text", "target": "answer", **options})
    with pytest.raises(ValueError, match="delimiter must be one character"):
        Table(train="t", source="a", target="b", delimiter="ab")


def test_a_file_of_another_kind_is_named_with_what_reads_it(tmp_path):
    files = written(tmp_path)
    for name, kind in (
        ("a.parquet", "a Parquet file"),
        ("a.csv", "a table of comma-separated values"),
        ("semicolons.txt", "a table of comma-separated values"),
        ("a.arrows", "a stream of Arrow records"),
    ):
        with pytest.raises(UsageError, match=rf'^\S+{name} is {kind}, .*; read it with data\.name = "table"$'):
            load(Jsonl, train=str(files[name]), skip_broken=True)


def test_a_table_needs_no_header_and_its_cells_stay_text(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text('1e5\t"a\n' * 20)
    options = {"source": "x", "target": "y", "columns": ("x", "y"), "quote": "", "train": str(path)}
    corpus = Table(**options).load(Silent())
    assert (corpus.train[0].source, corpus.train[0].target) == ("1e5", '"a')
    rows = list(file_rows(path, dialect=Table(**options).dialect))
    assert (rows[1].number, rows[1].place) == (2, f"{path}:2")


def test_without_pyarrow_a_parquet_file_is_one_sentence_and_csv_is_read(tmp_path, monkeypatch):
    files = written(tmp_path)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert load(train=str(files["a.csv"])).train
    with pytest.raises(MissingInput, match=r"a\.parquet needs the package pyarrow, which is not installed"):
        load(train=str(files["a.parquet"]))


def test_jsonl_at_its_former_options_has_its_former_identity():
    source = Jsonl(train="t", validation="v", source="a", target="b", test="w")
    assert set(digested(source)) == {
        "train", "validation", "test", "source", "target", "meta", "train_rows", "validation_rows", "test_rows",
        "skip_broken",
    }  # fmt: skip
    assert attrs.fields_dict(Jsonl)["shares"].default == ()


def test_an_example_of_a_data_set_gives_the_rows_of_a_table(tmp_path):
    import runpy
    import sqlite3

    file = Path(__file__).parents[2] / "docs" / "plugin-examples" / "kdkit_examples" / "sqlite_rows.py"
    names = runpy.run_path(str(file))
    path = tmp_path / "rows.db"
    with sqlite3.connect(path) as database:
        database.execute("create table rows (text, answer, who, empty)")
        database.executemany("insert into rows values (?, ?, ?, ?)", [tuple(row.values()) for row in ROWS])
    source = names["Sqlite"](**ASKED, path=str(path))
    check_dataset(source, rows=ROWS)
    assert source.load(Silent()) == load(train=str(written(tmp_path)["a.csv"]))
    with pytest.raises(UsageError, match=r'source names the field "txt", which no row of .*rows\.db has'):
        attrs.evolve(source, source="txt").load(Silent())
