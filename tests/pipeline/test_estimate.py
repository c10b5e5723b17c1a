from __future__ import annotations

import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import attrs
import pytest
import tiny

from kdkit.api.suites import NamedSuite
from kdkit.errors import Mismatch, UsageError
from kdkit.pipeline.estimate import check_space, estimate
from kdkit.recipe import load_recipe
from kdkit.store.rows import rows_of
from kdkit.system.progress import Silent
from kdkit.training.batching import Lengths, epoch_order


def found(folder: Path, **changes):
    recipe = load_recipe(tiny.recipe_table(folder, **changes))
    return estimate(recipe, recipe.data.load(Silent()))


def test_steps_are_those_of_the_loop_with_a_token_budget_too(tmp_path):
    changes = {"training__batch_tokens": 60, "training__group_by_length": True, "training__accumulation": 2}
    recipe = load_recipe(tiny.recipe_table(tmp_path, **changes))
    corpus = recipe.data.load(Silent())
    rows = rows_of(corpus.train, recipe.teacher.load_tokenizer(corpus), recipe.encoding).encoded
    orders = [epoch_order(Lengths.of(rows), recipe.training, seed=recipe.seed, epoch=epoch) for epoch in (0, 1)]
    what = estimate(recipe, corpus)
    assert what.student_steps == sum(math.ceil(len(batches) / 2) for batches in orders)
    assert what.teacher_steps == 2 * 40 // 8


@pytest.mark.parametrize(
    ("changes", "validation", "test", "generated"),
    [
        ({}, 10, 0, 10),
        ({"training__validation_rows": 4}, 10, 0, 10),
        ({"training__validation_rows": 4, "evaluation__rows": 6}, 6, 0, 6),
        ({"training__validation_rows": 6, "evaluation__rows": 4}, 6, 0, 4),
        ({"test": 7, "training__validation_rows": 4}, 4, 7, 7),
        ({"test": 7, "training__validation_rows": 4, "evaluation__rows": 3}, 4, 3, 3),
    ],
)
def test_rows_are_those_that_some_stage_uses(tmp_path, changes, validation, test, generated):
    what = found(tmp_path, **changes)
    assert what.rows == {"train": 40, "validation": validation, "test": test}
    assert what.capture_rows == 40 + validation + test
    assert what.generated_rows == generated


def test_without_a_soft_loss_nothing_is_captured(tmp_path):
    what = found(tmp_path, loss__alpha=0.0)
    assert (what.capture_rows, what.capture_tokens, what.capture_bytes) == (0, 0, 0)


def test_the_default_codec_is_told_what_subspace_would_take(tmp_path):
    from kdkit.pipeline.stages.capture import plan
    from kdkit.runs.stage import RowsPlanned

    small = {"teacher__config": {**tiny.T5, "d_model": 8, "num_heads": 2, "d_kv": 4}}
    what = found(tmp_path, **small)
    assert what.subspace_bytes == round(0.7 * 8 * what.capture_tokens)
    recipe = load_recipe(tiny.recipe_table(tmp_path, **small))
    planned = plan(recipe, RowsPlanned(counts={"train": 40}, bytes=0), what)
    assert f"for which subspace would take about {what.subspace_bytes} bytes;" in planned.work
    wide = {"teacher__config": {**tiny.T5, "d_model": 64}}
    for changes in ({**small, "codec__name": "float"}, {**small, "loss__alpha": 0.0}, wide):
        assert found(tmp_path, **changes).subspace_bytes is None


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"training__best_by": "text.f2"}, r'training.best_by = "text.f2": the suite has .*text\.f1'),
        ({"evaluation__headline": "text.f2"}, r'evaluation.headline = "text.f2": .*; did you mean "text.f1"\?'),
        (
            {"evaluation__headline": "exact_match"},
            r'"exact_match": the suites have .*; did you mean "text.exact_match"',
        ),
        (
            {"evaluation__headline": "tokens.acceptence"},
            r'the suites have .*; kdkit itself measures loss\.hard, .*; did you mean "tokens\.acceptance"\?',
        ),
        (
            {"evaluation__headline": "tokens.acceptance", "loss__alpha": 0.0},
            r"compares the student with its teacher, which this loss does not ask; set loss\.alpha above 0",
        ),
        (
            {"evaluation__headline": "tokens.acceptance", "codec": {"name": "topk"}, "loss__temperature": 1.0},
            r'needs the teacher\'s whole distributions, of which the codec "topk" keeps a part',
        ),
        ({"teacher__fine_tune__best_by": "text.f2"}, r'teacher.fine_tune.best_by = "text.f2"'),
        (
            {"teacher__fine_tune__best_by": "soft"},
            r'teacher.fine_tune.best_by = "soft", but this training has no soft loss',
        ),
        (
            {"loss__alpha": 0.0, "training__best_by": "soft"},
            r'training.best_by = "soft", but this training has no soft loss',
        ),
        ({"training__batch_size": 64}, "40 training rows do not fill one batch of 64"),
        ({"student__from_teacher__encoder_layers": [2]}, "the teacher's encoder has layers 0 to 1"),
        ({"teacher__config__vocab_size": 20}, "vocab_size is 20, but the tokenizer has 270"),
    ],
)
def test_what_cannot_end_well_is_refused(tmp_path, changes, sentence):
    with pytest.raises(UsageError, match=sentence):
        found(tmp_path, **changes)


