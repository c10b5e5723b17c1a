"""The shipped recipes for decoder-only models, with tiny models and few rows in place of theirs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import tiny
from causal_kit import LLAMA, chat_tokenizer

import kdkit
from kdkit import models
from kdkit.evaluation.record import read

RECIPES = Path(__file__).parents[2] / "recipes"
TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SMALLER = ["training.log_every=1", "evaluation.bootstrap=10", "device=cpu"]
"""What every recipe is run with here."""
WRITING = [f"teacher.write_targets.{each}" for each in ("max_new_tokens=12", "temperature=1.0", "keep_cut=true")]
"""What a model of random weights writes something with."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model with a chat template, a smaller one, questions and answered conversations."""
    path = tmp_path_factory.mktemp("shipped")
    tokenizer = chat_tokenizer(TEMPLATE)
    for name, layers in (("large", 3), ("small", 2)):
        table = {**LLAMA, "num_hidden_layers": layers, "max_position_embeddings": 4096}
        config = models.config_from(table, tokenizer, models.DecoderOnly().auto)
        module = models.new_model(config, seed=1)
        module.lm_head.weight.data[tokenizer.eos_token_id] *= 20  # so that it ends some texts
        models.causal_model(module, tokenizer).save(path / name, texts={})
    pairs = tiny.pairs(40)
    asked = [[{"role": "user", "content": source}] for source, _ in pairs]
    answered = [
        [*turns, {"role": "assistant", "content": target}] for turns, (_, target) in zip(asked, pairs, strict=True)
    ]
    for name, rows in (("asked", asked[:24]), ("answered", answered[24:]), ("chats", answered)):
        (path / f"{name}.jsonl").write_text("".join(json.dumps({"messages": turns}) + "\n" for turns in rows))
    return path


def run(folder, name, *overrides):
    model = f"teacher.model={folder / 'large'}"
    recipe = kdkit.load_recipe(RECIPES / f"{name}.toml", [model, *SMALLER, *overrides])
    report = kdkit.run(recipe, folder / "runs" / name, progress=False)
    record = json.loads((report.run_dir / "run.json").read_text())
    scored = {(each.model, each.suite, each.metric) for each in report.scores}
    return report, record["stages"], scored


def test_questions_without_answers_are_answered_by_the_assistant(folder):
    report, stages, scored = run(
        folder,
        "smollm2_chat",
        f"data.train={folder / 'asked.jsonl'}",
        f"data.validation={folder / 'answered.jsonl'}",
        *WRITING,
        "student.from_teacher.keep=2",
        "training.epochs=1",
        "evaluation.baselines=false",
    )
    facts = stages["write"]["facts"]
    assert facts["rows"] + facts["empty"] == facts["asked"] == 24
    own, written = (
        [
            json.loads(json.loads(line)["target"])["messages"]
            for line in (report.run_dir / file).read_text().splitlines()
        ]
        for file in ("data/train.jsonl", "written/train.jsonl")
    )
    assert all(turns[:1] in own and turns[1]["role"] == "assistant" for turns in written)
    assert report.headline == "tokens.agreement"
    assert ("student", "tokens", "agreement") in scored


def test_a_draft_is_judged_by_what_its_target_accepts(folder):
    report, stages, scored = run(
        folder,
        "draft_model",
        f"data.train={folder / 'asked.jsonl'}",
        f"data.validation={folder / 'answered.jsonl'}",
        f"student.model={folder / 'small'}",
        "teacher.dtype=float32",
        *WRITING,
        "training.epochs=1",
    )
    assert stages["write"]["facts"]["rows"] > 0
    assert report.headline == "tokens.acceptance"
    assert {(model, "tokens", "acceptance") for model in ("student", "untouched", "labels-only")} <= scored
    assert "Expected acceptance" in (report.run_dir / "report.md").read_text()


def test_a_large_chat_model_is_fine_tuned_by_adapters_and_distilled_into_its_sister(folder):
    pytest.importorskip("peft")
    report, stages, scored = run(
        folder,
        "llama_8b_to_1b",
        f"data.train={folder / 'chats.jsonl'}",
        "data.validation_share=0.1",
        "data.test_share=0.1",
        f"student.model={folder / 'small'}",
        "teacher.dtype=float32",
        "teacher.fine_tune.precision=fp32",
        "training.precision=fp32",
        "generation.max_new_tokens=8",
        "evaluation.baselines=false",
    )
    assert stages["check"]["facts"]["teacher_trained"] > 0
    assert ("student", "text", "f1") in scored
    assert [each.difference.metric for each in read(report.run_dir).fine_tuning][:2] == ["hard", "perplexity"]


def test_code_is_learned_by_some_layers_of_a_trimmed_and_fine_tuned_assistant(folder):
    report, stages, scored = run(
        folder,
        "smollm2_code",
        'data.packages=["click"]',
        "data.train_rows=12",
        "data.validation_rows=4",
        "data.test_rows=4",
        "data.validation_share=0.3",
        "data.max_chars=200",
        "tokens.max_length=64",
        "tokens.document_end=''",
        "teacher.vocabulary.keep=268",
        "teacher.fine_tune.layers=1",
        "teacher.fine_tune.rows=0",
        "student.from_teacher.keep=2",
        "evaluation.baselines=false",
    )
    assert len(stages["teacher"]["facts"]["pruning"]["layers"][0]["kept"]) == 2
    assert ("student", "tokens", "bits_per_byte") in scored
    assert "## What fine-tuning did to the teacher" in (report.run_dir / "report.md").read_text()
