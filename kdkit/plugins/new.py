"""A new plugin: a package with one component that keeps the rules of its kind, and the test that says so."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from kdkit.errors import UsageError
from kdkit.plugins.installed import own_version
from kdkit.plugins.registry import SINGULAR
from kdkit.system.files import make_folder, write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kdkit.plugins.registry import Plugins

_PREFIX = "kdkit-"
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


@attrs.frozen(kw_only=True)
class _Kind:
    """A kind of component as a new plugin has it.

    Attributes:
        hook: Its key in the registry.
        module: Name of the module, and of the templates.
        lines: How a recipe names the component of the template, with the options that it must have.
        needs_numpy: Whether the template imports NumPy.
    """

    hook: str
    module: str
    lines: str
    needs_numpy: bool = False


_KINDS: Mapping[str, _Kind] = {
    kind.module: kind
    for kind in (
        _Kind(hook="datasets", module="dataset", lines='[data]\nname = "{}"\npath = "quotes.tsv"'),
        _Kind(
            hook="teachers", module="teacher", lines='[teacher]\nname = "{}"\ntokenizer = "FOLDER"', needs_numpy=True
        ),
        _Kind(hook="students", module="student", lines='[student]\nname = "{}"\nconfig = {{ model_type = "t5" }}'),
        _Kind(hook="codecs", module="codec", lines='[codec]\nname = "{}"', needs_numpy=True),
        _Kind(hook="losses", module="loss", lines='[loss]\nname = "{}"\nalpha = 0.5'),
        _Kind(hook="metrics", module="metrics", lines='[evaluation]\nsuites = ["text", "{}"]'),
        _Kind(
            hook="references",
            module="reference",
            lines='[reference]\nname = "{}"\npath = "published.csv"\ncitation = "who, where and when"',
        ),
        _Kind(
            hook="searches",
            module="search",
            lines='[sweep.search]\nname = "{}"\nbetween = {{ "loss.alpha" = [0.0, 1.0] }}',
        ),
        _Kind(hook="trackers", module="tracker", lines='[track]\nname = "{}"'),
    )
}
NEW_KINDS = tuple(_KINDS)
"""The kinds, as a command line names them."""


@attrs.frozen(kw_only=True)
class NewPlugin:
    """A plugin that was written.

    Attributes:
        folder: Where.
        kind: The kind of its component, in words.
        name: The component's name.
        lines: The lines by which a recipe names it.
    """

    folder: Path
    kind: str
    name: str
    lines: str


def write_plugin(asked: str, kind: str, plugins: Plugins, folder: Path | None = None) -> NewPlugin:
    """Write a package with a component of a kind, which passes its own tests.

    Args:
        asked: The component's name; that of the distribution begins with `kdkit-`.
        kind: One of `NEW_KINDS`.
        plugins: What components there are.
        folder: Where; by default a folder of the distribution's name.

    Raises:
        UsageError: The name cannot be one or is taken, or the folder is there.
    """
    name = asked.removeprefix(_PREFIX)
    _check_name(name, asked)
    chosen = _KINDS[kind]
    _check_free(name, chosen, plugins)
    distribution = _PREFIX + name
    place = folder if folder is not None else Path(distribution)
    if place.exists() or place.is_symlink():
        raise UsageError(f"{place} is there already; give another name, or another folder with --output")
    package = distribution.replace("-", "_")
    files = {
        "pyproject.toml": "pyproject.toml",
        "README.md": "README.md",
        f"{package}/__init__.py": "__init__.py",
        f"{package}/{chosen.module}.py": f"{chosen.module}.py",
        f"tests/test_{package}.py": f"test_{chosen.module}.py",
    }
    for file, text in rendered(name, kind, files).items():
        make_folder((place / file).parent)
        write_atomically(place / file, text.encode())
    return NewPlugin(folder=place, kind=SINGULAR[chosen.hook], name=name, lines=chosen.lines.format(name))


def rendered(name: str, kind: str, files: Mapping[str, str]) -> dict[str, str]:
    """The texts of files.

    Args:
        name: The component's name.
        kind: Its kind.
        files: Path of a file to its template's name.
    """
    import jinja2

    templates = jinja2.Environment(  # noqa: S701 - what is made is Python and TOML, of a name that was checked
        loader=jinja2.PackageLoader("kdkit.plugins", "templates"),
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    chosen, package = _KINDS[kind], f"{_PREFIX}{name}".replace("-", "_")
    facts = {
        "name": name,
        "distribution": _PREFIX + name,
        "package": package,
        "module": chosen.module,
        "hook": chosen.hook,
        "kind": SINGULAR[chosen.hook],
        "recipe": chosen.lines.format(name),
        "needs_numpy": chosen.needs_numpy,
        "version": own_version(),
    }
    class_name = "".join(part.capitalize() for part in name.split("-"))
    module = templates.get_template(f"{chosen.module}.py.jinja2").render(**facts, class_name="\0")
    if re.search(rf"\b{class_name}\b", module):  # a name that the module imports or defines
        class_name += chosen.module.capitalize()
    return {
        file: templates.get_template(f"{template}.jinja2").render(**facts, class_name=class_name)
        for file, template in files.items()
    }


def _check_name(name: str, asked: str) -> None:
    if _NAME.fullmatch(name):
        return
    meant = re.sub(r"[^a-z0-9]+", "-", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name).lower()).strip("-")
    hint = f'; did you mean "{meant}"?' if _NAME.fullmatch(meant) else ""
    raise UsageError(
        f'"{asked}" cannot name a plugin: use small letters, digits and single hyphens, a letter first{hint}'
    )


def _check_free(name: str, kind: _Kind, plugins: Plugins) -> None:
    """Refuse the name of a component of this kind, or of a plugin that is installed."""
    taken = next((entry for entry in plugins.all if (entry.kind, entry.name) == (kind.hook, name)), None)
    if taken is not None:
        raise UsageError(
            f'there is a {SINGULAR[kind.hook]} "{name}" already, of {taken.plugin}; take another name, such as '
            f'"my-{name}"'
        )
    installed = {*plugins.loaded, *plugins.disabled, *(failure.plugin for failure in plugins.failures)}
    if _PREFIX + name in installed:
        raise UsageError(f'a plugin {_PREFIX}{name} is installed already; take another name, such as "my-{name}"')
