"""What a plugin's data set gives is checked where it is taken, and what is wrong with it is a sentence."""

from __future__ import annotations

import attrs
import pytest

from kdkit.api import Corpus, Cut, Drop, Example
from kdkit.data.given import checked_corpus, checked_prompt, reason_of
from kdkit.errors import PluginError, UsageError

ROW = Example(id="a", source="read this", target="write that")
OTHER = attrs.evolve(ROW, id="b")


def corpus(row=ROW, validation=(OTHER,), **more):
    return Corpus(train=(row,), validation=validation, **more)


def test_a_corpus_of_examples_comes_back_as_it_is():
    row = attrs.evolve(
        ROW,
        cuts=(Cut(start=1, end=3, drop_start=0, drop_end=4),),
        prediction="",
        meta={"answerable": True, "loss": float("nan")},
    )
    given = corpus(row)
    assert checked_corpus(given, owner="data set") is given


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (None, "returns None instead of a kdkit.api.Corpus"),
        ({"train": []}, "returns dict {'train': []} instead of a kdkit.api.Corpus"),
        (corpus(validation=iter([OTHER])), "as validation rows instead of a tuple of kdkit.api.Example"),
        (corpus({"id": "a"}), "returns dict {'id': 'a'} instead of a kdkit.api.Example as row 0 of train"),
        (corpus(attrs.evolve(ROW, source=None)), "an example whose source is None instead of text as row 0 of train"),
        (corpus(attrs.evolve(ROW, target=3.5)), "an example whose target is float 3.5 instead of text"),
        (corpus(attrs.evolve(ROW, id=7)), "an example whose id is int 7 instead of text"),
        (corpus(attrs.evolve(ROW, id="")), "an example without an id"),
        (corpus(attrs.evolve(ROW, prediction=b"x")), "an example whose prediction is bytes b'x' instead of text"),
        (corpus(attrs.evolve(ROW, target="\ud800")), "an example whose target holds half a character"),
        (corpus(attrs.evolve(ROW, meta=None)), "an example whose meta is None instead of a mapping"),
        (corpus(attrs.evolve(ROW, meta={"x": {1, 2}})), "an example whose meta holds a value that JSON cannot"),
        (corpus(attrs.evolve(ROW, meta={1: 2})), "an example whose meta holds a value that JSON cannot"),
        (corpus(attrs.evolve(ROW, cuts=None)), "an example whose cuts are None"),
        (corpus(attrs.evolve(ROW, cuts=((0, 1),))), "among its cuts instead of a kdkit.api.Cut"),
        (corpus(attrs.evolve(ROW, cuts=(Cut(start=0, end=99, drop_start=0, drop_end=99),))), "not within its source"),
        (corpus(drops=("why",)), "among its drops instead of a kdkit.api.Drop"),
    ],
)
def test_values_of_the_wrong_kind_end_in_a_sentence(given, sentence):
    with pytest.raises(PluginError) as raised:
        checked_corpus(given, owner='data set "mine"')
    assert str(raised.value).startswith('data set "mine" returns ')
    assert sentence in str(raised.value)
    assert str(raised.value).endswith("; its plugin must be fixed (kdkit.testing.check_dataset)")


def test_two_rows_of_one_id_and_splits_without_rows_are_refused():
    with pytest.raises(UsageError, match='two rows of the data set have the id "a"'):
        checked_corpus(corpus(validation=(ROW,)), owner="it")
    with pytest.raises(UsageError, match="no usable validation rows"):
        checked_corpus(corpus(validation=()), owner="it")


def test_the_input_that_a_row_makes_is_checked_too():
    assert checked_prompt("it has no text", owner="it") == "it has no text"
    assert checked_prompt(ROW, owner="it") is ROW
    with pytest.raises(PluginError, match="it makes None instead of"):
        checked_prompt(None, owner="it")


@pytest.mark.parametrize(
    ("places", "shown"),
    [
        ((), ""),
        (("r.csv:2", "r.csv:4"), " (r.csv:2, r.csv:4, ...)"),
        (tuple(f"{'f' * 40}:{row}" for row in range(5)), f" ({'f' * 40}:0, {'f' * 40}:1, ...)"),
        (("f" * 200, "g"), f" ({'f' * 200}, ...)"),
    ],
)
def test_of_rows_left_out_the_first_places_are_named_as_far_as_they_fit(places, shown):
    drop = Drop(reason="it has no source", count=9, first=places)
    assert reason_of(drop) == f"9 left out, each because it has no source{shown}"
