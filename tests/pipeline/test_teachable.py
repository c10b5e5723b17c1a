"""What the models cannot learn is said before they are trained, and refused where it is everything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny
from transformers import AutoTokenizer

from kdkit.data.tokens import Ends
from kdkit.errors import UsageError
from kdkit.models import end_ids, load_config
from kdkit.pipeline.estimate import estimate
from kdkit.pipeline.plan import as_json, make_plan
from kdkit.recipe import load_recipe
from kdkit.system.progress import Silent


def found(folder: Path, targets=None, **changes):
    """The notes on a recipe, with these targets for training."""
    if targets is not None:
        rows = [{"text": f"row {i}", "answer": target} for i, target in enumerate(targets)]
        (folder / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = load_recipe(tiny.recipe_table(folder, **changes))
    return estimate(recipe, recipe.data.load(Silent())).doubts or ()


def test_a_recipe_in_order_has_no_notes(tmp_path):
    assert found(tmp_path) == ()


def test_a_teacher_that_nothing_trains_is_named_before_anything_runs(tmp_path):
    (note,) = found(tmp_path, teacher__fine_tune=None)
    assert note.startswith("the teacher is a new model that is never trained, so its logits and texts are noise; ")
    plan = make_plan(load_recipe(tiny.recipe_table(tmp_path, teacher__fine_tune=None)), tmp_path / "run", Silent())
    assert as_json(plan)["notes"] == [note]


def test_targets_that_are_all_the_same_are_named(tmp_path):
    (note,) = found(tmp_path, ["yes"] * 20)
    assert note == (
        "all 20 training targets are the same text ('yes'), which the models will learn to write whatever they read"
    )


def test_rows_of_one_training_that_are_all_the_same_are_named(tmp_path):
    """The teacher reads all rows; the student's two have one target."""
    (note,) = found(tmp_path, ["no", *["yes"] * 30], training__rows=2, training__drop_last=False)
    assert note.startswith("with training.rows = 2, all 2 training targets are the same text ('yes'), which ")


@pytest.mark.parametrize(
    ("sources", "sentence"),
    [
        (["the same"] * 20, "all 20 training sources are read as the same tokens (tokens.max_source is 24), so"),
        ([f"{'long ' * 30}{i}" for i in range(20)], "all 20 training sources are read as the same tokens (tok"),
        (
            [f"{'long ' * 30 * (i < 2)}{i}" for i in range(20)],
            "2 of 20 training sources are read as the same tokens as a source with another text and another target (",
        ),
    ],
    ids=["equal", "equal once cut", "some equal once cut"],
)
def test_sources_that_cannot_be_told_apart_are_named(tmp_path, sources, sentence):
    rows = [{"text": source, "answer": f"== {i % 10}"} for i, source in enumerate(sources)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (note,) = found(tmp_path)
    assert note.startswith(sentence)


def tokenizer_without_an_end(folder: Path, **config) -> str:
    """The tiny tokenizer without its post-processor."""
    tiny.tokenizer().save_pretrained(folder)
    path = folder / "tokenizer.json"
    table = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({**table, "post_processor": None}), encoding="utf-8")
    assert AutoTokenizer.from_pretrained(str(folder))("== 3")["input_ids"][-1] != 1
    return str(folder)


def test_targets_without_an_end_are_refused(tmp_path):
    with pytest.raises(
        UsageError, match=r"no training target ends with a token at which the model stops \(its end tokens are 1;"
    ):
        found(tmp_path, teacher__tokenizer=tokenizer_without_an_end(tmp_path / "tokenizer"))


@pytest.mark.parametrize("role", ["teacher", "student"])
def test_an_end_that_the_model_does_not_have_is_refused(tmp_path, role):
    changes = {
        "student__from_teacher": None,
        "student__config": dict(tiny.T5),
        f"{role}__config": {**tiny.T5, "eos_token_id": 5},
    }
    with pytest.raises(UsageError, match=f"{role}: no training target ends .*its end tokens are 5; .* 1] last"):
        found(tmp_path, **changes)


