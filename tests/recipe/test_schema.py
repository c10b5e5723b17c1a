"""The JSON Schema takes every right recipe and refuses what an editor can see to be wrong."""

from __future__ import annotations

import copy
import tomllib

import jsonschema
import pytest
from any_recipe import RECIPES
from fake_plugin import SMALLEST, fake_plugins
from hypothesis import HealthCheck, given, settings

from kdkit import plugins as plugin_loading
from kdkit.recipe import json_schema, load_recipe, shipped_recipes


@pytest.fixture
def plugins(monkeypatch):
    return fake_plugins(monkeypatch)


@pytest.fixture
def validator(plugins):
    schema = json_schema(plugins)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@given(RECIPES)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40, deadline=None)
def test_what_loads_is_valid_as_written_and_resolved(plugins, validator, table):
    validator.validate(table)
    validator.validate(load_recipe(table, plugins=plugins).resolved)


@pytest.mark.parametrize(
    "line",
    [
        "[loss]\nalpha = 2",
        "[loss]\ntemperature = 0",
        "[loss]\nalpha = '1'",
        "[loss]\nalhpa = 1",
        "[loss]\nname = 'kdd'",
        "[loss]\nname = 'other'\nalhpa = 1",
        "[codec]\nscope = 'rows'",
        "[codec]\nname = 'plain'\nscope = 'rows'",
        "[training]\nepochs = 1.5",
        "[training]\nschedule = 'liner'",
        "[trainig]",
        "[evaluation]\nsuites = ['txet']",
        "[evaluation]\nsuites = [{strict = true}]",
        "[evaluation]\nsuites = [{name = 'text', q = true}]",
        "[teacher.fine_tune]\nepochs = 0",
        "[teacher.fine_tune]\nepoch = 1",
        "[teacher.shape]\nwidth = 3",
    ],
)
def test_what_does_not_load_is_invalid(plugins, validator, line):
    table = tomllib.loads(SMALLEST + line)
    with pytest.raises(ValueError):
        load_recipe(table, plugins=plugins)
    assert not validator.is_valid(table)


@pytest.mark.parametrize("section", ["data", "teacher", "student"])
def test_a_recipe_that_extends_another_need_not_be_complete_but_must_be_right(validator, section):
    table = tomllib.loads(SMALLEST)
    del table[section]
    assert not validator.is_valid(table)
    assert validator.is_valid({**table, "extends": "base"})
    assert not validator.is_valid({**table, "extends": "base", "loss": {"name": "kd", "alhpa": 1}})
    assert validator.is_valid({"extends": "base", "data": {"limit": 3}})


def test_the_schema_says_what_editors_show(plugins):
    schema = json_schema(plugins)
    training = schema["else"]["properties"]["training"]["properties"]
    assert training["schedule"] == {
        "type": "string",
        "enum": ["linear", "cosine", "constant"],
        "default": "linear",
        "description": "Course of the rate after the warm-up: falls to 0 linearly or along a cosine, or stays constant.",
    }
    assert training["warmup_ratio"]["minimum"] == 0
    assert training["warmup_ratio"]["maximum"] == 1
    assert training["learning_rate"]["exclusiveMinimum"] == 0
    assert schema["else"]["properties"]["evaluation"]["properties"]["suites"]["default"] == ["text"]


def test_every_shipped_recipe_is_valid_and_a_misspelt_key_in_it_is_not():
    plugins = plugin_loading.load()
    validator = jsonschema.Draft202012Validator(json_schema(plugins))
    assert shipped_recipes()
    for path in shipped_recipes().values():
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        validator.validate(table)
        for section in [key for key, value in table.items() if isinstance(value, dict)]:
            wrong = copy.deepcopy(table)
            wrong[section]["no_such_option"] = 1
            # Without a name the schema cannot know which component's options these are.
            if "extends" not in table or "name" in table[section]:
                assert not validator.is_valid(wrong), (path, section)
