"""`kdkit init`: what it sees in a file, what it writes, and what it says."""

from __future__ import annotations

import copy
import csv
import json
import re
import sys

import causal_kit
import pytest
from click.testing import CliRunner

from kdkit import models
from kdkit.cli.init import command
from kdkit.errors import MissingInput, UsageError
from kdkit.pipeline.beginning.looking import Columns, look
from kdkit.recipe import load_recipe

STAGES = ("data", "check", "teacher", "capture", "distill", "baseline", "evaluate", "report")
CHATML = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


@pytest.fixture(autouse=True)
def in_folder(tmp_path, monkeypatch):
    """A folder to work in, and stages that take a second each (tests/pipeline/test_times.py tries some really)."""
    monkeypatch.chdir(tmp_path)
    stages = {stage: {"seconds": 1.0, "work": {}, "by": "trial"} for stage in STAGES}
    monkeypatch.setattr("kdkit.pipeline.plan_time._tried", lambda *_: stages)


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def pairs(count=60):
    return [{"id": i, "question": f"What is {i} plus 1?", "answer": str(i + 1)} for i in range(count)]


def init(*arguments, answers=""):
    result = CliRunner().invoke(command, [str(each) for each in arguments], input=answers, standalone_mode=False)
    if result.exception is not None:
        raise result.exception
    return result.output


def _rows_and_parts(said, noun):
    """How many rows of each split a plan says that there are, and as how many the models read them."""
    told = re.search(rf"read jsonl: (.*) rows, in (.*) {noun} ", said)
    return [[int(count) for count in re.findall(r"\d+", each)] for each in told.groups()]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"id": "a", "question": "x", "answer": "y"}, Columns(source="question", target="answer")),
        ({"Prompt": "x", "Completion": "y", "n": 3}, Columns(source="Prompt", target="Completion")),
        ({"instruction": "x", "input": "y", "output": "z"}, Columns(source="{instruction}\n{input}", target="output")),
        ({"text": "x", "url": 3}, Columns(text="text")),
        ({"frage": "x", "antwort": "y"}, Columns(source="frage", target="antwort", is_guessed=True)),
        ({"chat": [{"role": "user", "content": "x"}], "text": "x"}, Columns(messages="chat")),
        ({"c": [{"from": "human", "value": "x"}]}, Columns(messages="c")),
    ],
)
def test_columns_are_known_by_their_names_and_kinds(tmp_path, row, expected):
    assert look(str(write(tmp_path / "r.jsonl", [row] * 3))).guess() == expected


