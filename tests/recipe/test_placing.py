"""A refusal that comes when a recipe is at work has the place of the option that it is about, if it is about one."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from kdkit.errors import DamagedData, MissingInput, UsageError
from kdkit.recipe.placing import placed, placing

PLACES = {
    ("data",): "r.toml:1:2",
    ("data", "train"): "r.toml:3:1",
    ("data", "source"): "-o data.source=x",
    ("teacher",): "r.toml:7:2",
    ("teacher", "model"): "r.toml:8:1",
    ("device",): "-o device=cuda",
    ("loss", "temperature"): "r.toml:12:1",
}
RECIPE = SimpleNamespace(places=PLACES, resolved={"data": {"train": "~nobody/t", "source": ""}})


@pytest.mark.parametrize(
    ("sentence", "section", "place"),
    [
        ("loss.temperature is 2, but ...", "", "r.toml:12:1"),
        ("loss.alpha is 2, but ...", "", ""),  # a default
        ("data.train is empty", "", "r.toml:3:1"),
        ("teacher: model x is a file", "", "r.toml:8:1"),
        ("teacher: the tokenizer of x is damaged", "", "r.toml:7:2"),
        ("there is no file t.jsonl; give train another", "data", "r.toml:3:1"),
        ("train.jsonl has no usable row", "data", "r.toml:3:1"),
        ("~nobody/t cannot be a path", "data", "r.toml:3:1"),
        ("two rows have one id", "data", "r.toml:1:2"),
        ('source names the field "x"', "data", "-o data.source=x"),
        ("t.jsonl:3: this line is wrong; correct train", "data", ""),
        ("t.parquet: row 3: correct train", "data", ""),
        ("r.toml:3:1: said before", "data", ""),
        ('device = "cuda", but there is none', "", "-o device=cuda"),
        ("the disk is full", "", ""),
    ],
)
def test_a_refusal_begins_with_the_place_of_its_option(sentence, section, place):
    with pytest.raises(MissingInput) as error, placing(RECIPE, section):
        raise MissingInput(sentence)
    assert str(error.value) == (f"{place}: {sentence}" if place else sentence)


def test_only_refusals_of_a_request_have_one():
    @placed
    def work(recipe, error, *, code=0):
        assert recipe is RECIPE
        raise error

    with pytest.raises(UsageError, match=r"^r\.toml:12:1: loss\.temperature is 2$"):
        work(RECIPE, UsageError("loss.temperature is 2"))
    with pytest.raises(DamagedData, match=r"^loss\.temperature is 2$"):
        work(recipe=RECIPE, error=DamagedData("loss.temperature is 2"))
