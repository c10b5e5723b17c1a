"""Texts and conversations from a recipe to a report, and rows that a plan shows."""

from __future__ import annotations

import json
import re
import runpy

import pytest
import tiny
from causal_kit import LLAMA, chat_tokenizer
from click.testing import CliRunner

import kdkit

TEMPLATE = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
CAUSAL = {
    "teacher__name": "hf-causal",
    "teacher__config": dict(LLAMA),
    "student": {"name": "hf-causal", "from_teacher": {"layers": [0, 2]}},
    "training__epochs": 1,
    "training__best_by": "hard",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Rows of texts and of conversations, and a tokenizer with a chat template."""
    path = tmp_path_factory.mktemp("forms")
    pairs = tiny.pairs(24)
    with (path / "texts.jsonl").open("w") as texts, (path / "chats.jsonl").open("w") as chats:
        for source, target in pairs:
            print(json.dumps({"text": f"{source} {target}\n" * 2}), file=texts)
            turns = [("user", source), ("assistant", target), ("user", "x"), ("assistant", "x </s> x")]
            print(json.dumps({"messages": [{"role": r, "content": c} for r, c in turns]}), file=chats)
    chat_tokenizer(TEMPLATE).save_pretrained(path / "tokenizer")
    return path


def changes(folder, form, **options):
    field = {"texts": "text", "chats": "messages"}[form]
    data = {"name": "jsonl", "train": str(folder / f"{form}.jsonl"), field: field}
    return {**CAUSAL, "data": data, "teacher__tokenizer": str(folder / "tokenizer"), **options}


def rows_in(file):
    return [json.loads(line) for line in file.read_text().splitlines()]


@pytest.mark.parametrize(("form", "limits"), [("texts", {"max_length": 12, "overlap": 2}), ("chats", {})])
def test_a_run_learns_blocks_and_turns(folder, tmp_path, form, limits):
    tokens = {"max_source": 60, "max_target": 24, **limits}
    more = {"evaluation__baselines": form == "chats"}
    report = tiny.run_here(tmp_path, codec={"name": "subspace"}, **changes(folder, form, tokens=tokens, **more))
    run = report.run_dir
    read = json.loads((run / "data" / "report.json").read_text())["read"]["train"]
    examples = len(rows_in(run / "data" / "train.jsonl"))
    parts = rows_in(run / "predictions" / "rows.jsonl")
    assert read["rows"] > examples
    assert read["stops"] == (examples if form == "texts" else read["rows"])
    assert {row["id"] for row in rows_in(run / "predictions" / "student.jsonl")} == {row["id"] for row in parts}
    assert all(row["id"].startswith(f"{row['document']}#") for row in parts)
    card = (run / "student" / "best" / "README.md").read_text()
    scored_in = "blocks" if form == "texts" else "turns"
    assert re.search(rf"^On \d+ {scored_in} of the validation split, against", card, re.MULTILINE)
    assert re.search(rf"\d+ validation {scored_in}\b", (run / "report.md").read_text())
    if form == "texts":
        assert "It was trained on texts, in blocks of 12 tokens." in card
        assert json.loads((run / "data" / "report.json").read_text())["lengths"]["train"]["target"]["at_limit"] == 0
    else:
        names = runpy.run_path(str(_code_of(run, tmp_path)))
        assert names["inputs"]["input_ids"].tolist()[0][0] == names["tokenizer"].convert_tokens_to_ids("<|user|>")
        assert (run / "student" / "best" / "chat_template.jinja").read_text() == TEMPLATE
    if form == "chats":  # the most frequent answer, not a conversation
        assert rows_in(run / "predictions" / "constant.jsonl")[0]["text"] == "x </s> x"
        alone, asked = kdkit.predict(run, ["max of 3 and 4", [{"role": "user", "content": "max of 3 and 4"}]])
        assert (alone.text, alone.id, asked.id) == (asked.text, "0", "1")
    assert parts[0]["target"].splitlines()[0] in (run / "report.md").read_text()


def _code_of(run, folder):
    """The Python of the student's card, in a file."""
    from kdkit.runs.model_card import code_of

    best = run / "student" / "best"
    file = folder / "card.py"
    file.write_text(code_of((best / "README.md").read_text(), folder=str(best)))
    return file


def test_a_plan_shows_rows_with_their_labels_and_counts_them(folder, tmp_path, monkeypatch):
    from kdkit.cli.plan import command
    from kdkit.recipe import load_recipe

    monkeypatch.chdir(tmp_path)
    table = tiny.recipe_table(tmp_path, **changes(folder, "chats", tokens={"max_source": 60, "max_target": 24}))
    (tmp_path / "chat.toml").write_text(load_recipe(table).to_toml())
    said = CliRunner().invoke(command, ["chat.toml", "--show", "2"])
    assert said.exit_code == 0, said.output
    source, target = tiny.pairs(1)[0]
    assert f"<|user|>{source}</s>\n<|assistant|>[[{target}</s>]]\n" in said.output
    assert max(map(len, said.output.partition("in brackets")[2].splitlines())) <= 80
    as_json = CliRunner().invoke(command, ["chat.toml", "--show", "1", "--json"])
    shown = json.loads(as_json.stdout)["shown"]
    assert shown["rows"][0]["label_tokens"][-1] == "</s>"
    assert shown["rows"][0]["labels"] == f"{target}</s>"
    counts = shown["counts"]["train"]
    assert counts["stops"] == counts["rows"] > 30
    assert (counts["targets_cut"], counts["left_out"]) == (0, 0)
    assert "shown" not in json.loads(CliRunner().invoke(command, ["chat.toml", "--json"]).stdout)


def test_an_encoder_decoders_rows_are_shown_too(tmp_path):
    from kdkit.pipeline.prepared import Prepared
    from kdkit.pipeline.shown_rows import shown_rows
    from kdkit.recipe import load_recipe
    from kdkit.system.progress import Silent

    prepared = Prepared(load_recipe(tiny.recipe_table(tmp_path, tokens__max_target=3)), tmp_path / "run", Silent())
    corpus = prepared.corpus
    found = shown_rows(prepared, 5)
    assert len(found.rows) == 5
    assert found.rows[0].read == f"{corpus.train[0].source}</s>"
    whole = shown_rows(prepared, 100).rows
    cut = ["the labels were too many and lost their end" in row.remarks for row in whole]
    assert found.counts["train"]["targets_cut"] == sum(cut)
    assert 0 < sum(cut) < len(cut)
    assert {len(row.label_tokens) for row, is_cut in zip(whole, cut, strict=True) if is_cut} == {3}
