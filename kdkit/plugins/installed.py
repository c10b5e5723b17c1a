"""The installed plugins: which the environment disables, and which version of kdkit each needs."""

from __future__ import annotations

import functools
import importlib.metadata
import os
import sys
from pathlib import Path

import attrs

from kdkit.errors import PluginError

GROUP = "kdkit"
DISABLE = "KDKIT_DISABLE_PLUGINS"


@attrs.frozen(kw_only=True)
class Installed:
    """A plugin's distribution, its version and what it requires, and where its module is."""

    name: str
    version: str
    requires: tuple[str, ...]
    entry_point: importlib.metadata.EntryPoint

    @property
    def is_disabled(self) -> bool:
        """Whether `KDKIT_DISABLE_PLUGINS` leaves it out."""
        from packaging.utils import canonicalize_name

        names = {canonicalize_name(name.strip()) for name in os.environ.get(DISABLE, "").split(",")}
        return bool(names & {"1", "all", canonicalize_name(self.name)})

    def load(self) -> object:
        """Its module.

        Raises:
            PluginError: It needs another kdkit.
            Exception: Whatever the module raises.
        """
        self._check_kdkit()
        return self.entry_point.load()

    def _check_kdkit(self) -> None:
        """Refuse the plugin before its code runs: with another kdkit it would fail without naming the cause."""
        from packaging.requirements import InvalidRequirement, Requirement
        from packaging.utils import canonicalize_name

        ours = own_version()
        for line in self.requires:
            try:
                needed = Requirement(line)
            except InvalidRequirement:  # of whatever it is, kdkit cannot tell more than pip could
                continue
            if canonicalize_name(needed.name) != "kdkit" or (
                needed.marker and not needed.marker.evaluate({"extra": ""})
            ):
                continue
            if not needed.specifier.contains(ours, prereleases=True):
                raise PluginError(
                    f"version {self.version} needs kdkit {needed.specifier}, and this is kdkit {ours}: "
                    f"install a kdkit in that range, or a version of {self.name} made for kdkit {ours}"
                )


@functools.cache
def own_version() -> str:
    """The version of kdkit."""
    return importlib.metadata.version("kdkit")


def installed() -> tuple[Installed, ...]:
    """Each installed plugin, sorted, so that every machine has one order.

    The files of all distributions are read for that, so it is done again only once something was installed.
    """
    return _read(tuple((place, _changed(place)) for place in sys.path))


@functools.lru_cache(maxsize=8)
def _read(_places: tuple[tuple[str, int], ...]) -> tuple[Installed, ...]:
    found: dict[tuple[str, str], Installed] = {}
    for entry_point in importlib.metadata.entry_points(group=GROUP):
        distribution = entry_point.dist
        name = distribution.name if distribution is not None else entry_point.value
        version = distribution.version if distribution is not None else ""
        # A distribution that is on the path twice counts once: as Python does, the first is taken.
        requires = tuple((distribution.requires if distribution is not None else None) or ())
        one = Installed(name=name, version=version, requires=requires, entry_point=entry_point)
        found.setdefault((name, entry_point.value), one)
    return tuple(found[key] for key in sorted(found))


def _changed(place: str) -> int:
    """When something was last installed into a folder of `sys.path`."""
    try:
        return Path(place).stat().st_mtime_ns
    except OSError:
        return 0
