"""`kdkit recipes` lists, shows, resolves and checks."""

from __future__ import annotations

import json
import re
import tomllib

import pytest
from fake_plugin import SMALLEST, fake_plugins

from kdkit import cli
from kdkit import plugins as plugin_loading
from kdkit.recipe import shipped


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    plugins = fake_plugins(monkeypatch)
    monkeypatch.setattr(plugin_loading, "load", lambda: plugins)
    monkeypatch.setattr(shipped, "folder", lambda: tmp_path / "shipped")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shipped").mkdir()
    (tmp_path / "shipped" / "quick.toml").write_text('# A comment.\ndescription = "Fast."\n' + SMALLEST)
    (tmp_path / "wrong.toml").write_text('extends = "quick"\n[loss]\nalpha = 2\ntemperature = 0\n')

    def run(*arguments):
        with pytest.raises(SystemExit) as left:
            cli.main(["recipes", *arguments])
        shown = capsys.readouterr()
        return left.value.code, shown.out, shown.err

    return run


def test_list_gives_name_and_description(run, tmp_path):
    assert run("list") == (0, "name   description\nquick  Fast.\n", "")
    assert json.loads(run("list", "--json")[1]) == [
        {"name": "quick", "description": "Fast.", "path": str(tmp_path / "shipped" / "quick.toml")}
    ]


def test_show_prints_the_file_as_it_is(run, tmp_path):
    assert run("show", "quick") == (0, (tmp_path / "shipped" / "quick.toml").read_text(), "")


def test_show_resolved_has_every_default_and_every_override(run):
    code, out, _ = run("show", "quick", "--resolved", "-o", "loss.alpha=0.25", "-o", "data.path=/x y")
    table = tomllib.loads(out)
    assert code == 0
    assert table["loss"] == {"name": "kd", "alpha": 0.25, "temperature": 1.0}
    assert table["data"]["path"] == "/x y"
    assert table["evaluation"]["suites"] == [{"name": "text", "strict": True}]


def test_an_override_that_would_not_show_is_refused(run):
    code, out, err = run("show", "quick", "-o", "loss.alpha=0.25")
    assert (code, out) == (2, "")
    assert err == "error: -o shows only in the resolved recipe; add --resolved\n"


def test_validate_judges_each_file_and_tells_every_problem(run):
    code, out, err = run("validate", "quick", "wrong.toml", "gone.toml")
    assert code == 2
    assert out == "quick: valid\nwrong.toml: wrong\ngone.toml: wrong\n"
    assert err.splitlines()[:2] == [
        "error: wrong.toml:3:1: loss.alpha: must be at most 1, is 2",
        "error: wrong.toml:4:1: loss.temperature: must be greater than 0, is 0",
    ]
    assert 'there is no recipe "gone.toml"' in err
    assert run("validate", "quick")[0] == 0


def test_validate_refuses_parts_that_do_not_fit(capsys):
    with pytest.raises(SystemExit) as left:
        cli.main(["recipes", "validate", "quickstart", "-o", 'codec.name="topk"'])
    assert left.value.code == 2
    told = "loss.temperature is 2, but the codec keeps logits for temperature 1 only; set the loss to one of these"
    assert re.fullmatch(rf"error: \S+quickstart\.toml:\d+:\d+: {re.escape(told)}.*\n", capsys.readouterr().err)


def test_validate_as_json_holds_the_problems(run):
    code, out, err = run("validate", "quick", "wrong.toml", "--json")
    assert (code, err) == (2, "")
    assert [(verdict["valid"], len(verdict["problems"])) for verdict in json.loads(out)] == [(True, 0), (False, 2)]


def test_schema_is_printed_or_written(run, tmp_path):
    _, out, _ = run("schema")
    assert json.loads(out)["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert run("schema", "--output", "s.json") == (0, "", "")
    assert (tmp_path / "s.json").read_text() == out
    code, _, err = run("schema", "--output", "no/such/folder/s.json")
    assert (code, err) == (2, "error: no/such/folder/s.json cannot be written: No such file or directory\n")
