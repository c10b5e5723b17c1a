"""`kdkit explain`: what an option of recipes means, and what a recipe sets it to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import rich_click as click

from kdkit.cli.output import print_json, say
from kdkit.cli.plugins import allowed, default_in_words
from kdkit.cli.recipes import overrides_option
from kdkit.plugins.checks import show

if TYPE_CHECKING:
    from kdkit.plugins.fields import Option
    from kdkit.recipe.explained import Explained, Setting, Settings


@click.command("explain")
@click.argument("option")
@click.argument("recipe", required=False)
@overrides_option
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def command(option: str, recipe: str | None, overrides: tuple[str, ...], *, as_json: bool) -> None:
    """Explain OPTION: a path such as loss.alpha, a section, or a name. With RECIPE, say its value and who sets it.

    Names of other toolkits, such as lr or num_beams, lead to kdkit's.
    """
    from kdkit import plugins as plugin_loading
    from kdkit.errors import UsageError
    from kdkit.recipe.explained import Settings, explained

    if overrides and recipe is None:
        raise UsageError("-o changes a recipe, and none is given; add the recipe after the option")
    plugins = plugin_loading.load()
    settings = Settings.read(recipe, overrides, plugins) if recipe is not None else None
    found = explained(option, plugins, settings)
    if as_json:
        print_json([_as_json(each, settings) for each in found])
        return
    for index, each in enumerate(found):
        say(("\n" if index else "") + each.path + _owner(each))
        say(f"  {each.option.help}")
        say("  " + "; ".join(part for part in (_type(each.option), allowed(each.option), _default(each)) if part))
        if settings is not None:
            say(f"  {_setting(settings.of(each.path))}")


def _owner(found: Explained) -> str:
    return f" ({found.kind} {', '.join(found.components)})" if found.components else ""


def _type(option: Option) -> str:
    """What an option takes; of a table what may be in it."""
    is_table = option.nested and option.type == "table"
    return f"table of {', '.join(each.name for each in option.nested)}" if is_table else option.type


def _default(found: Explained) -> str:
    words = default_in_words(found.option, found.default)
    return words if found.option.required else f"default {words}"


def _setting(setting: Setting) -> str:
    value = "not set" if setting.value is None else show(setting.value)
    here = f"here {value}, {setting.place if setting.place is not None else 'by default'}"
    return here if setting.varies is None else f"{here}; the sweep varies it, {setting.varies}"


def _as_json(found: Explained, settings: Settings | None) -> dict[str, Any]:
    table = {"path": found.path, **found.option.to_json(), "components": list(found.components)}
    if not found.option.required:
        table["default"] = found.default
    if settings is not None:
        setting = settings.of(found.path)
        table["value"] = setting.value
        for key, place in (("set_at", setting.place), ("varied_at", setting.varies)):
            table[key] = str(place) if place is not None else None
    return table
