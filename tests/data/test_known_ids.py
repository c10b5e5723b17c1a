"""An id that comes twice is named with both places, wherever the first was."""

from __future__ import annotations

import tracemalloc

import pytest

from kdkit.data import known_ids
from kdkit.data.known_ids import KnownIds
from kdkit.errors import UsageError


def add(count, *more):
    ids = KnownIds()
    for number in range(count):
        ids.add(f"id-{number}", f"rows.csv:{number}")
    for id_, place in more:
        ids.add(id_, place)
    ids.finish()


@pytest.mark.parametrize("count", [1, 3, 4, 5, 11, 12, 13])
def test_a_repeated_id_is_named_with_both_places_also_where_the_first_was_written_away(monkeypatch, count):
    monkeypatch.setattr(known_ids, "LATEST", 4)
    add(count)
    for first in range(count):
        with pytest.raises(UsageError, match=rf'^b:1 has the id "id-{first}", and so does rows\.csv:{first};'):
            add(count, (f"id-{first}", "b:1"))
        with pytest.raises(UsageError, match=f"^b:1 has .* rows.csv:{first};"):
            add(count, (f"id-{first}", "b:1"), *((f"more-{n}", f"b:{n + 2}") for n in range(9)))
        add(count, (f"id-{first}", f"rows.csv:{first}"))  # one and the same row


def test_ids_of_one_hash_are_different_ids(monkeypatch):
    monkeypatch.setattr(known_ids, "LATEST", 2)
    monkeypatch.setattr(known_ids, "hash", lambda _: 7, raising=False)
    add(7)
    with pytest.raises(UsageError, match="b:1 has"):
        add(7, ("id-0", "b:1"))


def test_a_further_id_takes_next_to_no_memory(monkeypatch):
    monkeypatch.setattr(known_ids, "LATEST", 1 << 10)
    held = []
    for count in (2_000, 22_000):
        ids = KnownIds()
        tracemalloc.start()
        for number in range(count):
            ids.add(f"the id of the row {number}", f"a/long/path/of/rows.csv:{number}")
        held.append(tracemalloc.get_traced_memory()[0])
        tracemalloc.stop()
    assert (held[1] - held[0]) / 20_000 < 20
