"""`--limit`: the overrides that let any recipe run on a few rows."""

from __future__ import annotations

import tomllib

import pytest
import tomli_w

from kdkit.errors import UsageError
from kdkit.recipe import load_recipe
from kdkit.recipe.limited import limit_of, limited
from kdkit.sweeps.reading import load_sweep


def recipe(tmp_path, **changes):
    table = {
        "data": {"name": "jsonl", "train": "r.jsonl", "source": "a", "target": "b", "test_rows": 7, **changes},
        "teacher": {"name": "hf-seq2seq", "model": "x", "fine_tune": {"epochs": 1, "batch_size": 64}},
        "student": {"name": "hf-seq2seq", "model": "y"},
        "training": {"rows": 2000, "batch_size": 2},
    }
    path = tmp_path / "some.toml"
    path.write_text(tomli_w.dumps(table))
    return path


def test_each_split_has_so_many_rows_at_most_and_the_run_another_name(tmp_path):
    path = recipe(tmp_path)
    found = load_recipe(path, limited(path, ["seed=3"], 40))
    assert (found.data.train_rows, found.data.validation_rows, found.data.test_rows) == (40, 40, 7)
    assert (found.training.rows, found.training.batch_size, found.teacher.fine_tune.batch_size) == (0, 2, 10)
    assert (found.name, found.seed) == ("some-limit-40", 3)
    assert limit_of(tomllib.loads(found.to_toml())) == 40
    assert limit_of(tomllib.loads(load_recipe(path).to_toml())) is None


@pytest.mark.parametrize(
    "varied",
    [
        {"grid": {"training.rows": [20, 40, 1000], "loss.divergence": ["forward-kl"]}},
        {"points": [{"training.rows": 20}, {"training": {"rows": 1000}, "loss.alpha": 0.5}]},
    ],
    ids=["grid", "points"],
)
def test_a_sweep_over_rows_has_none_beyond_the_limit(tmp_path, varied):
    path = recipe(tmp_path)
    path.write_text(path.read_text() + tomli_w.dumps({"sweep": varied}))
    sweep = load_sweep(path, limited(path, [], 40))
    assert [trial.recipe.training.rows for trial in sweep.trials] == [20, 40]
    assert {trial.recipe.data.train_rows for trial in sweep.trials} == {40}


@pytest.mark.parametrize(
    ("form", "blocks"), [({"text": "a"}, 1), ({"messages": "a"}, 0), ({"source": "a", "target": "b"}, 0)]
)
def test_of_a_long_text_the_first_block_is_read(tmp_path, form, blocks):
    path = recipe(tmp_path)
    document = tomllib.loads(path.read_text())
    del document["data"]["source"], document["data"]["target"]
    document["data"] |= form
    for kind in ("teacher", "student"):
        document[kind]["name"] = "hf-causal" if len(form) == 1 else "hf-seq2seq"
    path.write_text(tomli_w.dumps(document))
    assert load_recipe(path, limited(path, [], 40)).tokens.max_blocks == blocks


def test_shipped_recipes_can_be_limited():
    found = load_recipe("quickstart", limited("quickstart", [], 40))
    assert (found.data.train_rows, found.training.batch_size, found.name) == (40, 10, "quickstart-limit-40")
    assert found.tokens.max_blocks == 0, "its rows are not texts, and folders of earlier tries resume"


def test_what_cannot_be_limited_is_said_and_what_is_wrong_is_left_to_the_recipe(tmp_path):
    path = recipe(tmp_path)
    assert limited(path, ["data.name=nowhere"], 40) == ("data.name=nowhere",)
    with pytest.raises(UsageError, match='the data set "python-nothing" has no option train_rows') as error:
        limited_without_rows(path)
    assert "--limit" in str(error.value)


def limited_without_rows(path):
    import attrs

    from kdkit import plugins

    @attrs.frozen(kw_only=True)
    class Nothing:
        some: int = 1

    class Entry:
        def load(self):
            return Nothing

    loaded = plugins.load()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(type(loaded), "names", lambda *_: ["python-nothing"])
        patched.setattr(type(loaded), "get", lambda *_: Entry())
        limited(path, ["data.name=python-nothing"], 40)
