"""`recipes/codet5_assert.toml` from a ZIP in the thesis's format to a report, with a narrow T5 for CodeT5."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import kdkit
from kdkit import models
from kdkit.api import Silent
from kdkit_assertions.testing import encode_logits, write_assertion_zip

RECIPES = Path(__file__).resolve().parents[3] / "recipes"
pytestmark = pytest.mark.slow


def statement(index):
    return f'assertEquals({index % 5}, list.get("{index % 3}"));'


def row(index, tokenizer, *, bits=8, padded=40, **changes):
    """A row as published; its logits favour the true tokens, on a grid that is padded to a fixed length."""
    target = statement(index)
    ids = tokenizer(target)["input_ids"]
    logits = np.random.default_rng(index).normal(size=(1, padded, len(tokenizer))).astype(np.float32)
    for position, token in enumerate(ids[:padded]):
        logits[0, position, token] += 8.0
    fields = {
        "focal_file": "class Focal { int get(String key) { return map.get(key); } }" if index % 2 else "",
        "test_method_masked": f"@Test void t{index % 7}() {{ // <ASSERTION_PLACEHOLDER>\n }}",
        "original_target": target,
        "model_prediction": statement(index + index % 2),
        "compressed_logits": encode_logits(logits, bits=bits),
    }
    fields |= changes
    return {name: value for name, value in fields.items() if value is not None}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with a narrow T5 and a tokenizer, as `student.model` and `teacher.tokenizer`."""
    folder = tmp_path_factory.mktemp("model")
    tokenizer = models.train_bpe([statement(i) for i in range(15)], vocab_size=300)
    config = models.config_from(
        {"model_type": "t5", "d_model": 16, "d_ff": 32, "d_kv": 8, "num_heads": 2, "num_layers": 1}, tokenizer
    )
    models.Seq2SeqModel(module=models.new_model(config, seed=0), tokenizer=tokenizer).save(folder / "t5", texts={})
    return folder / "t5"


def write_zip(path, tokenizer, *, gzipped):
    train = [row(i, tokenizer, bits=(4, 8, 16, 32)[i % 4]) for i in range(24)]
    train += [
        row(30, tokenizer, padded=5),  # fewer rows of logits than labels
        row(31, tokenizer, original_target=None, assertions=[statement(31), statement(32)], focal_file=None),
        row(32, tokenizer, model_prediction=None, predicted_assertions=[statement(1)]),
        row(33, tokenizer, test_method_masked=None),
        row(34, tokenizer, original_target=None),
        row(35, tokenizer, model_prediction=None),
        row(36, tokenizer, compressed_logits=None),
        '{"focal_file": "broken',
    ]
    write_assertion_zip(path, train, [row(i, tokenizer) for i in range(100, 108)], header=True, gzipped=gzipped)


@pytest.mark.parametrize("gzipped", [False, True])
def test_the_thesis_recipe_runs_from_its_zip_to_a_report(tmp_path, model, gzipped):
    path = tmp_path / "codet5.zip"
    write_zip(path, models.load_tokenizer(str(model)), gzipped=gzipped)
    overrides = [
        f"data.path={path}",
        f"teacher.tokenizer={model}",
        f"student.model={model}",
        "generation.max_new_tokens=19",
        "training.log_every=5",
        "evaluation.bootstrap=50",
    ]
    recipe = kdkit.load_recipe(RECIPES / "codet5_assert.toml", overrides)
    report = kdkit.run(recipe, tmp_path / "run")

    data = json.loads((tmp_path / "run" / "data" / "report.json").read_text())
    assert data["rows"] == {"train": 27, "validation": 8, "test": 0}
    assert sum(drop["count"] for drop in data["drops"]) == 5
    assert all(drop["first"] for drop in data["drops"])
    found = {(score.model, score.against, score.suite, score.metric) for score in report.scores}
    for suite in ("assertions-thesis", "assertions"):
        assert {("student", "truth", suite, "f1"), ("student", "teacher", suite, "f1")} <= found
    assert ("teacher", "truth", "assertions", "f1") in found
    assert {("student", "teacher", "loss", "soft"), ("student", "truth", "loss", "hard")} <= found
    assert set(report.costs) == {"student"}  # recorded logits cost nothing that could be measured here
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert run["stages"]["distill"]["facts"]["steps"] == 27 // 2 * 3  # three epochs, last incomplete batch dropped
    page = (tmp_path / "run" / "report.html").read_text()
    assert "assertions-thesis" in page
    assert recipe.data.load(Silent()).train[0].prediction == statement(0)


def test_eight_bit_logits_reach_the_student_as_they_were_published(tmp_path, model):
    tokenizer = models.load_tokenizer(str(model))
    path = tmp_path / "codet5.zip"
    rows = [row(i, tokenizer) for i in range(4)]
    write_assertion_zip(path, rows, rows[:2])
    recipe = kdkit.load_recipe(
        RECIPES / "codet5_assert.toml",
        [f"data.path={path}", f"teacher.tokenizer={model}", f"student.model={model}", "generation.max_new_tokens=11",
         "evaluation.bootstrap=10", "training.epochs=1"],
    )  # fmt: skip
    kdkit.run(recipe, tmp_path / "run")
    facts = json.loads((tmp_path / "run" / "run.json").read_text())["stages"]["capture"]["facts"]
    cache = kdkit.LogitCache.open(Path(facts["cache"]))
    published = {}
    for recorded in recipe.data.recorded():
        logits_TV, _ = recorded.read(recorded.tokens)
        published[recorded.id] = logits_TV.copy()
    decoded = [cache.decode(key) for key in cache]
    for example in recipe.data.load(Silent()).train:
        length = len(tokenizer(example.target)["input_ids"])
        assert any(np.array_equal(published[example.id][:length], each) for each in decoded)


def test_the_live_recipe_makes_its_teacher_itself(tmp_path, model):
    tokenizer = models.load_tokenizer(str(model))
    path = tmp_path / "codet5.zip"
    write_assertion_zip(path, [row(i, tokenizer) for i in range(8)], [row(i, tokenizer) for i in range(20, 24)])
    overrides = [f"data.path={path}", f"teacher.model={model}", f"student.model={model}", "generation.max_new_tokens=19",
                 "teacher.fine_tune.epochs=1", "training.epochs=1", "evaluation.bootstrap=10"]  # fmt: skip
    report = kdkit.run(kdkit.load_recipe(RECIPES / "codet5_assert_live.toml", overrides), tmp_path / "run")
    assert set(report.costs) == {"teacher", "student"}
    assert ("teacher", "truth", "loss", "hard") in {(s.model, s.against, s.suite, s.metric) for s in report.scores}
