"""`kdkit plugins`: lists installed components, shows the options of each, and begins a plugin of your own."""

from __future__ import annotations

import shlex
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from kdkit import plugins as plugin_loading
from kdkit.cli.groups import Group
from kdkit.cli.output import print_json, print_table, put, say
from kdkit.errors import PluginError
from kdkit.plugins.checks import number, show
from kdkit.plugins.fields import each_path, options_of
from kdkit.plugins.new import NEW_KINDS, write_plugin

if TYPE_CHECKING:
    from kdkit.plugins import Plugins
    from kdkit.plugins.fields import Option


@click.group(cls=Group)
def command() -> None:
    """List plugins; show a component's options; begin a plugin."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_(*, as_json: bool) -> None:
    """List every component with its kind and its plugin."""
    found = plugin_loading.load()
    entries = found.all
    if as_json:
        print_json(
            {
                "components": [
                    {"kind": plugin_loading.SINGULAR[entry.kind], "name": entry.name, "plugin": entry.plugin}
                    for entry in entries
                ],
                "plugins": [{"name": name, "version": version} for name, version in found.loaded.items()],
                "failures": [{"plugin": failure.plugin, "cause": failure.cause} for failure in found.failures],
                "disabled": list(found.disabled),
                "contested": [
                    {
                        "kind": plugin_loading.SINGULAR[kind],
                        "name": name,
                        "plugins": [entry.plugin for entry in rivals],
                    }
                    for (kind, name), rivals in found.contested.items()
                ],
            }
        )
        return
    print_table(
        ("kind", "name", "plugin", "version"),
        [
            (plugin_loading.SINGULAR[entry.kind], entry.name, entry.plugin, found.loaded[entry.plugin])
            for entry in entries
        ],
    )
    _warn(found)


@command.command("show")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def show_(name: str, *, as_json: bool) -> None:
    """Show the options of the component NAME, of each kind that has one with that name."""
    found = plugin_loading.load()
    entries = found.find(name)
    if not entries:
        _warn(found)
        known = sorted({entry.name for entry in found.all})
        near = get_close_matches(name, known, n=1)
        hint = f'; did you mean "{near[0]}"?' if near else "; `kdkit plugins list` shows all"
        raise PluginError(f'there is no component "{name}"{hint}')
    components = [(entry, entry.load()) for entry in entries]
    if as_json:
        print_json(
            [
                {
                    "kind": plugin_loading.SINGULAR[entry.kind],
                    "name": entry.name,
                    "plugin": entry.plugin,
                    "help": summary(cls),
                    "options": [option.to_json() for option in options_of(cls)],
                }
                for entry, cls in components
            ]
        )
        return
    for index, (entry, cls) in enumerate(components):
        say(("\n" if index else "") + f"{plugin_loading.SINGULAR[entry.kind]} {entry.name} ({entry.plugin})")
        say(summary(cls) + "\n")
        rows = [
            (path, option.type, default_in_words(option, option.default), allowed(option), option.help)
            for path, option in each_path(options_of(cls))
        ]
        if rows:
            print_table(("option", "type", "default", "allowed", "help"), rows)
        else:
            say("This component has no options.")


@command.command("new")
@click.argument("name")
@click.option(
    "--kind", type=click.Choice(NEW_KINDS), required=True, help="What its component is: where a recipe names it."
)
@click.option(
    "--output", type=click.Path(path_type=Path), metavar="FOLDER", help="Where to write it; by default kdkit-NAME."
)
def new(name: str, kind: str, output: Path | None) -> None:
    """Write a package of your own with a component NAME, which works and passes its own tests.

    The component is an example of its kind: change what it does, and keep the test of the rules that all of its kind
    have to keep.
    """
    made = write_plugin(name, kind, plugin_loading.load(), output)
    say(f'wrote {made.folder}: the {made.kind} "{made.name}", with tests that it passes')
    commands = (f"cd {shlex.quote(str(made.folder))}", "pip install -e .", "pytest")
    put("\n".join(["", *(f"  {line}" for line in commands), "", "A recipe then has it by these lines:", ""]))
    put("\n".join(f"  {line}" for line in made.lines.splitlines()))


def summary(cls: type) -> str:
    """The first paragraph of a class's docstring, on one line."""
    return " ".join((cls.__doc__ or "").strip().split("\n\n")[0].split())


def default_in_words(option: Option, default: Any) -> str:
    """A default, which a section of a recipe may have in place of the option's own."""
    if option.required:
        return "required"
    return "none" if default is None else show(default)


def allowed(option: Option) -> str:
    """The choices or limits of an option; "" where it has none."""
    if option.choices:
        return ", ".join(show(choice) for choice in option.choices)
    limits = {">=": option.minimum, ">": option.above, "<=": option.maximum, "<": option.below}
    return ", ".join(f"{sign} {number(limit)}" for sign, limit in limits.items() if limit is not None)


def _warn(found: Plugins) -> None:
    for failure in found.failures:
        say(f"warning: plugin {failure.plugin} failed to load: {failure.cause}", err=True)
    for choice in found.choices():
        say(f"warning: {choice}", err=True)
    if found.disabled:
        say(f"note: {plugin_loading.DISABLE} disables {', '.join(found.disabled)}", err=True)
