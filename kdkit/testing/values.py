"""What every component must be, of whatever kind."""

from __future__ import annotations

import math
from typing import Any

import attrs

from kdkit.errors import PluginError
from kdkit.plugins.fields import options_of


def check_value(component: Any, interface: type[Any]) -> None:
    """Check that a component has its kind's methods, and is a value: an attrs class whose fields are its options.

    Raises:
        AssertionError: It has not, or is not, or a field has a type that a recipe cannot express.
    """
    assert isinstance(component, interface), (
        f"{component!r} lacks a method of {interface.__module__.rpartition('.')[0]}.{interface.__name__}"
    )
    assert attrs.has(type(component)), (
        f"{type(component).__name__} is not an attrs class; its fields must be its options"
    )
    assert "name" not in attrs.fields_dict(type(component)), (
        f'{type(component).__name__} has a field "name", which in a recipe picks the component'
    )
    try:
        options_of(type(component))
    except PluginError as error:
        raise AssertionError(str(error)) from error
    assert attrs.evolve(component) == component, f"{component!r} does not equal a component with the same options"


def is_toml(value: Any) -> bool:
    """Whether a value is one that a recipe can have."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_toml(each) for key, each in value.items())
    if isinstance(value, list | tuple):
        return all(map(is_toml, value))
    return isinstance(value, bool | int | str) or (isinstance(value, float) and math.isfinite(value))
