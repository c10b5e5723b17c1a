"""Rows of text in columns are the rows, in memory and in a temporary file alike."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdkit.api.values import Corpus, Cut, Example
from kdkit.data import corpus as corpora
from kdkit.data import growing
from kdkit.data.columns import Ragged
from kdkit.data.given import read_stream
from kdkit.data.growing import GrowingColumn
from kdkit.data.text_rows import TextRows
from kdkit.errors import UsageError

texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=9)
cuts = st.builds(Cut, start=st.integers(0, 9), end=st.integers(0, 9), drop_start=st.just(0), drop_end=st.just(1))
examples = st.builds(
    Example,
    id=texts,
    source=texts,
    target=texts,
    cuts=st.lists(cuts, max_size=1).map(tuple),
    prediction=st.none() | texts,
    meta=st.dictionaries(texts, st.none() | st.integers() | st.lists(texts, max_size=1), max_size=1),
    document=st.none() | texts,
)


@settings(deadline=None)
@given(st.lists(examples, max_size=5), st.data())
def test_columns_hold_what_the_rows_do(rows, data):
    columns = TextRows.of(rows)
    assert (columns == rows, TextRows.of(columns) is columns) == (True, True)
    assert columns[1:] == rows[1:]
    assert columns[:3:2] == rows[:3:2]
    indices = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=6)) if rows else []
    assert columns.take(indices) == [rows[index] for index in indices]
    assert list(columns.each_id()) == [row.id for row in rows]
    assert list(columns.each_target()) == [row.target for row in rows]
    assert columns.text_bytes == sum(len((row.source + row.target).encode()) for row in rows)
    parts = Corpus(train=columns, validation=columns[:1])
    assert corpora.digest(parts) == corpora.digest(Corpus(train=tuple(rows), validation=tuple(rows[:1])))


def test_a_digest_that_is_known_is_that_of_all_rows_alone():
    rows = TextRows.of([Example(id=id_, source="s", target="t") for id_ in "abc"])
    known = TextRows(columns=rows.columns, places_R=rows.places_R, sha256="0" * 64)
    assert (known[:].sha256, known[:9].sha256, known[:2].sha256, known[::-1].sha256, known.take([0]).sha256) == (
        "0" * 64,
        "0" * 64,
        None,
        None,
        None,
    )


@given(st.lists(st.lists(st.integers(-9, 9), max_size=5), max_size=9), st.integers(0, 30))
def test_a_column_grows_in_memory_or_in_a_file(rows, spooled):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(growing, "SPOOLED", spooled)
        column = GrowingColumn(np.int16)
        for row in rows:
            column.add(np.array(row, np.int16).tobytes(), [len(row)])
        assert [each.tolist() for each in map(column.done().__getitem__, range(len(rows)))] == rows


@given(st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=9), st.data())
def test_rows_of_a_column_are_taken_and_joined(rows, data):
    column = Ragged.of_lists(rows, np.int32)
    places = np.array(data.draw(st.permutations(range(len(rows)))), np.int64)[: data.draw(st.integers(0, 9))]
    for chosen in (places, np.sort(places)):
        taken = column.taken(chosen)
        assert [taken[place].tolist() for place in range(len(taken))] == [rows[place] for place in chosen]
    joined = Ragged.joined([column, column.taken(places)])
    assert [joined[place].tolist() for place in range(len(joined))] == [*rows, *(rows[place] for place in places)]


def test_ids_of_a_stream_are_unique_over_its_splits():
    row = Example(id="a", source="s", target="t")
    with pytest.raises(UsageError, match='two rows of the data set have the id "a"'):
        read_stream([("train", row), ("validation", row)], owner="it")
    with pytest.raises(UsageError, match="no usable validation rows"):
        read_stream([("train", row)], owner="it")