def test_a_csv_of_pairs_becomes_a_recipe_that_is_planned(tmp_path):
    with (tmp_path / "sums.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, ["id", "question", "answer"])
        table.writeheader()
        table.writerows(pairs())
    said = init("sums.csv")
    assert load_recipe("sums.toml").training.batch_size == 2
    assert said.startswith("sums.csv: 60 rows; source question, target answer\n")
    assert "\nwrote sums.toml\n" in said
    assert "</s>]]" in said
    assert said.endswith("next: kdkit run sums.toml\n")
    recipe = load_recipe("sums.toml")
    assert recipe.names | {"data": "table", "teacher": "hf-seq2seq", "codec": "u8-lz4"} == recipe.names
    assert (recipe.data.validation_share, recipe.data.test_share) == (0.2, 0.2)
    assert (recipe.tokens.max_source, recipe.tokens.max_target) == (16, 16)
    assert "\nabout 0:08 to do: an estimate, by a few steps and rows on this machine\n" in said
    (kept,) = (tmp_path / "runs/cache/times").iterdir()  # and nothing beside it
    files = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert files == {tmp_path / "sums.csv", tmp_path / "sums.toml", kept}
    with pytest.raises(UsageError, match=r"sums\.toml is there already; give another --output"):
        init("sums.csv")
    init("sums.csv", "--force", "--kind", "decoder-only", "--source", "Q: {question}", "--target", "answer")
    assert load_recipe("sums.toml").names["student"] == "hf-causal"


def test_times_are_left_out_where_a_large_model_would_be_loaded_and_shown_once_they_are_known(tmp_path, monkeypatch):
    write(tmp_path / "sums.jsonl", pairs())
    monkeypatch.setattr("kdkit.cli.init.SMALL", 1_000_000)
    said = init("sums.jsonl")
    assert (
        "how long it takes: kdkit plan sums.toml --time, which loads a model of 1.36 M parameters for a few steps"
        in said
    )
    assert "an estimate" not in said
    assert "an estimate" in init("sums.jsonl", "--force", "--time")
    assert "an estimate" in init("sums.jsonl", "--force")
    without = init("sums.jsonl", "--force", "--no-time")
    assert "an estimate" not in without
    assert "how long" not in without


def test_texts_have_blocks_and_no_suites(tmp_path):
    write(
        tmp_path / "docs.jsonl", [{"text": f"def f{i}(x):\n    return {i}" * (1 + 199 * (i == 7))} for i in range(60)]
    )
    said = init("docs.jsonl", "--output", "made.toml", "--no-time")
    rows, blocks = _rows_and_parts(said, "blocks")
    assert sum(rows) == 60 < sum(blocks)
    assert said.startswith("docs.jsonl: 60 rows; learned whole: text\n")
    recipe = load_recipe("made.toml")
    assert (recipe.name, recipe.data.text, recipe.tokens.max_length) == ("made", "text", 256)
    assert recipe.evaluation.suites == ()


def test_a_folder_of_texts_is_read_file_by_file(tmp_path):
    for number in range(60):
        (tmp_path / "notes" / str(number % 3)).mkdir(parents=True, exist_ok=True)
        (tmp_path / "notes" / str(number % 3) / f"{number}.md").write_text(f"# Note {number}\n\nof some words\n")
    init("notes", "--no-time")
    recipe = load_recipe("notes.toml")
    assert (recipe.names["data"], recipe.data.train, recipe.data.text) == ("text-files", "notes", "text")
    (tmp_path / "notes" / "rows.csv").write_text("a,b\n1,2\n")
    with pytest.raises(MissingInput, match="notes is a folder in which the library datasets finds no rows"):
        init("notes", "--no-time", "--force")


def test_texts_of_a_chat_model_end_with_its_own_token_for_documents_and_epochs_go_by_blocks(tmp_path, monkeypatch):
    """The recipe that is written takes the token that the plan would advise; few texts may be many blocks."""
    write(tmp_path / "docs.jsonl", [{"text": f"{i} " + "max of 3 and 4, " * 200} for i in range(20)])
    monkeypatch.setattr("kdkit.pipeline.beginning.writing.FEW", 50)
    tokenizer = copy.deepcopy(causal_kit.chat_tokenizer(CHATML))
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|endoftext|>"]})
    config = models.config_from(causal_kit.LLAMA, tokenizer, models.DecoderOnly().auto)
    models.causal_model(models.new_model(config, seed=1), tokenizer).save(tmp_path / "model", texts={})
    said = init("docs.jsonl", "--teacher", "model", "--no-time")
    assert "tokens.document_end" not in said
    recipe = load_recipe("docs.toml")
    assert recipe.tokens.document_end == "<|endoftext|>"
    (line,) = (each for each in (tmp_path / "docs.toml").read_text().splitlines() if "20 rows, about" in each)
    blocks = int(line.partition("about ")[2].split()[0].replace(",", ""))
    train = int(re.search(r"^train +([\d,]+)", said, re.MULTILINE)[1].replace(",", ""))
    assert blocks > train > 0.3 * blocks  # of 20 texts, a fifth validates and a fifth is the test, by chance
    assert blocks > 50
    assert recipe.training.epochs == 3


def test_chats_are_read_with_the_template_of_a_trained_teacher(tmp_path):
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    write(tmp_path / "chats.jsonl", [{"messages": turns * 2}] * 60)
    with pytest.raises(UsageError, match="name a chat model with --teacher"):
        init("chats.jsonl")
    tokenizer = causal_kit.chat_tokenizer(CHATML)
    config = models.config_from(causal_kit.LLAMA, tokenizer, models.DecoderOnly().auto)
    models.causal_model(models.new_model(config, seed=1), tokenizer).save(tmp_path / "model", texts={})
    said = init("chats.jsonl", "--teacher", "model")
    assert "<|assistant|>[[y</s>]]" in said
    assert "chats.jsonl: 60 rows; conversations: messages\n" in said
    rows, turns = _rows_and_parts(said, "turns")
    assert [2 * each for each in rows] == turns
    recipe = load_recipe("chats.toml")
    assert recipe.student.from_teacher.keep == 2
    assert recipe.teacher.fine_tune.layers == 1


def test_a_terminal_is_asked_what_cannot_be_told(tmp_path, monkeypatch):
    write(tmp_path / "r.jsonl", [{"frage": "x", "antwort": "y"}] * 60)
    assert "source frage, target antwort (guessed" in init("r.jsonl")
    monkeypatch.setattr("kdkit.cli.init.asks", lambda: True)
    said = init("r.jsonl", "--force", answers="antwort\nfrage\n")
    assert "source antwort, target frage" in said


def test_of_three_columns_a_terminal_is_asked_beside_the_first_row(tmp_path, monkeypatch):
    write(tmp_path / "r.jsonl", [{"dish": "Dal", "line": "2 cups\nof " + "rice " * 40, "parsed": "2 | cup"}] * 60)
    with pytest.raises(UsageError, match="which do not say what is read and what is written; give --source"):
        init("r.jsonl")
    monkeypatch.setattr("kdkit.cli.init.asks", lambda: True)
    with pytest.raises(UsageError, match="which do not say what is read"):
        init("r.jsonl", "--yes")
    said = init("r.jsonl", answers="{dish}: {line}\nparsed\n")
    assert "  dish    Dal\n  line    2 cups of rice" in said
    assert max(map(len, said.partition("What the model reads")[0].splitlines())) <= 80
    assert "source {dish}: {line}, target parsed\n" in said  # an answer is not a guess
    recipe = load_recipe("r.toml")
    assert (recipe.data.source, recipe.data.target) == ("{dish}: {line}", "parsed")


@pytest.mark.parametrize(
    ("arguments", "error", "what"),
    [
        (("nowhere.csv",), MissingInput, "nowhere.csv is not there"),
        (("r.jsonl",), UsageError, "has the columns 'a', 'b', 'c', which do not say what is read"),
        (("r.jsonl", "--source", "a"), UsageError, "source is given, and target is not; give both"),
        (("r.jsonl", "--text", "q"), UsageError, "r.jsonl has no column q; it has 'a', 'b', 'c'"),
        (("r.jsonl", "--text", "a", "--student", "x"), UsageError, "name --teacher as well"),
        (("r.jsonl", "--text", "a", "--kind", "encoder-decoder"), UsageError, "need a decoder-only model"),
        (("empty.jsonl",), UsageError, "empty.jsonl holds no row"),
        (("notes.rst",), UsageError, "notes.rst is plain text; give the folder with all texts"),
        (("library",), MissingInput, "needs the package datasets: pip install datasets"),
        (("within.json",), UsageError, "within.json is one object, whose rows are in 'data'; write these as JSON"),
        (("r.jsonl", "--text", "a", "--output", "no/where.toml"), UsageError, "cannot be written"),
    ],
)
def test_mistakes_are_answered_with_what_to_do(tmp_path, monkeypatch, arguments, error, what):
    write(tmp_path / "r.jsonl", [{"a": "x", "b": "y", "c": "z"}] * 12)
    write(tmp_path / "empty.jsonl", [])
    write(tmp_path / "within.json", [{"version": 1, "data": [{"a": "x", "b": "y"}]}])
    (tmp_path / "notes.rst").write_text("Title, with a comma\n" + "One, two\n" * 12)
    (tmp_path / "library").mkdir()
    (tmp_path / "library" / "rows.parquet").touch()
    if arguments == ("library",):
        monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(error) as found:
        init(*arguments)
    assert what in str(found.value)


def test_a_recipe_that_no_run_could_begin_with_is_not_written(tmp_path):
    """The same command can be given again, once the rows are mended."""
    (tmp_path / "r.jsonl").write_text(json.dumps({"text": "a"}) + "\n{\n" + (json.dumps({"text": "b"}) + "\n") * 20)
    with pytest.raises(
        UsageError, match=r"^r\.jsonl:2:\d+: this line is not a JSON object: its object ends on a later line"
    ):
        init("r.jsonl")
    assert not (tmp_path / "r.toml").exists()


def test_a_folder_of_the_library_datasets_keeps_its_splits(tmp_path):
    datasets = pytest.importorskip("datasets")
    splits = {"train": pairs(50), "validation": pairs(9), "test": pairs(8)}
    datasets.DatasetDict({name: datasets.Dataset.from_list(rows) for name, rows in splits.items()}).save_to_disk(
        tmp_path / "stored"
    )
    looked = look("stored")
    assert (looked.dataset, looked.count) == ("hf-dataset", 50)
    assert looked.options == {"path": "stored", "train": "train", "validation": "validation", "test": "test"}
    assert looked.guess() == Columns(source="question", target="answer")
