"""A JSON Schema (draft 2020-12) of recipes, for editors: completion, help and a first check while typing.

`load_recipe` remains the judge. The schema cannot see that a file it checks is complete only together with the one it
extends, so it asks such files for nothing; it takes 3.0 for a whole number; and it knows no validator that is a
function of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdkit.api.suites import NamedSuite
from kdkit.errors import PluginError
from kdkit.plugins.fields import (
    TEXTS,
    Option,
    is_free_table,
    is_table,
    member_type,
    number_or_table,
    options_of,
    without_none,
)
from kdkit.recipe.sections import SECTIONS, SWEEP, Preamble, Section
from kdkit.recipe.stored import KEY, READABLE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.plugins import Plugins

Schema = dict[str, Any]
_TEXT: Schema = {"type": "string"}
_PLAIN = {bool: "boolean", int: "integer", float: "number", str: "string"}
# Tables of lists, however deep.
_AXES: Schema = {
    "type": "object",
    "minProperties": 1,
    "additionalProperties": {"anyOf": [{"type": "array", "minItems": 1}, {"$ref": "#/$defs/axes"}]},
}
_LIMITS = {"minimum": "minimum", "maximum": "maximum", "above": "exclusiveMinimum", "below": "exclusiveMaximum"}


def json_schema(plugins: Plugins) -> Schema:
    """The schema of recipes with the registered components."""
    keys: Schema = {
        "name": {
            "type": "string",
            "minLength": 1,
            "description": "Name of the run; by default the file's name without its ending.",
        },
        "extends": {
            "type": "string",
            "description": "A recipe to start from: its path relative to this file, or the name of a shipped recipe.",
        },
        KEY: {
            "enum": list(READABLE),
            "description": "The recipe's format, which decides what options have that it leaves out; by default the "
            "latest.",
        },
        **{option.name: _of_option(option, plugins, complete=True) for option in options_of(Preamble)},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$defs": {"axes": _AXES},
        "title": "A recipe of kdkit",
        "type": "object",
        "properties": {**keys, **{name: {"type": "object"} for name in SECTIONS}, SWEEP: _of_sweep(plugins)},
        "additionalProperties": False,
        "if": {"required": ["extends"]},
        "then": {"properties": {name: _of_section(part, plugins, complete=False) for name, part in SECTIONS.items()}},
        "else": {
            "properties": {name: _of_section(part, plugins, complete=True) for name, part in SECTIONS.items()},
            "required": [name for name, part in SECTIONS.items() if part.is_required],
        },
    }


def _of_sweep(plugins: Plugins) -> Schema:
    """`[sweep]`, whose keys are those of the recipe, dotted or nested: what each may be, `load_sweep` checks."""
    seeds: Schema = {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1}
    table: Schema = {"type": "object", "minProperties": 1}
    return {
        "description": "Many trials: which keys vary, and how.",
        "type": "object",
        "properties": {
            "grid": {**_AXES, "description": "Keys and lists of values: every combination is a trial."},
            "zip": {**_AXES, "description": "Keys and lists of values of equal length, varied together."},
            "points": {
                "type": "array",
                "minItems": 1,
                "items": {**table, "properties": {"seeds": seeds}},
                "description": "More single trials: keys and values, and if you like their own `seeds`.",
            },
            "seeds": {**seeds, "description": "Seeds of the training: every trial runs once with each."},
            "skip": {
                "type": "array",
                "minItems": 1,
                "items": table,
                "description": "Trials to leave out: a trial that matches all keys of one of these tables. A "
                "list as a value matches any of its members.",
            },
            "search": {
                **_of_component("searches", plugins, None, complete=False),
                "description": "A search that proposes the trials one by one, instead of grid, zip and points.",
            },
        },
        "additionalProperties": False,
    }


def _of_section(section: Section, plugins: Plugins, *, complete: bool) -> Schema:
    if section.kind is not None:
        schema = _of_component(section.kind, plugins, section.default_name, complete=complete)
        return {"description": section.help, **schema}
    assert section.options is not None
    schema = _of_table(options_of(section.options), plugins, complete=complete)
    for name, default in section.default.items():
        schema["properties"][name]["default"] = default
    return {"description": section.help, **schema}


def _of_component(kind: str, plugins: Plugins, default_name: str | None, *, complete: bool) -> Schema:
    """A table whose `name` decides which other keys it may have."""
    names: Schema = {"enum": plugins.names(kind)}
    if default_name is not None:
        names["default"] = default_name
    schema: Schema = {"type": "object", "properties": {"name": names}}
    if complete and default_name is None:
        schema["required"] = ["name"]
    cases = []
    for name in plugins.names(kind):
        try:
            cls = plugins.get(kind, name).load()
            options = _of_table(options_of(cls), plugins, complete=complete)
        except PluginError:
            continue  # a component that cannot be loaded has options nobody knows: any will do until it can
        options["properties"] = {"name": {"const": name}, **options["properties"]}
        is_it: Schema = {"properties": {"name": {"const": name}}}
        if not complete or name != default_name:
            is_it["required"] = ["name"]
        case: Schema = {"if": is_it, "then": options}
        cases.append(case)
    return schema | ({"allOf": cases} if cases else {})


def _of_table(options: Sequence[Option], plugins: Plugins, *, complete: bool) -> Schema:
    schema: Schema = {
        "type": "object",
        "properties": {option.name: _of_option(option, plugins, complete=complete) for option in options},
        "additionalProperties": False,
    }
    required = [option.name for option in options if option.required]
    return schema | ({"required": required} if complete and required else {})


def _of_option(option: Option, plugins: Plugins, *, complete: bool) -> Schema:
    schema = _of_type(option.annotation, option, plugins, complete=complete)
    limited = schema
    if member_type(without_none(option.annotation)) is not None:
        limited = schema["items"]
    elif number_or_table(option.annotation) is not None:
        limited = schema["anyOf"][0]
    limited |= {key: getattr(option, name) for name, key in _LIMITS.items() if getattr(option, name) is not None}
    if option.choices:
        limited["enum"] = list(option.choices)
    if option.help:
        schema["description"] = option.help
    if not option.required and option.default is not None:
        schema["default"] = option.default
    return schema


def _of_type(annotation: Any, option: Option, plugins: Plugins, *, complete: bool) -> Schema:
    wanted = without_none(annotation)
    member = member_type(wanted)
    if wanted in _PLAIN or wanted == TEXTS:
        return {"type": _PLAIN[wanted]} if wanted in _PLAIN else {"type": ["string", "array"], "items": _TEXT}
    if wanted is NamedSuite:
        # A list replaces the one it extends, so its members are complete in any file.
        return {"anyOf": [{"enum": plugins.names("metrics")}, _of_component("metrics", plugins, None, complete=True)]}
    either = number_or_table(wanted)
    if either is not None:
        number, table = either
        return {"anyOf": [{"type": _PLAIN[number]}, _of_table(options_of(table), plugins, complete=complete)]}
    if is_table(wanted):
        return _of_table(options_of(wanted), plugins, complete=complete)
    if member is not None:
        return {"type": "array", "items": _of_type(member, option, plugins, complete=True)}
    return {"type": "object"} if is_free_table(wanted) else {}
