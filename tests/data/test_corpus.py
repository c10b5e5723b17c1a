from __future__ import annotations

import hashlib
import json

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdkit.api.options import TokenLimits
from kdkit.api.values import Corpus, Cut, EncodedExample, Example
from kdkit.data import corpus as corpora
from kdkit.data.chats import chat
from kdkit.errors import DamagedData

# Line separators of every kind, quotes and controls; half a surrogate pair is no character.
texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["\r\n", "\u2028", "\x85", '"\\', "\x00"]
)
cuts = st.builds(
    Cut,
    start=st.integers(0, 9),
    end=st.integers(0, 9),
    drop_start=st.integers(0, 9),
    drop_end=st.integers(0, 9),
    drop_below=st.integers(0, 9),
    keep=st.sampled_from(["head", "tail"]),
)
meta = st.dictionaries(texts, st.none() | st.booleans() | st.integers() | texts | st.lists(st.integers()), max_size=2)
examples = st.builds(
    Example,
    id=texts,
    source=texts,
    target=texts,
    cuts=st.lists(cuts, max_size=2).map(tuple),
    prediction=st.none() | texts,
    meta=meta,
)
rows = st.lists(examples, max_size=3).map(tuple)
corpus_values = st.builds(Corpus, train=rows, validation=rows, test=rows)


@given(corpus_values)
@settings(max_examples=100, deadline=None)
def test_what_is_read_is_what_was_written(tmp_path_factory, corpus):
    folder = tmp_path_factory.mktemp("corpus")
    assert corpora.read(folder, corpora.write(folder, corpus)) == corpus


@given(corpus_values, corpus_values)
@settings(deadline=None)
def test_corpora_have_one_digest_exactly_when_they_are_equal(one, other):
    assert (corpora.digest(one) == corpora.digest(other)) == (one == other)


def test_what_is_not_a_finite_number_is_written_as_null(tmp_path):
    row = Example(id="a", source="s", target="t", meta={"x": float("nan"), "y": [1.5, float("inf")]})
    digest = corpora.write(tmp_path, Corpus(train=(row,), validation=(), test=()))
    line = (tmp_path / "train.jsonl").read_text(encoding="utf-8")

    def refuse(word):
        raise AssertionError(word)

    assert json.loads(line, parse_constant=refuse)["meta"] == {"x": None, "y": [1.5, None]}
    assert corpora.read(tmp_path, digest).train[0].meta == {"x": None, "y": [1.5, None]}


def test_rows_that_were_written_with_nan_are_read(tmp_path):
    lines = b'{"id": "a", "source": "s", "target": "t", "meta": {"x": NaN}}\n'
    (tmp_path / "train.jsonl").write_bytes(lines)
    empty = hashlib.sha256(b"").digest()
    digest = hashlib.sha256(hashlib.sha256(lines).digest() + empty + empty).hexdigest()
    assert corpora.read(tmp_path, digest).train[0].id == "a"


CORPUS = Corpus(
    train=(Example(id="a", source="s", target="t"), Example(id="b", source="s", target="u")),
    validation=(Example(id="c", source="s", target="t"),),
    test=(Example(id="d", source="s", target="new"),),
)


def test_a_row_in_another_split_is_another_corpus():
    moved = Corpus(train=CORPUS.train[:1], validation=CORPUS.train[1:] + CORPUS.validation, test=CORPUS.test)
    assert corpora.digest(moved) != corpora.digest(CORPUS)


def test_a_split_that_is_gone_leaves_no_file(tmp_path):
    corpora.write(tmp_path, CORPUS)
    corpora.write(tmp_path, Corpus(train=CORPUS.train, validation=CORPUS.validation))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["train.jsonl", "validation.jsonl"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:-5],
        lambda text: text.replace('"t"', '"x"', 1),
        lambda text: text.replace('"id"', '"di"', 1),
        lambda text: "[1]\n" + text,
        lambda text: "\n".join(text.split("\n")[1:]),
        lambda _: "",
    ],
)
def test_damage_is_noticed_and_the_sentence_says_what_to_do(tmp_path, damage):
    digest = corpora.write(tmp_path, CORPUS)
    path = tmp_path / "train.jsonl"
    path.write_text(damage(path.read_text()))
    with pytest.raises(DamagedData, match="run again to read the data again"):
        corpora.read(tmp_path, digest)


def test_bytes_that_are_no_text_are_damage(tmp_path):
    digest = corpora.write(tmp_path, CORPUS)
    (tmp_path / "test.jsonl").write_bytes(b"\xff\xfe\n")
    with pytest.raises(DamagedData, match=r"test\.jsonl is damaged"):
        corpora.read(tmp_path, digest)


def test_leakage_is_the_share_of_held_out_targets_that_training_has_word_for_word():
    assert corpora.leakage(CORPUS) == {"validation": 1.0, "test": 0.0}
    assert corpora.leakage(Corpus(train=CORPUS.train, validation=CORPUS.test)) == {"validation": 0.0}


def test_lengths_say_how_many_rows_are_as_long_as_the_limit():
    encoded = [EncodedExample(id=str(n), source_ids=(1,) * n, target_ids=(1,)) for n in range(1, 11)]
    facts = corpora.lengths(encoded, TokenLimits(max_source=10, max_target=5))
    assert facts["source"] == {"median": 5.5, "p90": 9, "max": 10, "at_limit": 1}
    assert facts["target"] == {"median": 1, "p90": 1, "max": 1, "at_limit": 0}
    assert json.loads(json.dumps(facts)) == facts


def test_rows_that_are_held_out_and_trained_on_are_counted():
    both = CORPUS.train[0]
    corpus = Corpus(train=CORPUS.train, validation=(both, attrs.evolve(both, target="another")))
    assert corpora.repeated_rows(corpus) == {"validation": 1}


def test_where_a_teacher_writes_the_targets_rows_that_ask_the_same_are_counted():
    def turns(*contents, **more):
        roles = ("user", "assistant") * 2
        messages = [{"role": role, "content": text} for role, text in zip(roles, contents, strict=False)]
        return chat(messages, id="/".join(contents), **more)

    both = CORPUS.train[0]
    corpus = Corpus(train=(attrs.evolve(both, target=""),), validation=(both, attrs.evolve(both, source="another")))
    assert corpora.repeated_rows(corpus) == {"validation": 0}
    assert corpora.repeated_rows(corpus, is_written=True) == {"validation": 1}
    held_out = turns("a", "an answer"), turns("a", "an answer", "b"), turns("a", "x", template={"thinks": True})
    corpus = Corpus(train=(turns("a"),), validation=held_out)
    assert corpora.repeated_rows(corpus, is_written=True) == {"validation": 1}
