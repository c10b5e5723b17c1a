"""`kdkit plugins` shows every component, its options, and the plugins that failed."""

from __future__ import annotations

import json

import pytest
from fake_plugin import fake_plugins

from kdkit import cli
from kdkit import plugins as plugin_loading
from kdkit.plugins import Failure


@pytest.fixture
def run(monkeypatch, capsys):
    import attrs

    plugins = attrs.evolve(
        fake_plugins(monkeypatch),
        failures=(Failure(plugin="kdkit-broken", cause="ImportError: no such thing"),),
        disabled=("kdkit-off",),
    )
    monkeypatch.setattr(plugin_loading, "load", lambda: plugins)

    def run(*arguments):
        with pytest.raises(SystemExit) as left:
            cli.main(["plugins", *arguments])
        shown = capsys.readouterr()
        return left.value.code, shown.out, shown.err

    return run


def test_list_is_a_line_a_component_and_warns_of_plugins_that_failed(run):
    code, out, err = run("list")
    lines = [line.split() for line in out.splitlines()]
    assert code == 0
    assert lines[0] == ["kind", "name", "plugin", "version"]
    assert ["teacher", "big", "FakePlugin"] in lines
    assert len(lines) == 1 + 10
    assert err == (
        "warning: plugin kdkit-broken failed to load: ImportError: no such thing\n"
        "note: KDKIT_DISABLE_PLUGINS disables kdkit-off\n"
    )


def test_list_as_json_says_the_same(run):
    code, out, err = run("list", "--json")
    shown = json.loads(out)
    assert (code, err) == (0, "")
    assert {"kind": "loss", "name": "kd", "plugin": "FakePlugin"} in shown["components"]
    assert shown["failures"] == [{"plugin": "kdkit-broken", "cause": "ImportError: no such thing"}]
    assert shown["disabled"] == ["kdkit-off"]


def test_a_name_that_several_plugins_claim_is_listed_with_each_and_how_to_choose(run, monkeypatch):
    import attrs

    plugins = plugin_loading.load()
    others = dict(plugins.entries)
    mine = attrs.evolve(others.pop(("losses", "kd")), plugin="kdkit-mine")
    rivals = (mine, attrs.evolve(mine, plugin="kdkit-other"))
    loaded = {**plugins.loaded, "kdkit-mine": "1", "kdkit-other": "2"}
    both = attrs.evolve(plugins, entries=others, contested={("losses", "kd"): rivals}, loaded=loaded)
    monkeypatch.setattr(plugin_loading, "load", lambda: both)
    _, out, err = run("list")
    assert [line.split()[2] for line in out.splitlines() if line.split()[:2] == ["loss", "kd"]] == [
        "kdkit-mine",
        "kdkit-other",
    ]
    assert 'warning: 2 plugins have a loss "kd": kdkit-mine (fake_plugin) and kdkit-other' in err
    _, out, _ = run("list", "--json")
    assert json.loads(out)["contested"] == [{"kind": "loss", "name": "kd", "plugins": ["kdkit-mine", "kdkit-other"]}]
    _, out, _ = run("show", "kd")
    assert "loss kd (kdkit-mine)" in out
    assert "loss kd (kdkit-other)" in out


def test_show_gives_the_options_with_type_default_limits_and_help(run):
    _, out, _ = run("show", "kd")
    assert out.splitlines() == [
        "loss kd (FakePlugin)",
        "A loss.",
        "",
        "option       type    default  allowed     help",
        "alpha        number  0.5      >= 0, <= 1  Share of the soft loss.",
        "temperature  number  1.0      > 0         Softens both.",
    ]


def test_show_gives_the_options_of_tables_with_their_path(run):
    _, out, _ = run("show", "big")
    assert [line.split()[0] for line in out.splitlines()[4:8]] == ["model", "shape", "shape.layers", "shape.width"]
    assert "shape.layers " in out
    assert "required" in out


def test_show_as_json_nests_them(run):
    _, out, _ = run("show", "big", "--json")
    (component,) = json.loads(out)
    shape = component["options"][1]
    assert (component["kind"], shape["name"], shape["options"][0]["name"]) == ("teacher", "shape", "layers")


def test_a_name_of_two_kinds_shows_both(run, monkeypatch):
    plugins = plugin_loading.load()
    import attrs

    entry = attrs.evolve(plugins.get("students", "small"), name="big")
    both = attrs.evolve(plugins, entries={**plugins.entries, ("students", "big"): entry})
    monkeypatch.setattr(plugin_loading, "load", lambda: both)
    _, out, _ = run("show", "big")
    assert "teacher big (FakePlugin)" in out
    assert "\n\nstudent big (FakePlugin)" in out


def test_a_name_that_is_not_there_is_answered_with_a_near_one(run):
    code, out, err = run("show", "bigg")
    assert (code, out) == (2, "")
    assert err.endswith('error: there is no component "bigg"; did you mean "big"?\n')
    assert "kdkit-broken failed to load" in err
