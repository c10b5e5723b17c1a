"""The thesis's data set: a ZIP of ZIPs, and all that its rows may be."""

from __future__ import annotations

import io
import tracemalloc
import weakref
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdkit.api import FetchedSource, RecordedSource, Silent
from kdkit.errors import DamagedData, KdkitError, MissingInput, UsageError
from kdkit.system.progress import Lines
from kdkit.testing import check_dataset
from kdkit_assertions import assertion_zip, decode_compressed_logits, nested_zip, zenodo
from kdkit_assertions.assertion_zip import AssertionZip
from kdkit_assertions.compressed_logits import CompressedLogits
from kdkit_assertions.testing import encode_logits, write_assertion_zip

VOCABULARY = 17


def logits_of(i, tokens=6):
    return np.random.default_rng(i).normal(0, 4, (1, tokens, VOCABULARY)).astype(np.float32)


def row(i, *, bits=8, encoding="lz4", **changes):
    """A row of the published generation; `...` leaves a field out."""
    fields = {
        "focal_file": f"class C{i} {{}}",
        "test_method_masked": f"void t{i}() {{ // <ASSERTION_PLACEHOLDER> }}",
        "original_target": f"assertEquals({i}, f());\nassertTrue(g());",
        "model_prediction": f"assertEquals({i}, f());",
        "compressed_logits": encode_logits(logits_of(i), bits, encoding),
    }
    return {name: value for name, value in (fields | changes).items() if value is not ...}


def load(path, **options):
    return AssertionZip(path=str(path), **options).load(Silent())


@pytest.fixture
def write(tmp_path):
    def write_rows(rows, validation=None, **options):
        return write_assertion_zip(tmp_path / "codet5.zip", rows, validation or [row(99)], **options)

    return write_rows


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("gzipped", [False, True])
@pytest.mark.parametrize("header", [False, True])
def test_rows_are_read_however_they_were_packed(write, method, gzipped, header):
    path = write([row(0), row(1, bits=4), row(2, bits=32)], header=header, gzipped=gzipped, inner_method=method)
    source = AssertionZip(path=str(path))
    corpus = source.load(Silent())
    first = 2 if header else 1
    assert [example.id for example in corpus.train] == [f"train:{first + i}" for i in range(3)]
    assert [example.id for example in corpus.validation] == [f"validation:{first}"]
    example = corpus.train[0]
    assert example.source == "FOCAL CODE:\nclass C0 {}\n\nTEST METHOD:\nvoid t0() { // <ASSERTION_PLACEHOLDER> }"
    assert example.target == "assertEquals(0, f());\nassertTrue(g());"
    assert example.prediction == "assertEquals(0, f());"
    assert example.meta["assertions"] == ["assertEquals(0, f());", "assertTrue(g());"]
    assert example.meta["line"] == first
    assert len(example.cuts) == 2
    assert corpus.drops == ()
    assert isinstance(source, RecordedSource)
    read = [(recorded.id, recorded.tokens, recorded.read(4)[0]) for recorded in source.recorded()]
    assert [id_ for id_, _, _ in read] == [example.id for example in corpus.train + corpus.validation]
    for (_, tokens, logits_TV), i in zip(read, (0, 1, 2, 99), strict=True):
        assert tokens == 6
        bits = {1: 4, 2: 32}.get(i, 8)
        assert np.array_equal(logits_TV, decode_compressed_logits(encode_logits(logits_of(i), bits))[0, :4])


