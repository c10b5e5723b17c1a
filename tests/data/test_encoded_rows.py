"""Rows in columns are the rows: in what they hold, in their order, and in what is found by their ids and keys."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kdkit.api.values import EncodedExample
from kdkit.data.columns import Ragged, order_of_texts
from kdkit.data.encoded_rows import EncodedRows, IdSet
from kdkit.data.row_keys import RowKeys
from kdkit.data.splitting import drawn
from kdkit.logits.cache import record_key
from kdkit.logits.targets import keys_of

# Ids that share beginnings and ends, hold zeros, and differ beyond eight bytes.
ids = st.text(alphabet="a\x00é😀b", max_size=12) | st.sampled_from(
    ["train:1", "train:10", "train:2", "a" * 17, "a" * 16]
)
tokens = st.lists(st.integers(0, 2**31 - 1), max_size=4).map(tuple)
rows_of_ids = st.lists(
    st.builds(EncodedExample, id=ids, source_ids=tokens, target_ids=tokens), max_size=12, unique_by=lambda row: row.id
)


@given(st.lists(ids, max_size=20))
def test_texts_are_sorted_as_python_sorts_them(texts):
    order = order_of_texts(Ragged.of_texts(texts), np.arange(len(texts)))
    assert [texts[place] for place in order] == sorted(texts)


@settings(deadline=None)
@given(rows_of_ids, st.integers(1, 4), st.data())
def test_columns_hold_what_the_rows_do(rows, size, data):
    columns = EncodedRows.of(rows)
    assert (columns == rows, EncodedRows.of(columns) is columns) == (True, True)
    assert columns[1:] == rows[1:]
    indices = data.draw(st.lists(st.integers(0, len(rows) - 1), max_size=6)) if rows else []
    assert columns.take(indices) == [rows[index] for index in indices]
    assert EncodedRows.joined([columns[2:], columns[:2]]) == [*rows[2:], *rows[:2]]
    assert EncodedRows.joined([columns[2:], EncodedRows.of(rows[:2])]) == [*rows[2:], *rows[:2]]
    ordered = sorted(rows, key=lambda row: (-len(row.source_ids), -len(row.target_ids), row.id))
    assert [row for batch in columns.by_length(size) for row in batch] == ordered
    assert list(drawn(columns, 2)) == list(drawn(rows, 2))


@settings(deadline=None)
@given(rows_of_ids, st.sampled_from([1, 2, 3]))
def test_rows_are_found_by_their_ids(rows, stride):
    columns = EncodedRows.of(rows)
    assert [columns.by_id.find(row.id) for row in rows] == list(range(len(rows)))
    assert columns.by_id.find("none of them") is None
    assert columns.by_id.repeated() is None
    chosen = IdSet(rows=columns, chosen_R=np.arange(len(rows)) % stride == 0)
    assert list(chosen) == [row.id for row in rows[::stride]]
    assert [row.id in chosen for row in rows] == [place % stride == 0 for place in range(len(rows))]


def test_an_id_that_comes_twice_is_named():
    rows = EncodedRows.of([EncodedExample(id=id_, source_ids=(), target_ids=()) for id_ in ("c", "a", "b", "a", "c")])
    assert rows.by_id.repeated() == "a"


@settings(deadline=None)
@given(rows_of_ids)
def test_keys_are_those_of_the_rows(rows):
    keys = keys_of(rows, teacher="t", tokenizer="k")
    assert dict(keys) == {row.id: record_key("t", "k", row.source_ids, row.target_ids) for row in rows}
    assert [rows[index].id for index in keys.order] == sorted(
        (row.id for row in rows), key=lambda id_: (keys[id_], [row.id for row in rows].index(id_))
    )
    first = keys.first_of(np.arange(len(rows)))
    assert keys.different == len(set(keys.values())) == sum(first)
    assert keys.alike(first).all()


def test_a_row_that_is_not_there_has_no_key():
    keys = RowKeys.of([EncodedExample(id="a", source_ids=(), target_ids=())], {"a": b"k"})
    with pytest.raises(KeyError):
        keys["b"]


def test_a_number_is_counted_in_the_rows_that_are_chosen():
    column = Ragged.of_lists([[1, 1], [], [1, 2], [1]], np.int32)
    assert [column.count(each, np.array([0, 2])) for each in (1, 2, None)] == [3, 1, 0]
