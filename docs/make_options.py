"""Writes `docs/options.md` from the components themselves: `python docs/make_options.py`.

A test compares the page with what this makes, so an option that changes takes its documentation with it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from kdkit import plugins as plugin_loading
from kdkit.cli.plugins import (  # the page and `kdkit plugins show` say it in the same words
    allowed,
    default_in_words,
    summary,
)
from kdkit.plugins.checks import show
from kdkit.plugins.fields import Option, options_of, without_none
from kdkit.recipe import SECTIONS
from kdkit.recipe.sections import Preamble

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kdkit.plugins import Entry, Plugins
    from kdkit.recipe import Section

PAGE = Path(__file__).with_name("options.md")
DISTRIBUTIONS = ("kdkit", "kdkit-assertions", "kdkit-optuna")
OPENING = """\
# Options

Every section of a recipe, and every option of every component that ships. The page is written by
`docs/make_options.py` from the components themselves; a test keeps it current. What each component is for is in
[components.md](components.md), what a recipe is in [recipes.md](recipes.md). `kdkit plugins show NAME` prints the same
for any component, those of other plugins included.

"required" in the column of defaults marks an option that a recipe must give; "none" is one that may be left out.
"""


def render() -> str:
    """The page."""
    found = plugin_loading.load()
    missing = set(DISTRIBUTIONS) - set(found.loaded)
    if missing:
        raise SystemExit(f"install {', '.join(sorted(missing))} first: the page covers the components of all of them")
    parts = [OPENING, "## Before the sections\n", *_table([_name_key(), *options_of(Preamble)])]
    for name, section in SECTIONS.items():
        parts += ["", f"## `[{name}]`\n", f"{section.help}{_presence(section)}\n"]
        if section.options is not None:
            parts += _table(options_of(section.options), section.default)
        else:
            parts += _components(found, section)
        if name == "evaluation":
            parts += ["", "Metric suites, for `suites`:\n", *_entries(found, "metrics")]
    parts += ["", "## `[sweep.search]`\n", "What proposes a sweep's trials; see [sweeps.md](sweeps.md).\n"]
    parts += _entries(found, "searches")
    return "\n".join(parts).rstrip() + "\n"


def _name_key() -> Option:
    """The one key that is no field of the preamble: its default depends on the file."""
    return Option(
        name="name",
        type="text",
        annotation=str,
        required=False,
        neutral=attrs.NOTHING,
        help="What the run is called; by default the file's name without its ending.",
    )


def _presence(section: Section) -> str:
    if section.is_required:
        return " A recipe must have it, with a `name`."
    if section.default_name is not None:
        return f' Without a `name` it is "{section.default_name}".'
    return ""


def _components(found: Plugins, section: Section) -> list[str]:
    assert section.kind is not None
    return _entries(found, section.kind)


def _entries(found: Plugins, kind: str) -> list[str]:
    lines: list[str] = []
    for name in found.names(kind):
        entry = found.get(kind, name)
        if entry.plugin in DISTRIBUTIONS:
            lines += _component(entry)
    return lines[:-1]


def _component(entry: Entry) -> list[str]:
    cls = entry.load()
    options = options_of(cls)
    label = plugin_loading.SINGULAR[entry.kind]
    return [
        f"### {label[0].upper()}{label[1:]} `{entry.name}`\n",
        f"Of {entry.plugin}. {summary(cls)}\n",
        *(_table(options) if options else ["It has no options."]),
        "",
    ]


def _table(options: Sequence[Option], section_default: Mapping[str, Any] | None = None) -> list[str]:
    defaults = section_default or {}
    lines = ["| option | type | default | allowed | what it is |", "|---|---|---|---|---|"]
    for path, option, note in _flat(options):
        default = show(defaults[path]) if path in defaults else default_in_words(option, option.default)
        code = default if default in {"required", "none"} else f"`{default}`"
        cells = (f"`{path}`", option.type, code, allowed(option), f"{option.help}{note}")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return lines


def _flat(options: Sequence[Option], prefix: str = "") -> Iterator[tuple[str, Option, str]]:
    """Options, each followed by those of the table that it is; of the options of a section it says which section's."""
    of_sections = {section.options: name for name, section in SECTIONS.items() if section.options is not None}
    for option in options:
        annotation = without_none(option.annotation)
        base = next((each for each in getattr(annotation, "__mro__", ()) if each in of_sections), None)
        known = {each.name for each in options_of(base)} if base is not None else set()
        more = [each for each in option.nested if each.name not in known]
        there = f" Its options are those of `[{of_sections[base]}]`" if base is not None else ""
        yield prefix + option.name, option, there and f"{there}{', and these' if more else ''}."
        yield from _flat(more, f"{prefix}{option.name}.")


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
