"""Plugins: found by the entry-point group `kdkit`, loaded one by one, asked once for their components.

A plugin that fails to load is kept as a `Failure` and stops only the recipe that needs it. Two components of one name,
or a function whose name looks like a hook and is none, are errors of the plugin that brings them.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import attrs
import pluggy

from kdkit.api import hookspecs, interfaces
from kdkit.errors import PluginError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import ModuleType

    from kdkit.api.hookspecs import Register

KINDS = (
    "datasets",
    "teachers",
    "students",
    "codecs",
    "losses",
    "metrics",
    "references",
    "searches",
    "trackers",
)
SINGULAR = {
    "datasets": "data set",
    "teachers": "teacher",
    "students": "student",
    "codecs": "codec",
    "losses": "loss",
    "metrics": "metric suite",
    "references": "reference",
    "searches": "search",
    "trackers": "tracker",
}
# A component has all members of one of its kind's.
INTERFACES: Mapping[str, tuple[type[Any], ...]] = {
    "datasets": (interfaces.DataSource,),
    "teachers": (interfaces.Teacher,),
    "students": (interfaces.Student,),
    "codecs": (interfaces.Codec, interfaces.FittedCodec),
    "losses": (interfaces.LossMixer,),
    "metrics": (interfaces.MetricSuite,),
    "references": (interfaces.Reference,),
    "searches": (interfaces.Search,),
    "trackers": (interfaces.Tracker,),
}
BUILTINS = ("kdkit.builtin",)
GROUP = "kdkit"
DISABLE = "KDKIT_DISABLE_PLUGINS"
# No dot: "SUITE.METRIC" names a metric of a suite.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_TARGET = re.compile(r"[\w.]+:\w+")


@attrs.frozen(kw_only=True)
class Entry:
    """One registered component: its kind and name, the class or lazy string, and the plugin that brought it."""

    kind: str
    name: str
    target: type[Any] | str
    plugin: str

    @property
    def module(self) -> str:
        """The module that the component lives in."""
        return self.target.split(":")[0] if isinstance(self.target, str) else self.target.__module__

    def load(self) -> type[Any]:
        """The component class, imported if it was registered as a string.

        Raises:
            PluginError: It cannot be imported, or is no component of its kind.
        """
        cls = self._imported() if isinstance(self.target, str) else self.target
        label = f'{SINGULAR[self.kind]} "{self.name}" of plugin {self.plugin}'
        if not isinstance(cls, type) or not attrs.has(cls):
            raise PluginError(f"{label} is no attrs class, so its options cannot be read: {cls!r}")
        if "name" in attrs.fields_dict(cls):
            raise PluginError(f'{label} has a field "name", which in a recipe picks the component; rename the field')
        lacking = {interface: _missing(cls, interface) for interface in INTERFACES[self.kind]}
        nearest = min(lacking, key=lambda interface: len(lacking[interface]))
        if lacking[nearest]:
            raise PluginError(f"{label} lacks {', '.join(lacking[nearest])}; see kdkit.api.{nearest.__name__}")
        return cls

    def _imported(self) -> Any:
        module, _, attribute = str(self.target).partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except Exception as error:  # whatever a stranger's module raises is that plugin's failure
            raise PluginError(
                f'{SINGULAR[self.kind]} "{self.name}" of plugin {self.plugin} cannot be imported '
                f"from {self.target}: {_cause(error)}"
            ) from error


@attrs.frozen(kw_only=True)
class Failure:
    """A plugin that could not be loaded: its distribution and what went wrong."""

    plugin: str
    cause: str


@attrs.frozen
class Plugins:
    """Everything that is registered, and every plugin that failed.

    Attributes:
        entries: (kind, name) to entry.
        loaded: Name of each loaded plugin to its version.
        failures: The plugins that could not be loaded.
        disabled: The installed plugins that the environment says not to load.
    """

    entries: Mapping[tuple[str, str], Entry]
    loaded: Mapping[str, str]
    failures: tuple[Failure, ...] = ()
    disabled: tuple[str, ...] = ()

    def names(self, kind: str) -> list[str]:
        """Names registered for a kind, sorted."""
        return sorted(name for entry_kind, name in self.entries if entry_kind == kind)

    def find(self, name: str) -> list[Entry]:
        """The entries of that name, of whatever kind."""
        return [entry for (_, entry_name), entry in self.entries.items() if entry_name == name]

    def get(self, kind: str, name: str) -> Entry:
        """The entry of a kind and name.

        Raises:
            PluginError: There is none; the message offers near names and names the plugins that failed or are disabled.
        """
        if (kind, name) in self.entries:
            return self.entries[kind, name]
        near = get_close_matches(name, self.names(kind), n=1)
        hint = f'; did you mean "{near[0]}"?' if near else f"; there are: {', '.join(self.names(kind)) or 'none'}"
        broken = "".join(f"; plugin {failure.plugin} failed to load ({failure.cause})" for failure in self.failures)
        disabled = f"; {DISABLE} disables {', '.join(self.disabled)}" if self.disabled else ""
        raise PluginError(f'unknown {SINGULAR[kind]} "{name}"{hint}{broken}{disabled}')


def load(extra: tuple[ModuleType | object, ...] = ()) -> Plugins:
    """Load the built-ins, the given modules and the installed plugins (unless disabled), and fill the registries.

    `KDKIT_DISABLE_PLUGINS` set to `1` or `all` loads none of the installed plugins; set to names, separated by commas,
    not these distributions.

    Args:
        extra: Plugin modules or objects that are not installed; for tests and scripts.

    Raises:
        PluginError: One of `extra` is broken. (An installed plugin that is broken becomes a `Failure`.)
    """
    manager = pluggy.PluginManager("kdkit")
    manager.add_hookspecs(hookspecs)
    entries: dict[tuple[str, str], Entry] = {}
    loaded: dict[str, str] = {}
    failures: list[Failure] = []
    disabled: list[str] = []
    for module_name in BUILTINS:
        _add(manager, importlib.import_module(module_name), "kdkit", entries)
        loaded["kdkit"] = importlib.metadata.version("kdkit")
    for plugin in extra:
        name = getattr(plugin, "__name__", type(plugin).__name__)
        _add(manager, plugin, name, entries)
        loaded[name] = ""
    for name, version, entry_point in _installed():
        if _is_disabled(name):
            disabled.append(name)
            continue
        try:
            _add(manager, entry_point.load(), name, entries)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a stranger's module may raise anything
            failures.append(Failure(plugin=name, cause=_cause(error)))
        else:
            loaded[name] = version
    return Plugins(entries=entries, loaded=loaded, failures=tuple(failures), disabled=tuple(disabled))


def _installed() -> Iterator[tuple[str, str, importlib.metadata.EntryPoint]]:
    """Distribution, version and entry point of each installed plugin, sorted, so that every machine has one order."""
    found: dict[tuple[str, str], tuple[str, str, importlib.metadata.EntryPoint]] = {}
    for entry_point in importlib.metadata.entry_points(group=GROUP):
        distribution = entry_point.dist
        name = distribution.name if distribution is not None else entry_point.value
        version = distribution.version if distribution is not None else ""
        # A distribution that is on the path twice counts once: as Python does, the first is taken.
        found.setdefault((name, entry_point.value), (name, version, entry_point))
    for key in sorted(found):
        yield found[key]


def _is_disabled(distribution: str) -> bool:
    names = {_normal(name) for name in os.environ.get(DISABLE, "").split(",")}
    return bool(names & {"1", "all", _normal(distribution)})


def _normal(name: str) -> str:
    """A distribution's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def _missing(cls: type[Any], interface: type[Any]) -> list[str]:
    """The members of an interface that a class lacks."""
    members = [name for name in vars(interface) if name == "__call__" or not name.startswith("_")]
    return [name for name in members if name not in dir(cls)]


