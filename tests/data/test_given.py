"""What a plugin's data set gives is checked where it is taken, and what is wrong with it is a sentence."""

from __future__ import annotations

import attrs
import pytest

from kdkit.api import Corpus, Cut, Example
from kdkit.data.given import checked_corpus, checked_prompt
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
        (None, "gives None instead of a kdkit.api.Corpus"),
        ({"train": []}, "gives dict {'train': []} instead of a kdkit.api.Corpus"),
        (corpus(validation=iter([OTHER])), "as validation rows instead of a tuple of kdkit.api.Example"),
        (corpus({"id": "a"}), "gives as row 0 of train dict {'id': 'a'} instead of a kdkit.api.Example"),
        (corpus(attrs.evolve(ROW, source=None)), "row 0 of train one whose source is None, where text must be"),
        (corpus(attrs.evolve(ROW, target=3.5)), "one whose target is float 3.5, where text must be"),
        (corpus(attrs.evolve(ROW, id=7)), "one whose id is int 7, where text must be"),
        (corpus(attrs.evolve(ROW, id="")), "one without an id"),
        (corpus(attrs.evolve(ROW, prediction=b"x")), "one whose prediction is bytes b'x', where text must be"),
        (corpus(attrs.evolve(ROW, target="\ud800")), "one whose target holds half a character"),
        (corpus(attrs.evolve(ROW, meta=None)), "one whose meta is None, where a mapping must be"),
        (corpus(attrs.evolve(ROW, meta={"x": {1, 2}})), "one whose meta holds what JSON cannot"),
        (corpus(attrs.evolve(ROW, meta={1: 2})), "one whose meta holds what JSON cannot"),
        (corpus(attrs.evolve(ROW, cuts=None)), "one whose cuts are None"),
        (corpus(attrs.evolve(ROW, cuts=((0, 1),))), "among its cuts instead of a kdkit.api.Cut"),
        (corpus(attrs.evolve(ROW, cuts=(Cut(start=0, end=99, drop_start=0, drop_end=99),))), "not within its source"),
        (corpus(drops=("why",)), "among its drops instead of a kdkit.api.Drop"),
    ],
)
def test_values_of_the_wrong_kind_end_in_a_sentence(given, sentence):
    with pytest.raises(PluginError) as raised:
        checked_corpus(given, owner='data set "mine"')
    assert str(raised.value).startswith('data set "mine" gives ')
    assert sentence in str(raised.value)
    assert str(raised.value).endswith("; the plugin that brings it has to be mended (kdkit.testing.check_dataset)")


def test_two_rows_of_one_id_and_splits_without_rows_are_refused():
    with pytest.raises(UsageError, match='two rows of the data set have the id "a"'):
        checked_corpus(corpus(validation=(ROW,)), owner="it")
    with pytest.raises(UsageError, match="no usable validation rows"):
        checked_corpus(corpus(validation=()), owner="it")


def test_the_input_that_a_row_makes_is_checked_too():
    assert checked_prompt("it has no text", owner="it") == "it has no text"
    assert checked_prompt(ROW, owner="it") is ROW
    with pytest.raises(PluginError, match="it makes of a row None instead of"):
        checked_prompt(None, owner="it")
