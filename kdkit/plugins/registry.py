"""The registry: the components of all plugins by kind and name, and the faults of plugins."""

from __future__ import annotations

import importlib
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api import interfaces
from kdkit.errors import PluginError
from kdkit.plugins.installed import DISABLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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

OURS = "kdkit"
"""Under this name kdkit's own components are registered."""


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
            raise PluginError(
                f"{label} is not an attrs class, so its options cannot be read: {cls!r}; put "
                "@attrs.frozen(kw_only=True) above it"
            )
        if "name" in attrs.fields_dict(cls):
            raise PluginError(
                f'{label} has a field "name", but in a recipe `name` picks the component; rename the field'
            )
        lacking = {interface: _missing(cls, interface) for interface in INTERFACES[self.kind]}
        nearest = min(lacking, key=lambda interface: len(lacking[interface]))
        if lacking[nearest]:
            raise PluginError(f"{label} lacks {', '.join(lacking[nearest])}; see kdkit.api.{nearest.__name__}")
        return cls

    def _imported(self) -> Any:
        module, _, attribute = str(self.target).partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # whatever a stranger's module raises is that plugin's failure
            raise PluginError(
                f'{SINGULAR[self.kind]} "{self.name}" of plugin {self.plugin} cannot be imported '
                f"from {self.target}: {cause_of(error)}"
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
        contested: (kind, name) to the entries of several plugins that claim it; none of them is in `entries`.
    """

    entries: Mapping[tuple[str, str], Entry]
    loaded: Mapping[str, str]
    failures: tuple[Failure, ...] = ()
    disabled: tuple[str, ...] = ()
    contested: Mapping[tuple[str, str], tuple[Entry, ...]] = attrs.field(factory=dict)

    @property
    def all(self) -> list[Entry]:
        """Every entry by kind and name, contested names included."""
        found = [*self.entries.values(), *(entry for rivals in self.contested.values() for entry in rivals)]
        return sorted(found, key=lambda entry: (KINDS.index(entry.kind), entry.name, entry.plugin))

    def names(self, kind: str) -> list[str]:
        """Names registered for a kind, sorted."""
        return sorted(name for entry_kind, name in self.entries if entry_kind == kind)

    def choices(self) -> list[str]:
        """For each contested name, who claims it and how to choose."""
        return [_choice(rivals, self.loaded) for rivals in self.contested.values()]

    def find(self, name: str) -> list[Entry]:
        """The entries of that name, of any kind."""
        return [entry for entry in self.all if entry.name == name]

    def get(self, kind: str, name: str) -> Entry:
        """The entry of a kind and name.

        Raises:
            PluginError: There is none; the message offers near names and names the plugins that failed or are disabled.
                Or several plugins claim the name; the message says which, and how to choose.
        """
        if (kind, name) in self.entries:
            return self.entries[kind, name]
        if (kind, name) in self.contested:
            raise PluginError(_choice(self.contested[kind, name], self.loaded))
        meant = [each for each in self.names(kind) if name.lower() in _MEANT.get(each, ())]
        near = meant or get_close_matches(name, self.names(kind), n=1)
        hint = f'; did you mean "{near[0]}"?' if near else f"; available: {', '.join(self.names(kind)) or 'none'}"
        broken = "".join(f"; plugin {failure.plugin} failed to load ({failure.cause})" for failure in self.failures)
        disabled = f"; {DISABLE} disables {', '.join(self.disabled)}" if self.disabled else ""
        raise PluginError(f'unknown {SINGULAR[kind]} "{name}"{hint}{broken}{disabled}')


_MEANT: Mapping[str, Sequence[str]] = {
    "table": ("csv", "tsv", "parquet", "arrow", "feather", "excel", "xlsx"),
    "jsonl": ("json", "jsonlines", "ndjson"),
    "hf-dataset": ("hf", "hub", "huggingface", "datasets"),
    "hf-seq2seq": ("t5", "bart", "seq2seq", "encoder-decoder"),
    "hf-causal": ("gpt", "gpt2", "llama", "causal", "causal-lm", "decoder-only", "transformers"),
    "u8-lz4": ("int8", "u8", "lz4"),
    "kd": ("kl", "kld", "distillation", "forward-kl"),
    "text": ("accuracy", "exact_match", "f1", "em"),
}
"""Other words for built-in components."""


@attrs.define
class Registry:
    """The entries so far: (kind, name) to the only entry of that name, or to several."""

    entries: dict[tuple[str, str], Entry] = attrs.field(factory=dict)
    contested: dict[tuple[str, str], tuple[Entry, ...]] = attrs.field(factory=dict)

    def take(self, mine: Mapping[tuple[str, str], Entry]) -> None:
        """The components of one more plugin."""
        for key, entry in mine.items():
            others = self.contested.get(key, ())
            if key in self.entries:
                others = (self.entries.pop(key),)
            if others:
                self.contested[key] = (*others, entry)
            else:
                self.entries[key] = entry


def two_claim(*rivals: Entry) -> str:
    """That entries have one name."""
    modules = " and ".join(entry.module for entry in rivals)
    return f'two components claim the name "{rivals[0].name}" of a {SINGULAR[rivals[0].kind]}: {modules}'


def _choice(rivals: Sequence[Entry], loaded: Mapping[str, str]) -> str:
    """Who claims a name, and how to choose; a module given by the caller has no version and cannot be disabled."""
    claims = " and ".join(f"{entry.plugin} ({entry.module})" for entry in rivals)
    ways = []
    for keep in rivals:
        others = [entry.plugin for entry in rivals if entry is not keep]
        if all(loaded.get(plugin) for plugin in others):
            ways.append(f"{DISABLE}={','.join(others)} to use that of {keep.plugin}")
    what = f'{len(rivals)} plugins have a {SINGULAR[rivals[0].kind]} "{rivals[0].name}"'
    return f"{what}: {claims}; disable all but one: set {', or '.join(ways)}"


def _missing(cls: type[Any], interface: type[Any]) -> list[str]:
    """The members of an interface that a class lacks."""
    members = [name for name in vars(interface) if name == "__call__" or not name.startswith("_")]
    return [name for name in members if name not in dir(cls)]


def cause_of(error: BaseException) -> str:
    """The error as a sentence."""
    return str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