def _cause(error: BaseException) -> str:
    return str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"


def _add(manager: pluggy.PluginManager, plugin: object, name: str, entries: dict[tuple[str, str], Entry]) -> None:
    """Register one plugin and take its components, all of them or none."""
    if manager.is_registered(plugin):  # given by hand and installed as well
        return
    _check_hook_names(manager, plugin)
    try:
        manager.register(plugin)
        manager.check_pending()
        mine: dict[tuple[str, str], Entry] = {}
        others = [other for other in manager.get_plugins() if other is not plugin]
        for kind in KINDS:
            hook = manager.subset_hook_caller(f"register_{kind}", others)
            hook(register=_collector(kind, name, mine, entries))
    except Exception as error:
        if manager.is_registered(plugin):
            manager.unregister(plugin)
        if isinstance(error, pluggy.PluginValidationError):
            raise PluginError(str(error).replace("\n", "; ")) from error
        raise
    entries.update(mine)


def _check_hook_names(manager: pluggy.PluginManager, plugin: object) -> None:
    """Refuse what pluggy passes over in silence: a hook that is misspelt or not marked as one."""
    known = [f"register_{kind}" for kind in KINDS]
    for attribute in dir(plugin):
        if not attribute.startswith("register_"):
            continue
        if attribute not in known:
            near = get_close_matches(attribute, known, n=1)
            hint = f"; did you mean {near[0]}?" if near else f"; there are: {', '.join(known)}"
            raise PluginError(f"{attribute} is not a hook of kdkit{hint}")
        if manager.parse_hookimpl_opts(plugin, attribute) is None:
            raise PluginError(f"{attribute} is not marked as a hook; put @hookimpl of kdkit.api.hookspecs above it")


def _collector(
    kind: str, plugin: str, mine: dict[tuple[str, str], Entry], others: Mapping[tuple[str, str], Entry]
) -> Register:
    def register(name: str, target: type[Any] | str, /) -> None:
        if not _NAME.fullmatch(name):
            raise PluginError(f'"{name}" cannot name a {SINGULAR[kind]}: use letters, digits, - and _')
        if not isinstance(target, type) and not _TARGET.fullmatch(str(target)):
            raise PluginError(f'{SINGULAR[kind]} "{name}" must be a class or "package.module:Class", is {target!r}')
        entry = Entry(kind=kind, name=name, target=target, plugin=plugin)
        other = mine.get((kind, name)) or others.get((kind, name))
        if other is not None:
            raise PluginError(
                f'two components claim the name "{name}" of a {SINGULAR[kind]}: {other.module} and {entry.module}'
            )
        mine[kind, name] = entry

    return register
