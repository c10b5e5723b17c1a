"""The keys that a search may vary, and values of varied keys in a few words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kdkit.errors import PluginError
from kdkit.plugins import SINGULAR
from kdkit.plugins.checks import show
from kdkit.plugins.fields import options_of
from kdkit.plugins.structure import dotted
from kdkit.recipe.sections import SECTIONS, Preamble
from kdkit.recipe.suggestions import all_options, suggestion
from kdkit.sweeps.axes import SEED, Axis

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.plugins import Plugins


def why_no_axis(axis: Axis, recipe: Mapping[str, Any], plugins: Plugins) -> str | None:
    """Why a search cannot vary a key of a recipe, given as tables; None if it can."""
    if axis == SEED:
        return f"{dotted(SEED)} is varied by seeds, not by a search"
    if axis[0] not in SECTIONS:
        known = [option.name for option in options_of(Preamble)]
        return None if axis[0] in known else _no_key(axis[0], [*known, *SECTIONS], "a recipe", recipe, plugins)
    section = SECTIONS[axis[0]]
    if section.is_optional or axis[1:] in {(), ("name",)}:
        return f"{dotted(axis)} cannot be varied by a search: it is not an option"
    cls, owner = section.options, f"[{axis[0]}]"
    if section.kind is not None:
        content = recipe.get(axis[0], {})
        name = content.get("name", section.default_name) if isinstance(content, dict) else None
        if name not in plugins.names(section.kind):
            return None  # the recipe itself is wrong, which is said
        try:
            cls, owner = plugins.get(section.kind, name).load(), f'{SINGULAR[section.kind]} "{name}"'
        except PluginError:
            return None
    names = [option.name for option in options_of(cls)] if cls is not None else []
    return None if axis[1] in names else _no_key(axis[1], names, owner, recipe, plugins)


def _no_key(key: str, known: Sequence[str], owner: str, recipe: Mapping[str, Any], plugins: Plugins) -> str:
    return f"{show(key)} is not an option of {owner}{suggestion(key, known, all_options(recipe, plugins))}"


def value_text(value: Any) -> str:
    """A value of an axis in a few words: `0.5`, `linear`, `topk (k 64)`."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        rest = ", ".join(f"{key} {value_text(each)}" for key, each in value.items() if key != "name")
        return f"{value['name']}{f' ({rest})' if rest else ''}" if "name" in value else rest
    return show(value)


def title_of(values: Mapping[str, Any], seed: int | None) -> str:
    """A trial in a few words: `loss.alpha 0.5, seed 43`."""
    words = [f"{axis} {value_text(value)}" for axis, value in values.items()]
    words += [f"seed {seed}"] if seed is not None else []
    return ", ".join(words) or "as it is"
