"""Finds plugins by the entry-point group `kdkit`, loads them one by one, and collects their components once.

A plugin that fails to load is kept as a `Failure` and stops only the recipe that needs it; so is one with a function
whose name looks like a hook and is none, or with a component of a name that kdkit's own have. Of two plugins with a
component of one name neither has it, until one of them is left out: which is used must not depend on their order.
"""

from __future__ import annotations

import importlib
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import pluggy

from kdkit.api import hookspecs
from kdkit.errors import PluginError
from kdkit.plugins.installed import installed, own_version
from kdkit.plugins.registry import KINDS, OURS, SINGULAR, Entry, Failure, Plugins, Registry, cause_of, two_claim

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

    from kdkit.api.hookspecs import Register

BUILTINS = ("kdkit.builtin",)
# No dot: "SUITE.METRIC" names a metric of a suite.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_TARGET = re.compile(r"[\w.]+:\w+")


def load(extra: tuple[ModuleType | object, ...] = ()) -> Plugins:
    """Find every component: kdkit's own, those of the given modules, and those of installed plugins.

    `KDKIT_DISABLE_PLUGINS` set to `1` or `all` loads none of the installed plugins; set to names, separated by commas,
    not these distributions.

    Args:
        extra: Plugin modules or objects that are not installed; for tests and scripts.

    Raises:
        PluginError: One of `extra` is broken. (An installed plugin that is broken becomes a `Failure`.)
    """
    manager = pluggy.PluginManager("kdkit")
    manager.add_hookspecs(hookspecs)
    registry = Registry()
    loaded: dict[str, str] = {}
    failures: list[Failure] = []
    disabled: list[str] = []
    for module_name in BUILTINS:
        _add(manager, importlib.import_module(module_name), OURS, registry)
        loaded[OURS] = own_version()
    for plugin in extra:
        name = getattr(plugin, "__name__", type(plugin).__name__)
        _add(manager, plugin, name, registry)
        loaded[name] = ""
    for rivals in registry.contested.values():
        raise PluginError(two_claim(*rivals))
    for one in installed():
        if one.is_disabled:
            disabled.append(one.name)
            continue
        try:
            _add(manager, one.load(), one.name, registry)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001 - a stranger's module may raise anything, as pytest's Skipped
            failures.append(Failure(plugin=one.name, cause=cause_of(error)))
        else:
            loaded[one.name] = one.version
    return Plugins(
        entries=registry.entries,
        loaded=loaded,
        failures=tuple(failures),
        disabled=tuple(disabled),
        contested=registry.contested,
    )


def _add(manager: pluggy.PluginManager, plugin: object, name: str, registry: Registry) -> None:
    """Register one plugin and take its components, all of them or none."""
    if manager.is_registered(plugin):  # given by hand and installed as well
        return
    _check_hook_names(manager, plugin)
    try:
        manager.register(plugin, f"{name} {id(plugin)}")  # two modules that were handed over may have one name
        manager.check_pending()
        mine: dict[tuple[str, str], Entry] = {}
        others = [other for other in manager.get_plugins() if other is not plugin]
        for kind in KINDS:
            hook = manager.subset_hook_caller(f"register_{kind}", others)
            hook(register=_collector(kind, name, mine, registry.entries))
    except BaseException as error:
        if manager.is_registered(plugin):
            manager.unregister(plugin)
        if isinstance(error, pluggy.PluginValidationError):
            raise PluginError(str(error).replace("\n", "; ")) from error
        raise
    registry.take(mine)


def _check_hook_names(manager: pluggy.PluginManager, plugin: object) -> None:
    """Refuse what pluggy ignores silently: a misspelt hook, or one that is not marked."""
    known = [f"register_{kind}" for kind in KINDS]
    for attribute in dir(plugin):
        if not attribute.startswith("register_"):
            continue
        if attribute not in known:
            near = get_close_matches(attribute.removeprefix("register_"), KINDS, n=1)
            hint = f"did you mean register_{near[0]}?" if near else f"kdkit's hooks are: {', '.join(known)}"
            ours = own_version()
            raise PluginError(
                f"{attribute} is not a hook of kdkit {ours}; {hint} (If a later kdkit has it, the plugin "
                'should depend on that: "kdkit>=...".)'
            )
        if manager.parse_hookimpl_opts(plugin, attribute) is None:
            raise PluginError(f"{attribute} is not marked as a hook; put @hookimpl of kdkit.api.hookspecs above it")


def _collector(
    kind: str, plugin: str, mine: dict[tuple[str, str], Entry], others: Mapping[tuple[str, str], Entry]
) -> Register:
    def register(name: str, target: type[Any] | str, /) -> None:
        if not _NAME.fullmatch(name):
            raise PluginError(f'"{name}" cannot name a {SINGULAR[kind]}: use letters, digits, - and _')
        if not isinstance(target, type) and not _TARGET.fullmatch(str(target)):
            raise PluginError(
                f'{SINGULAR[kind]} "{name}" must be a class or text such as "package.module:Class", is {target!r}'
            )
        entry = Entry(kind=kind, name=name, target=target, plugin=plugin)
        if (kind, name) in mine:
            raise PluginError(two_claim(mine[kind, name], entry))
        other = others.get((kind, name))
        if other is not None and other.plugin == plugin:
            raise PluginError(two_claim(other, entry))
        if other is not None and other.plugin == OURS:
            raise PluginError(
                f"{two_claim(other, entry)}; kdkit keeps the name for its own component, so rename the plugin's"
            )
        mine[kind, name] = entry

    return register
