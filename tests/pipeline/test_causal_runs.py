"""Decoder-only models from a recipe to a report."""

from __future__ import annotations

import json
from copy import copy

import pytest
import tiny
from causal_kit import LLAMA
from click.testing import CliRunner

from kdkit.errors import UsageError
from kdkit.recipe import load_recipe
from kdkit.testing import check_student, check_teacher

CAUSAL = {
    "teacher__name": "hf-causal",
    "teacher__config": dict(LLAMA),
    "student": {"name": "hf-causal", "from_teacher": {"layers": [0, 2]}},
    "training__best_by": "loss",
    "evaluation__baselines": True,
}


def rows_of(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_decoder_only_student_writes_what_plain_transformers_writes(tmp_path):
    report = tiny.run_here(tmp_path, codec={"name": "subspace"}, **CAUSAL)
    folder = report.run_dir
    models = {score.model for score in report.scores}
    assert {"teacher", "student", "labels-only", "untouched", "constant", "nearest"} <= models
    steps = tiny.metrics(folder)
    assert steps[-1]["hard"] < steps[0]["hard"]
    texts = {row["id"]: row["text"] for row in rows_of(folder / "predictions" / "student.jsonl")}

    from transformers import AutoModelForCausalLM, AutoTokenizer

    best = folder / "student" / "best"
    plain, its = AutoModelForCausalLM.from_pretrained(best), AutoTokenizer.from_pretrained(best)
    rows = rows_of(folder / "data" / "validation.jsonl")
    for row in rows[:3]:
        inputs = its(row["source"], return_tensors="pt")
        ids = plain.generate(**inputs, max_new_tokens=7)[0, inputs.input_ids.shape[1] :]
        assert its.decode(ids, skip_special_tokens=True) == texts[row["id"]]

    from kdkit.cli.predict import command

    said = CliRunner().invoke(command, [str(folder), "--input", str(folder / "data" / "validation.jsonl")])
    assert said.exit_code == 0, said.output
    assert [json.loads(line)["prediction"] for line in said.stdout.splitlines()] == [texts[row["id"]] for row in rows]


def test_a_run_with_packing_ends_where_the_run_without_does(tmp_path):
    """The same rows share a step, so the losses are the same but for rounding."""
    plain = {**CAUSAL, "evaluation__baselines": False, "evaluation__suites": [], "teacher__fine_tune": None}
    losses = {}
    for packing in (False, True):
        report = tiny.run_here(tmp_path, str(packing), codec={"name": "subspace"}, training__packing=packing, **plain)
        losses[packing] = [line["loss"] for line in tiny.metrics(report.run_dir)]
        padding = [line["padding"] for line in tiny.metrics(report.run_dir)]
    assert losses[True] == pytest.approx(losses[False], rel=1e-4)
    assert max(padding) < 0.3
    from kdkit.pipeline.estimate import estimate
    from kdkit.system.progress import Silent

    recipe = load_recipe(tiny.recipe_table(tmp_path, training__packing=True))
    with pytest.raises(
        UsageError, match=r"training\.packing is true, but encoder-decoder models read source and target"
    ):
        estimate(recipe, recipe.data.load(Silent()))


def test_a_teacher_and_a_student_of_two_kinds_are_refused(tmp_path):
    changes = {**CAUSAL, "student": {"name": "hf-seq2seq", "config": dict(tiny.T5)}}
    from kdkit.pipeline.estimate import estimate
    from kdkit.system.progress import Silent

    recipe = load_recipe(tiny.recipe_table(tmp_path, **changes))
    with pytest.raises(
        UsageError,
        match=r'teacher\.name is "hf-causal" \(decoder-only\) and student\.name is "hf-seq2seq" \(encoder-dec',
    ):
        estimate(recipe, recipe.data.load(Silent()))


def test_a_base_model_learns_the_stop_token_of_its_teacher_and_it_is_said_before_anything_runs(tmp_path):
    import copy

    from causal_kit import tokenizer

    from kdkit import models
    from kdkit.pipeline.estimate import estimate
    from kdkit.system.progress import Silent

    assistant, base = tokenizer(), copy.deepcopy(tokenizer())
    base.eos_token = "<pad>"
    for role, its in (("teacher", assistant), ("student", base)):
        config = models.config_from({**LLAMA, "pad_token_id": 0}, its, models.DecoderOnly().auto)
        module = models.new_model(config, seed=1)
        module.generation_config.eos_token_id = [its.eos_token_id, 7] if role == "teacher" else its.eos_token_id
        models.CausalModel(module=module, tokenizer=its).save(tmp_path / role, texts={})
    both = {f"{role}": {"name": "hf-causal", "model": str(tmp_path / role)} for role in ("teacher", "student")}
    table = tiny.recipe_table(tmp_path, **both, training__best_by="loss", training__epochs=1)
    recipe = load_recipe(table)
    found = estimate(recipe, recipe.data.load(Silent()))
    assert any(
        "was made to end texts with '<pad>' (id 0), and the teacher ends them with '</s>' (id 1)" in each
        for each in found.doubts
    )
    student = recipe.student.build(assistant, tmp_path / "teacher", seed=1, device="cpu")
    student.adopt(recipe.generation)
    student.save(tmp_path / "saved", texts={})
    reopened = recipe.student.open(tmp_path / "saved", device="cpu")
    assert reopened.module.generation_config.eos_token_id == [1, 7]
    assert reopened.tokenizer.eos_token == "</s>"


def test_the_built_in_teacher_and_student_pass_the_kit(tmp_path):
    recipe = load_recipe(
        tiny.recipe_table(tmp_path, **{**CAUSAL, "student__from_teacher": None, "student__config": dict(LLAMA)})
    )
    check_teacher(recipe.teacher)
    check_student(recipe.student)


def test_the_kit_finds_logits_that_are_a_place_early(monkeypatch):
    """States and logits agree, and no batch shows it."""
    from kdkit.builtin.students.hf_causal import HFCausalStudent
    from kdkit.models.joined import Sequences

    def judging(self, rows_BWX):
        place_BT = (self.place_BT - 1).clamp(min=0)
        return rows_BWX.gather(1, place_BT[..., None].expand(-1, -1, rows_BWX.shape[-1]))

    monkeypatch.setattr(Sequences, "judging", judging)
    with pytest.raises(AssertionError, match="logits about a label that do not change with the label before it"):
        check_student(HFCausalStudent(config=dict(LLAMA)))


def test_a_teacher_that_writes_nothing_is_told_what_it_may_lack():
    from kdkit.pipeline.open_teachers import sentence_of_empty_texts

    assistant, base = copy(tiny.tokenizer()), tiny.tokenizer()
    assistant.chat_template = "{{ messages }}"
    assert sentence_of_empty_texts(["", " ", "x", ""], assistant) == (
        "the teacher writes an empty text for 3 of 4 rows; its tokenizer has a chat template: if it is an assistant, "
        "give it conversations (data.messages)"
    )
    assert "teacher.fine_tune" in sentence_of_empty_texts([""], base)
    assert sentence_of_empty_texts(["", "x"], assistant) is sentence_of_empty_texts([], base) is None
