"""`kdkit explain`: what an option is, which components have it, and where a recipe sets it."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from kdkit.cli.explain import command
from kdkit.errors import UsageError

RECIPE = """\
seed = 7

[data]
name = "jsonl"
train = "rows.jsonl"
source = "a"
target = "b"

[teacher]
name = "hf-seq2seq"
model = "x"

[student]
name = "hf-seq2seq"
model = "y"

[loss]
alpha = 0.25
"""


def explain(*arguments) -> str:
    result = CliRunner().invoke(command, [str(each) for each in arguments])
    if result.exception is not None:
        raise result.exception
    return result.output


def test_an_option_has_its_meaning_its_limits_and_its_default():
    assert explain("loss.alpha").splitlines() == [
        "loss.alpha (loss kd)",
        "  Share of the soft loss: 0 trains on labels only and needs no logits, 1 on the teacher only.",
        "  number or table; >= 0, <= 1; default 0.5",
    ]


def test_a_table_says_what_may_be_in_it():
    said = explain("student.from_teacher")
    assert "\n  table of layers, keep, by, width, tokens; default none\n" in said
    assert "keep_cut" in explain("write_targets")


def test_components_that_have_the_same_option_share_an_entry():
    said = explain("data.messages")
    assert said.startswith("data.messages (data set hf-dataset, jsonl, table, text-files)\n")
    assert said.count("data.messages") == 1


@pytest.mark.parametrize(
    ("asked", "paths"),
    [
        ("lr", {"training.learning_rate", "teacher.fine_tune.learning_rate"}),
        ("training.lr", {"training.learning_rate"}),
        ("seed", {"seed"}),
        ("num_beams", {"generation.beams", "teacher.write_targets.beams"}),
    ],
)
def test_a_name_finds_the_options_that_have_it_here_or_elsewhere(asked, paths):
    found = {each["path"] for each in json.loads(explain(asked, "--json"))}
    assert found == paths


def test_a_section_lists_its_own_options():
    found = json.loads(explain("store", "--json"))
    assert {each["path"].partition(".")[0] for each in found} == {"store"}
    assert "codec.name" in {each["path"] for each in json.loads(explain("codec", "--json"))}


def test_with_a_recipe_it_says_which_line_or_override_sets_it(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text(RECIPE)
    assert explain("loss.alpha", path).splitlines()[-1] == f"  here 0.25, {path}:18:1"
    assert explain("loss.alpha", path, "-o", "loss.alpha=1").splitlines()[-1] == "  here 1.0, -o loss.alpha=1"
    assert explain("loss.temperature", path).splitlines()[-1] == "  here 1.0, by default"
    assert [each["components"] for each in json.loads(explain("data.train", path, "--json"))] == [["jsonl"]]
    extended = tmp_path / "more.toml"
    extended.write_text('extends = "r.toml"\n\n[sweep.grid]\n"loss.alpha" = [0.1, 0.2]\nloss.temperature = [1, 2]\n')
    (found,) = json.loads(explain("loss.alpha", extended, "--json"))
    assert (found["value"], found["set_at"], found["varied_at"]) == (0.25, f"{path}:18:1", f"{extended}:4:1")
    (found,) = json.loads(explain("loss.temperature", extended, "--json"))
    assert found["varied_at"] == f"{extended}:5:6"


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (("los.alpha",), 'there is no option "los.alpha"; did you mean "loss.alpha"?'),
        (("qqq",), 'there is no option "qqq"; the sections are data, tokens,'),
        (("loss.alpha", "-o", "loss.alpha=1"), "-o changes a recipe, and none is given"),
        (("loss.alpha", "nowhere.toml"), 'there is no recipe "nowhere.toml"'),
    ],
)
def test_what_is_not_there_is_said(arguments, what):
    with pytest.raises(UsageError) as error:
        explain(*arguments)
    assert what in str(error.value)
