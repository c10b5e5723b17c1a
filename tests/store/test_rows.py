"""Rows in the store: made once, mapped by all, made again where they are damaged, and never a part of them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
import pytest
import tiny

from kdkit.api.options import TokenLimits
from kdkit.api.values import SPLITS, Corpus, Example
from kdkit.data import corpus as corpora
from kdkit.data.rows import Encoding
from kdkit.data.text_rows import TextRows
from kdkit.errors import DamagedData
from kdkit.models import EncoderDecoder, load_tokenizer
from kdkit.store import columns, rows
from kdkit.system.progress import Silent

HOW = Encoding(kind=EncoderDecoder(), limits=TokenLimits(max_source=24, max_target=8))


def example(split, number):
    more = {"meta": {"n": number}} if number % 3 == 0 else {}
    return Example(id=f"{split}:{number}", source=f"assert {number}", target=f"== {number}", **more)


CORPUS = Corpus(
    train=tuple(example("train", n) for n in range(30)),
    validation=tuple(example("validation", n) for n in range(5)),
    test=tuple(example("test", n) for n in range(4)),
)


class Notes(Silent):
    def __init__(self):
        self.notes = []

    def note(self, message):
        self.notes.append(message)


@pytest.fixture(autouse=True)
def small_corpora_are_kept(monkeypatch):
    monkeypatch.setattr(rows, "KEPT_FROM", 1)


@pytest.fixture
def kept(tmp_path):
    """A corpus that a run read: its data folder, digest, and the corpus in the store."""
    digests = corpora.write_splits(tmp_path / "data", CORPUS)
    corpus = rows.keep(CORPUS, digests, tmp_path / "store", Silent())
    return tmp_path / "data", corpora.digest_of_splits(digests), corpus


def same(corpus):
    return all(corpus.split(split) == CORPUS.split(split) for split in SPLITS)


def never(*_, **__):
    raise AssertionError("it is made again")


def test_what_is_kept_is_what_was_read_and_is_found_again(kept, tmp_path, monkeypatch):
    data, digest, corpus = kept
    assert same(corpus)
    monkeypatch.setattr(corpora, "read", never)
    found = rows.read(data, digest, tmp_path / "store", Silent())
    assert same(found)
    assert found.train.columns.home == tmp_path / "store" / "rows" / digest[:32]
    assert corpora.digest(found) == digest == corpora.digest(CORPUS)
    assert corpora.digest(attrs.evolve(found, test=())) == corpora.digest(attrs.evolve(CORPUS, test=()))


def test_ids_are_made_once_for_all_splits_and_limits_have_their_own(kept, monkeypatch):
    _, _, corpus = kept
    tokenizer = tiny.tokenizer()
    for split in SPLITS:
        encoded = rows.rows_of(corpus.split(split), tokenizer, HOW).encoded
        assert encoded == HOW.encode(CORPUS.split(split), tokenizer)
        monkeypatch.setattr(Encoding, "read", never)
        assert rows.rows_of(corpus.split(split), tokenizer, HOW, at_most=3).encoded == encoded[:3]
        monkeypatch.undo()
        monkeypatch.setattr(rows, "KEPT_FROM", 1)
    monkeypatch.setattr(Encoding, "read", never)
    with pytest.raises(AssertionError, match="made again"):
        rows.rows_of(corpus.train, tokenizer, attrs.evolve(HOW, limits=TokenLimits(max_source=9, max_target=8)))


def test_blocks_and_what_was_refused_come_back_as_they_were_read(tmp_path, monkeypatch):
    """Of a selection of the texts, in its order."""
    from causal_kit import chat_tokenizer, tokenizer

    from kdkit.data.chats import chat
    from kdkit.models import DecoderOnly

    texts = [Example(id=f"d{n}", source="", target="max of 3 " * (n + 1), form="text") for n in range(8)]
    chats = [chat([{"role": "user", "content": "x"}, {"role": "assistant", "content": word}], id=word) for word in "ab"]
    template = "{% for m in messages %}{% if m.content == 'b' %}{{ raise_exception('no b') }}{% endif %}{{ m.content }}{% endfor %}"
    how = Encoding(kind=DecoderOnly(), limits=TokenLimits(max_length=5))
    for examples, made in ((texts, tokenizer()), (chats, chat_tokenizer(template))):
        folder = tmp_path / made.__class__.__name__ / examples[0].id
        corpus = Corpus(train=tuple(examples), validation=tuple(examples[:1]))
        corpus = attrs.evolve(corpus, validation=(attrs.evolve(examples[0], id="v"),))
        digests = corpora.write_splits(folder / "data", corpus)
        kept = rows.keep(corpus, digests, folder / "store", Silent())
        rows.rows_of(kept.train, made, how)
        with monkeypatch.context() as patch:
            patch.setattr(DecoderOnly, "encode", never)
            found = rows.rows_of(kept.train[1::2], made, how)
            patch.setattr(rows, "stops_of", lambda _: frozenset({9}))  # another model's, with the same tokenizer
            with pytest.raises(AssertionError, match="made again"):
                rows.rows_of(kept.train, made, how)
        fresh = rows.encoded_rows(examples[1::2], made, how)
        assert found.encoded == fresh.encoded
        assert found.documents == fresh.documents
        assert list(found.examples) == list(fresh.examples)
        assert found.reading.marks_R.tolist() == fresh.reading.marks_R.tolist()
        assert found.left_out == fresh.left_out


@pytest.mark.parametrize("file", ["header.json", "targets.values", "ids.offsets"])
@pytest.mark.parametrize("damage", ["cut", "gone", "longer"])
def test_a_damaged_entry_is_made_again_with_a_sentence(kept, tmp_path, file, damage):
    data, digest, _ = kept
    path = tmp_path / "store" / "rows" / digest[:32] / file
    raw = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes(raw[:-2] if damage == "cut" else raw + b" x")
    progress = Notes()
    assert same(rows.read(data, digest, tmp_path / "store", progress))
    assert "are damaged" in progress.notes[0]
    assert progress.notes[0].endswith("; the rows are made again")
    quiet = Notes()
    assert same(rows.read(data, digest, tmp_path / "store", quiet))
    assert quiet.notes == []


def test_a_header_of_another_format_or_a_changed_one_is_damaged(kept):
    home = kept[2].train.columns.home
    header = json.loads((home / columns.HEADER).read_text())
    for change in ({"kdkit_columns": 2}, {"facts": {}}):
        (home / columns.HEADER).write_text(json.dumps(header | change))
        with pytest.raises(DamagedData, match="is not what kdkit writes in format 1"):
            columns.get(home)


def test_rows_of_a_run_that_were_changed_are_noticed_before_the_store_is_looked_at(kept, tmp_path):
    data, digest, _ = kept
    path = data / "train.jsonl"
    path.write_bytes(path.read_bytes().replace(b"== 7", b"== 8"))
    with pytest.raises(DamagedData, match="has changed since this run wrote it"):
        rows.read(data, digest, tmp_path / "store", Silent())


def test_little_text_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "KEPT_FROM", 1 << 20)
    digests = corpora.write_splits(tmp_path / "data", CORPUS)
    corpus = rows.keep(CORPUS, digests, tmp_path / "store", Silent())
    assert same(corpus)
    assert same(rows.read(tmp_path / "data", corpora.digest_of_splits(digests), tmp_path / "store", Silent()))
    assert isinstance(corpus.train, TextRows)
    assert not (tmp_path / "store").exists()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user who may not write everywhere")
def test_a_store_that_cannot_be_written_is_said_and_done_without(tmp_path):
    store = tmp_path / "store"
    store.mkdir(mode=0o500)
    progress = Notes()
    assert same(rows.keep(CORPUS, corpora.write_splits(tmp_path / "data", CORPUS), store, progress))
    assert "cannot be written" in progress.notes[0]


KILLED = """
    import os, signal, sys
    from pathlib import Path
    sys.path[:0] = {path!r}
    from test_rows import HOW
    from kdkit.models import load_tokenizer
    from kdkit.store import columns, rows
    from kdkit.system.progress import Silent
    rows.KEPT_FROM = 1
    corpus = rows.read(Path({data!r}), {digest!r}, Path({store!r}), Silent())
    write, left = columns._write, [{writes}]

    def stopping(*args):
        if not left[0]:
            print("writing", flush=True)
            signal.pause()
        left[0] -= 1
        write(*args)

    columns._write = stopping
    rows.rows_of(corpus.train, load_tokenizer({tokenizer!r}), HOW)