@pytest.mark.parametrize(
    ("changes", "source", "target", "prediction"),
    [
        ({"original_target": ["a;", "b;"]}, None, "a;\nb;", None),
        ({"original_target": ..., "assertions": ["a;", "b;"]}, None, "a;\nb;", None),
        ({"original_target": None, "assertions": ["a;"]}, None, "a;", None),
        ({"original_target": "o;", "assertions": ["a;"]}, None, "o;", None),
        ({"predicted_assertions": ["p;", "q;"]}, None, None, "assertEquals(0, f());"),
        ({"model_prediction": None, "predicted_assertions": ["p;", "q;"]}, None, None, "p;\nq;"),
        ({"model_prediction": ..., "predicted_assertions": "p;"}, None, None, "p;"),
        ({"focal_file": ""}, "TEST METHOD:\n", None, None),
        ({"focal_file": ...}, "TEST METHOD:\n", None, None),
        ({"focal_file": ..., "focal_method": "int m();"}, "FOCAL CODE:\nint m();\n\nTEST METHOD:\n", None, None),
        ({"focal_file": "", "focal_method": "int m();"}, "FOCAL CODE:\nint m();\n\nTEST METHOD:\n", None, None),
        ({"focal_method": "int m();"}, "FOCAL CODE:\nclass C0 {}\n\nTEST METHOD:\n", None, None),
        ({"performance_metrics": {"f1": 0.5}, "model_type": "codet5"}, None, None, None),
    ],
)
def test_both_generations_of_names_are_read(write, changes, source, target, prediction):
    (example,) = load(write([row(0, **changes)])).train
    assert example.source.startswith(source or "FOCAL CODE:\nclass C0 {}")
    assert example.target == (target or "assertEquals(0, f());\nassertTrue(g());")
    assert example.prediction == (prediction or "assertEquals(0, f());")
    assert example.meta["assertions"] == example.target.split("\n")


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (row(1, test_method_masked=...), "it has no masked test"),
        (row(1, test_method_masked=None), "it has no masked test"),
        (row(1, test_method_masked=" \n"), "it has no masked test"),
        (row(1, original_target=...), "it has no target"),
        (row(1, original_target=[]), "it has no target"),
        (row(1, original_target="", assertions=["a;"]), "it has no target"),
        (row(1, model_prediction=...), "it has no prediction"),
        (row(1, model_prediction="", predicted_assertions="p;"), "it has no prediction"),
        (row(1, compressed_logits=...), "it has no logits"),
        (row(1, compressed_logits=None), "it has no logits"),
        (row(1, compressed_logits={"bits": 8}), "its logits cannot be decoded"),
        (row(1, compressed_logits=encode_logits(logits_of(1)) | {"bits": 16}), "its logits cannot be decoded"),
        (row(1, compressed_logits=encode_logits(logits_of(1)[0, 0])), "its logits cannot be decoded"),
        (row(1, compressed_logits=encode_logits(logits_of(1) * np.inf, 32)), "its logits cannot be decoded"),
        ('{"focal_file": "cla', "it is not a JSON object"),
        ("[1, 2]", "it is not a JSON object"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_unusable_row_is_counted_with_its_line_and_passed_over(write, bad, reason):
    path = write([row(0), bad, row(2), bad, row(3)])
    corpus = load(path)
    assert [example.id for example in corpus.train] == ["train:2", "train:4", "train:6"]
    (drop,) = corpus.drops
    assert (drop.reason, drop.count) == (reason, 2)
    assert drop.first == ("distillation_data_training.jsonl:3", "distillation_data_training.jsonl:5")
    ids = [recorded.id for recorded in AssertionZip(path=str(path)).recorded()]
    assert ids == ["train:2", "train:4", "train:6", "validation:2"]


def test_limits_count_usable_rows_in_both_passes(write):
    path = write([row(0, model_prediction=None), *map(row, range(1, 5))], list(map(row, range(5, 9))))
    source = AssertionZip(path=str(path), train_rows=2, validation_rows=1)
    corpus = source.load(Silent())
    ids = [example.id for example in corpus.train + corpus.validation]
    assert ids == ["train:3", "train:4", "validation:2"]
    assert [recorded.id for recorded in source.recorded()] == ids


def test_a_header_is_one_only_in_the_first_line(write):
    path = write([{"header": {}}, row(0)], header=False)
    assert [example.id for example in load(path).train] == ["train:2"]
    (drop,) = load(write([row(0), {"header": {}}])).drops
    assert drop.reason == "it has no masked test"


def test_logits_read_too_late_are_refused_and_asked_too_much_give_what_there_is(write):
    stream = AssertionZip(path=str(write([row(0), row(1)]))).recorded()
    first = next(stream)
    assert first.read(100)[0].shape == (6, VOCABULARY)
    assert first.read(0)[0].shape == (0, VOCABULARY)
    next(stream)
    with pytest.raises(RuntimeError, match="before you ask for the next row"):
        first.read(1)
    stream.close()


def test_new_logits_under_old_texts_are_another_corpus(write):
    before = load(write([row(0), row(1)]))
    after = load(write([row(0), row(1, bits=4)]))
    assert before.train[0] == after.train[0]
    assert before.train[1] != after.train[1]


def test_no_two_decoded_rows_are_alive_at_once(write, monkeypatch):
    parse, alive = CompressedLogits.parse, []

    def watched(obj):
        assert all(reference() is None for reference in alive)
        logits = parse(obj)
        alive.append(weakref.ref(logits))
        return logits

    monkeypatch.setattr(CompressedLogits, "parse", watched)
    source = AssertionZip(path=str(write([row(0), row(1, bits=4), row(2)])))
    source.load(Silent())
    held = []
    for recorded in source.recorded():
        recorded.read(2)
        held.append(recorded)  # even where the caller keeps what it was given
    assert len(alive) == 8


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_reading_takes_the_memory_of_one_row(tmp_path, method):
    size = 1_500_000
    big = [
        row(i, compressed_logits={
            "bits": 8, "shape": [1, 100, size // 100], "scale": 1.0, "zero_point": 0.0,
            "data_encoded": {"encoding": "none", "data": np.random.default_rng(i).bytes(size).hex()},
        })
        for i in range(6)
    ]  # fmt: skip
    path = write_assertion_zip(tmp_path / "z.zip", big, big[:1], inner_method=method)
    del big
    source = AssertionZip(path=str(path))
    peaks = []
    for read in (lambda: source.load(Silent()), lambda: [recorded.read(1)[0].sum() for recorded in source.recorded()]):
        tracemalloc.start()
        read()
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    hex_size = 2 * size
    # one row is its line, its text, its hex field and its bytes: at most 3.5 times its hex while it is read
    assert max(peaks) < 4.2 * hex_size, [peak / hex_size for peak in peaks]


def test_a_compressed_inner_zip_is_unpacked_where_it_is_told_and_leaves_nothing(write, tmp_path):
    path = write([row(0)], inner_method=zipfile.ZIP_DEFLATED)
    spool = tmp_path / "spool"
    with pytest.raises(MissingInput, match=r"no folder .*spool; create it"):
        load(path, spool_dir=str(spool))
    spool.mkdir()
    assert len(load(path, spool_dir=str(spool)).train) == 1
    assert list(spool.iterdir()) == []


def test_a_disk_too_small_for_the_inner_zip_is_said_before(write, monkeypatch):
    path = write([row(0)], inner_method=zipfile.ZIP_DEFLATED)
    usage = nested_zip.shutil.disk_usage(path)._replace(free=10)
    monkeypatch.setattr(nested_zip.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(UsageError, match="set spool_dir to a folder with more room"):
        load(path)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_file_is_one_sentence_or_fewer_rows(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("damage")
    method = data.draw(st.sampled_from([zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED]))
    path = write_assertion_zip(
        folder / "z.zip", [row(0), row(1)], [row(2)], inner_method=method, gzipped=data.draw(st.booleans())
    )
    blob = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 2))):
        blob[data.draw(st.integers(0, len(blob) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    if data.draw(st.booleans()):
        del blob[data.draw(st.integers(1, len(blob))) :]
    path.write_bytes(blob)
    rows, message = 0, ""
    try:
        rows = len(load(path).train)
    except KdkitError as error:
        message = str(error)
    assert rows <= 2
    assert bool(rows) != bool(message)
    assert "\n" not in message


@pytest.mark.parametrize("method", [1, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA, 99])
def test_a_wrong_name_of_the_compression_is_one_sentence(write, method):
    path = write([row(0)], inner_method=zipfile.ZIP_DEFLATED)
    blob = bytearray(path.read_bytes())
    blob[blob.index(b"PK\x01\x02") + 10] = method  # in the table of contents
    path.write_bytes(blob)
    with pytest.raises((DamagedData, UsageError), match=r"is damaged|cannot be read here"):
        load(path)


def test_an_inner_zip_with_a_password_is_refused(write):
    path = write([row(0)])
    blob = bytearray(path.read_bytes())
    blob[blob.rindex(b"PK\x01\x02", 0, blob.rindex(b"PK\x01\x02")) + 8] |= 1
    path.write_bytes(blob)
    with pytest.raises(UsageError, match="has a password"):
        load(path)


def test_a_part_that_is_missing_is_named_with_what_is_there(tmp_path):
    path = tmp_path / "other.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("codet5/readme.txt", "x")
    with pytest.raises(
        UsageError,
        match=r"other\.zip does not contain distillation_data_training\.jsonl\.zip, only codet5/readme\.txt$",
    ):
        load(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(write_assertion_zip(tmp_path / "i.zip", [], []), "distillation_data_training.jsonl.zip")
    with pytest.raises(UsageError, match=r"does not contain distillation_data_training\.jsonl, only codet5/"):
        load(path)


def test_what_is_no_zip_is_damaged_data(tmp_path):
    path = tmp_path / "codet5.zip"
    path.write_text("<html>busy</html>")
    with pytest.raises(DamagedData, match=r"codet5\.zip is damaged or not a ZIP"):
        load(path)


def test_no_usable_rows_is_said_with_the_reasons(write):
    with pytest.raises(UsageError, match=r"has no usable training row: 1 dropped because it has no logits \(dist"):
        load(write([row(0, compressed_logits=None)]))


def test_a_missing_file_says_where_it_comes_from_and_where_to_put_it(tmp_path):
    with pytest.raises(MissingInput) as caught:
        load(tmp_path / "codet5.zip")
    assert "https://doi.org/10.5281/zenodo.15716445" in str(caught.value)
    assert "-o data.path=FILE" in str(caught.value)


def test_offline_is_said_without_trying(tmp_path, monkeypatch):
    import pooch

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(pooch, "retrieve", lambda *_, **__: pytest.fail("tried the network"))
    with pytest.raises(MissingInput, match=r"HF_HUB_OFFLINE is set\); download it from https://doi\.org/10\.5281/zen"):
        load(assertion_zip.PUBLISHED, download_dir=str(tmp_path))


@pytest.mark.parametrize("error", [ConnectionError("no route"), ValueError("no such file in the archive")])
def test_a_download_that_fails_is_one_sentence(tmp_path, monkeypatch, error):
    import pooch

    def fail(*_, **__):
        raise error

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(pooch, "retrieve", fail)
    with pytest.raises(MissingInput, match=f"{type(error).__name__} while fetching it.*-o data.path=FILE"):
        load(assertion_zip.PUBLISHED, download_dir=str(tmp_path))


def test_a_file_is_fetched_once_under_a_name_that_tells_its_record(tmp_path, monkeypatch):
    import pooch

    asked = []

    def retrieve(url, known_hash, fname, path, downloader):
        asked.append(url)
        write_assertion_zip(path / fname, [row(0)], [row(1)])
        return str(path / fname)

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(pooch, "retrieve", retrieve)
    for _ in range(2):
        assert len(load(assertion_zip.PUBLISHED, download_dir=str(tmp_path)).train) == 1
    assert asked == ["doi:10.5281/zenodo.15716445/codet5.zip"]
    assert [file.name for file in tmp_path.iterdir()] == ["10.5281_zenodo.15716445-codet5.zip"]


@pytest.mark.parametrize("path", ["doi:", "doi:zenodo", "doi:10.5281/a b", "doi:10.5281/x/y/z"])
def test_a_doi_that_is_none_is_refused(path):
    with pytest.raises(UsageError, match="is not a DOI; write one such as doi:10"):
        zenodo.fetch(path, file="f", folder=None, progress=Silent())
    with pytest.raises(UsageError, match="is not a DOI; write one such as doi:10"):
        AssertionZip(path=path).is_here()


def test_it_is_here_once_it_was_fetched(tmp_path, write):
    source = AssertionZip(download_dir=str(tmp_path))
    assert isinstance(source, FetchedSource)
    assert not source.is_here()
    write([row(0)]).rename(tmp_path / "10.5281_zenodo.15716445-codet5.zip")
    assert source.is_here()
    assert len(source.load(Silent()).train) == 1
    assert AssertionZip(path=str(tmp_path / "none.zip")).is_here()  # nothing to fetch: load says that it is missing


def test_a_download_says_what_is_fetched_how_large_it_is_and_how_far_it_came(tmp_path, monkeypatch):
    import pooch

    def retrieve(url, known_hash, fname, path, downloader):
        bar = downloader.progressbar  # used as pooch's HTTPDownloader does
        bar.total = 2_600_000
        for _ in range(11):
            bar.update(downloader.chunk_size)
        bar.reset()
        bar.update(bar.total)
        bar.close()
        write_assertion_zip(path / fname, [row(0)], [row(1)])
        return str(path / fname)

    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(pooch, "retrieve", retrieve)
    shown = io.StringIO()
    AssertionZip(download_dir=str(tmp_path)).load(Lines(shown, every=0.0))
    lines = shown.getvalue().splitlines()
    assert f"data: fetching codet5.zip from doi:10.5281/zenodo.15716445 into {tmp_path}, 2.6 MB" in lines
    fetched = [line for line in lines if line.startswith("fetch: ")]
    assert fetched[0].startswith("fetch: 1 MB")
    assert fetched[-1].startswith("fetch: 2 MB")


@pytest.mark.parametrize("name", ["path", "download_dir", "spool_dir"])
def test_the_home_of_nobody_is_no_path(write, name):
    given = {"path": assertion_zip.PUBLISHED if name == "download_dir" else str(write([row(0)]))}
    with pytest.raises(UsageError, match="~nosuchuser/x cannot be a path: that user has no home folder"):
        AssertionZip(**given | {name: "~nosuchuser/x"}).load(Silent())


def test_it_keeps_the_promises_of_data_sets(write):
    check_dataset(AssertionZip(path=str(write([row(i) for i in range(3)]))))
