"""`requires`: checks that the plugins that a recipe needs are installed, and says what to do if one is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.plugins import DISABLE, GROUP
from kdkit.system.packages import version_of

if TYPE_CHECKING:
    from packaging.requirements import Requirement

    from kdkit.plugins import Plugins


def unmet(requirement: str, plugins: Plugins) -> str | None:
    """Why one entry of `requires` is not met, or None.

    Args:
        requirement: The name of a distribution, with a version specifier (PEP 440) or without.
        plugins: What is loaded.
    """
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    try:
        wanted = Requirement(requirement)
    except InvalidRequirement:
        return f'must be the name of a distribution, as in "kdkit-assertions>=0.1", is "{requirement}"'
    name = canonicalize_name(wanted.name)
    versions = {canonicalize_name(plugin): version for plugin, version in plugins.loaded.items()}
    if name in versions:
        # A module that was handed over has no version, and is taken as it is.
        if not versions[name] or wanted.specifier.contains(versions[name], prereleases=True):
            return None
        how = "install a kdkit in that range" if name == "kdkit" else f"pip install '{requirement}'"
        return f"needs {requirement}, but version {versions[name]} is installed: {how}"
    return _why_not_loaded(wanted, plugins)


def _why_not_loaded(wanted: Requirement, plugins: Plugins) -> str:
    from packaging.utils import canonicalize_name

    name = canonicalize_name(wanted.name)
    for failure in plugins.failures:
        if canonicalize_name(failure.plugin) == name:
            return f"needs plugin {wanted.name}, which failed to load: {failure.cause}"
    if name in {canonicalize_name(plugin) for plugin in plugins.disabled}:
        return f"needs plugin {wanted.name}, which {DISABLE} disables"
    if version_of(wanted.name) is None:
        quoted = f"'{wanted}'" if str(wanted.specifier) else wanted.name
        return f"needs plugin {wanted.name}, which is not installed: pip install {quoted}"
    return f'needs plugin {wanted.name}, which is installed but has no entry point in the group "{GROUP}"'