@pytest.mark.parametrize(
    ("codec", "known"),
    [
        ({"name": "topk", "k": 4, "temperatures": [1, 4]}, r"1, 4"),
        ({"name": "topk", "k": 4}, "1"),
        ({"name": "sampled", "draws": 4, "temperature": 4}, "4"),
    ],
)
def test_a_temperature_that_the_codec_does_not_know_is_refused_with_those_that_it_knows(tmp_path, codec, known):
    tables = tiny.recipe_table(tmp_path, loss__alpha=0.5, loss__temperature=2.0)
    recipe = load_recipe({**tables, "codec": codec})
    corpus = recipe.data.load(Silent())
    with pytest.raises(
        UsageError, match=rf"loss.temperature is 2, .* temperature {known} only; set the loss to one of these"
    ):
        estimate(recipe, corpus)
    for fitting in (recipe.codec.exact_temperatures[0], recipe.codec.exact_temperatures[-1]):
        estimate(attrs.evolve(recipe, loss=attrs.evolve(recipe.loss, temperature=fitting)), corpus)
    estimate(attrs.evolve(recipe, loss=attrs.evolve(recipe.loss, alpha=0.0)), corpus)


class Parts:
    """A suite with a metric of the rows whose answer is 7, one that needs a text, and one that picks nothing."""

    directions: ClassVar = {"length": "neither"}

    def score(self, generated, references, examples):
        return {
            "whole": [1.0 for _ in references],
            "precision": [1.0 if text else None for text in generated],
            "recall/seven": [1.0 if "7" in text else None for text in references],
            "recall/none": [None for _ in references],
            "length": [1.0 for _ in references],
        }


@pytest.mark.parametrize(
    ("metric", "is_there"),
    [("whole", True), ("precision", True), ("recall/seven", True), ("recall/none", False), ("f2", False)],
)
def test_a_metric_of_a_part_of_the_rows_is_there_if_any_validation_row_has_it(tmp_path, metric, is_there):
    recipe = load_recipe(tiny.recipe_table(tmp_path, training__best_by="loss"))
    suites = (NamedSuite("parts", Parts()),)
    recipe = attrs.evolve(
        recipe,
        training=attrs.evolve(recipe.training, best_by=f"parts.{metric}"),
        evaluation=attrs.evolve(recipe.evaluation, suites=suites),
    )
    corpus = recipe.data.load(Silent())
    assert "7" not in corpus.validation[0].target
    assert any("7" in example.target for example in corpus.validation)
    if is_there:
        estimate(recipe, corpus)
        return
    with pytest.raises(UsageError, match=f'best_by = "parts.{metric}": the suite has .*parts.recall/seven'):
        estimate(recipe, corpus)


def test_a_metric_of_which_neither_more_nor_less_is_better_picks_no_epoch(tmp_path):
    recipe = load_recipe(tiny.recipe_table(tmp_path, training__best_by="loss"))
    recipe = attrs.evolve(
        recipe,
        training=attrs.evolve(recipe.training, best_by="parts.length"),
        evaluation=attrs.evolve(recipe.evaluation, suites=(NamedSuite("parts", Parts()),)),
    )
    with pytest.raises(
        UsageError, match=r'training.best_by = "parts.length", a metric of which neither higher nor lower is better'
    ):
        estimate(recipe, recipe.data.load(Silent()))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"tokens__max_source": 65},
            "tokens.max_source is 65, but a bart model of this size has positions for 64;",
        ),
        ({"tokens__max_target": 65}, "tokens.max_target is 65"),
        ({"generation__max_new_tokens": 65}, "generation.max_new_tokens is 65, .* set it to 64 or less"),
    ],
)
def test_limits_beyond_a_models_positions_are_refused(tmp_path, changes, sentence):
    with pytest.raises(UsageError, match=f"teacher: {sentence}"):
        found(tmp_path, teacher__config=dict(tiny.BART), **changes)
    found(tmp_path, **changes)  # T5 has no end
    student = {"student__from_teacher": None, "student__config": dict(tiny.BART)}
    with pytest.raises(UsageError, match=f"student: {sentence}"):
        found(tmp_path, **student, **changes)


def test_limits_at_a_models_positions_are_taken(tmp_path):
    found(
        tmp_path,
        teacher__config=dict(tiny.BART), tokens__max_source=64, tokens__max_target=64, generation__max_new_tokens=64,
    )  # fmt: skip


def test_a_student_with_another_tokenizer_is_refused(tmp_path):
    from kdkit import models

    other = models.train_bpe(["other words"], vocab_size=264)
    module = models.new_model(models.config_from(tiny.T5, other), seed=1)
    models.Seq2SeqModel(module=module, tokenizer=other).save(tmp_path / "student", texts={})
    with pytest.raises(Mismatch, match="teacher and student have different tokenizers: id 258 is"):
        found(tmp_path, student__from_teacher=None, student__model=str(tmp_path / "student"))


def test_space_is_counted_by_disk_also_for_folders_that_are_not_there_yet(tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=5 * 10**9))
    one, other = tmp_path / "a" / "b", tmp_path / "c"
    check_space({one: 2 * 10**9, other: 3 * 10**9})
    with pytest.raises(
        UsageError, match=r"may write 5\.1 GB below .*, but only 5\.0 GB are free there; choose a smaller codec"
    ):
        check_space({one: 2 * 10**9, other: 3 * 10**9 + 10**8})