"""


def test_one_of_two_that_encode_the_same_is_killed_nothing_half_made_is_found_and_the_other_makes_it(kept, tmp_path):
    data, digest, corpus = kept
    tiny.tokenizer().save_pretrained(tmp_path / "tokenizer")
    tokenizer, progress = load_tokenizer(str(tmp_path / "tokenizer")), Notes()
    places = {"data": data, "store": tmp_path / "store", "tokenizer": tmp_path / "tokenizer"}
    here = [str(Path(__file__).parent), str(Path(tiny.__file__).parent)]
    code = KILLED.format(path=here, digest=digest, writes=2, **{name: str(path) for name, path in places.items()})
    entries = tmp_path / "store" / "rows" / f"{digest[:32]}-ids"
    with (
        ThreadPoolExecutor(1) as other,
        subprocess.Popen([sys.executable, "-c", textwrap.dedent(code)], stdout=subprocess.PIPE, text=True) as process,
    ):
        assert process.stdout.readline() == "writing\n"
        waiting = other.submit(rows.rows_of, corpus.train, tokenizer, HOW, progress=progress)
        while not progress.notes:
            assert not waiting.done()
            time.sleep(0.01)
        assert "waiting for another run that makes the same token ids" in progress.notes[0]
        assert [path.name for path in entries.iterdir() if not path.name.startswith(".")] == []
        assert any(path.name.endswith(".partial") for path in entries.iterdir())
        process.send_signal(signal.SIGKILL)
        encoded = waiting.result(timeout=60).encoded
    assert encoded == HOW.encode(CORPUS.train, tokenizer)
    assert [path.suffix for path in entries.iterdir() if path.name.endswith(".partial")] == []
    assert rows.rows_of(corpus.train, tokenizer, HOW, progress=progress).encoded == encoded
    assert len(progress.notes) == 1