def test_some_targets_without_an_end_are_named(tmp_path):
    folder = tokenizer_without_an_end(tmp_path / "tokenizer")
    (newline,) = AutoTokenizer.from_pretrained(folder)("\n")["input_ids"]
    config = {**tiny.T5, "eos_token_id": newline}
    targets = [f"== {i % 10}" + "\n" * (i > 1) for i in range(40)]
    notes = found(tmp_path, targets, teacher__tokenizer=folder, teacher__config=config)
    assert len(notes) == 2
    assert notes[0].startswith("2 of 40 training targets do not end with a token at which the student stops")
    assert "'train:1', 'train:2'" in notes[0]


def test_a_language_after_the_end_is_no_hindrance():
    assert Ends(frozenset({2}), frozenset({2, 9})).end((5, 2, 9))
    assert not Ends(frozenset({2}), frozenset({2})).end((5, 2, 9))
    assert not Ends(frozenset({2}), frozenset({2})).end(())


def test_ends_are_those_of_the_generation_configuration_first(tmp_path):
    made = tiny.model()
    made.save(tmp_path / "m", texts={})
    config = load_config(str(tmp_path / "m"))
    assert end_ids(config, tiny.tokenizer()) == {1}
    path = tmp_path / "m" / "generation_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token_id": [4, 7]}))
    assert end_ids(config, tiny.tokenizer()) == {4, 7}
    path.write_text("{")
    with pytest.raises(UsageError, match=r"generation_config\.json cannot be read"):
        end_ids(config, tiny.tokenizer())


LONG = [f"== {'1' * (1 + i % 5)}" for i in range(40)]


def test_targets_that_a_limit_cuts_are_named_or_refused(tmp_path):
    sizes = sorted({len(tiny.tokenizer()(target)["input_ids"]) for target in LONG})
    fewest, most = sizes[0], sizes[-1]
    changes = {
        "teacher__tokenizer": str(tmp_path / "tokenizer"),
        "tokens__max_target": most,
        "generation__max_new_tokens": most,
    }
    tiny.tokenizer().save_pretrained(tmp_path / "tokenizer")
    assert found(tmp_path, LONG, **changes) == ()
    (cut,) = found(tmp_path, LONG, **{**changes, "tokens__max_target": most - 1})
    assert cut.startswith(
        f"tokens.max_target is {most - 1}, and 8 of 40 training targets have more tokens (the longest {most})"
    )
    (short,) = found(tmp_path, LONG, **{**changes, "generation__max_new_tokens": most - 1})
    assert short.startswith(
        f"generation.max_new_tokens is {most - 1}, and 8 of 40 training targets have more tokens: 'train:5'"
    )
    with pytest.raises(UsageError, match=r"tokens.max_target is \d, but every training target has more"):
        found(tmp_path, LONG, **{**changes, "tokens__max_target": fewest - 1})
    with pytest.raises(UsageError, match=rf"generation.max_new_tokens is \d, but every .*; set it to {most}"):
        found(tmp_path, LONG, **{**changes, "generation__max_new_tokens": fewest - 1})


@pytest.mark.parametrize(
    ("tokens", "generation", "limit"),
    [
        ({}, {}, 512),
        ({"max_target": 24}, {}, 24),
        ({"max_target": 24}, {"max_new_tokens": 9}, 9),
        ({"max_source": 9}, {"beams": 1}, 512),
    ],
)
def test_texts_may_be_as_long_as_targets_unless_the_recipe_says_otherwise(tmp_path, tokens, generation, limit):
    recipe = load_recipe({**tiny.recipe_table(tmp_path), "tokens": tokens, "generation": generation})
    assert recipe.generation.max_new_tokens == recipe.resolved["generation"]["max_new_tokens"] == limit
