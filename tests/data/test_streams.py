"""Data sets that yield their rows: what is gathered of them, and what is refused."""

from __future__ import annotations

import textwrap

import attrs
import pytest

from kdkit.api import Drop, Example, Silent, StreamedSource, interfaces, option
from kdkit.data import gathered, is_split_off, require_streamed
from kdkit.data.given import checked_stream
from kdkit.errors import PluginError, UsageError
from kdkit.testing import check_dataset


def row(id_):
    return Example(id=id_, source="s", target="t")


def test_the_data_set_of_ten_lines_that_the_page_shows_works(tmp_path):
    shown = interfaces.data.__doc__.partition(":\n\n")[2].partition("\n`gathered`")[0]
    names = {"attrs": attrs, "option": option, "Example": Example, "gathered": gathered, "is_split_off": is_split_off}
    exec(textwrap.dedent(shown), names)
    path = tmp_path / "quotes"
    path.write_text("".join(f"text {n}\tname {n}\n" for n in range(40)), encoding="utf-8")
    source = names["Quotes"](path=str(path))
    assert isinstance(source, StreamedSource)
    check_dataset(source)
    corpus = source.load(Silent())
    assert (len(corpus.train) + len(corpus.validation), corpus.train[0].target) == (40, "name 0")


def test_rows_go_to_their_splits_and_drops_of_one_reason_are_one():
    dropped = [Drop(reason="it is red", count=1, first=(f"f:{n}",)) for n in range(7)]
    corpus = gathered(
        [("train", row("a")), Drop(reason="it is blue", count=2), ("test", row("b")), *dropped, ("train", row("c"))]
    )
    assert [[each.id for each in corpus.split(split)] for split in ("train", "validation", "test")] == [
        ["a", "c"],
        [],
        ["b"],
    ]
    assert corpus.drops == (
        Drop(reason="it is red", count=7, first=("f:0", "f:1", "f:2", "f:3", "f:4")),
        Drop(reason="it is blue", count=2),
    )


def test_a_part_without_rows_is_an_error_at_the_end_that_says_what_became_of_them():
    stream = require_streamed(
        [("train", row("a")), Drop(reason="it has no target", count=3, first=("v:1",))], train="t", validation="v"
    )
    assert next(stream) == ("train", row("a"))
    with pytest.raises(
        UsageError, match=r"^v has no usable validation row: 3 dropped because it has no target \(v:1\)"
    ):
        list(stream)


@pytest.mark.parametrize("each", [None, row("a"), ("train",), ("trian", row("a")), ["train", row("a")]])
def test_what_is_neither_a_row_nor_a_drop_is_refused(each):
    with pytest.raises(PluginError, match=r"data set streams .* instead of a kdkit\.api\.Drop or one of train"):
        list(checked_stream([each], owner="data set"))
