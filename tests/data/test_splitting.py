from __future__ import annotations

from kdkit.api.values import Example
from kdkit.data.splitting import drawn

ROWS = tuple(Example(id=f"row{n}", source="s", target="t") for n in range(200))


def ids(count, rows=ROWS):
    return [row.id for row in drawn(rows, count)]


def test_a_smaller_draw_is_part_of_a_larger_one_and_all_keep_the_order_of_the_rows():
    assert ids(0) == ids(200) == [row.id for row in ROWS]
    for few, many in ((1, 2), (20, 50), (50, 199)):
        assert len(ids(few)) == few
        assert set(ids(few)) < set(ids(many))
        assert ids(many) == [row.id for row in ROWS if row.id in set(ids(many))]


def test_a_draw_is_no_stretch_of_the_rows_and_does_not_depend_on_their_order():
    assert ids(5) == ["row65", "row97", "row113", "row114", "row195"]
    assert set(ids(20, ROWS[::-1])) == set(ids(20))
    assert ids(10, tuple(row for row in ROWS if row.id in set(ids(20)))) == ids(10)
