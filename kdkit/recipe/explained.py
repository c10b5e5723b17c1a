"""The options of recipes by their paths: what each is, which components have it, and where a recipe sets it."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

import attrs

from kdkit import plugins as plugin_loading
from kdkit.errors import PluginError, UsageError
from kdkit.plugins.fields import Option, each_path, options_of
from kdkit.recipe.document import Place, read_document, with_overrides
from kdkit.recipe.load import made_of
from kdkit.recipe.sections import SECTIONS, SWEEP, Preamble
from kdkit.recipe.suggestions import paths_of

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping, Sequence

    from kdkit.plugins import Plugins
    from kdkit.recipe.document import Document
    from kdkit.recipe.sections import Recipe, Section


@attrs.frozen(kw_only=True)
class Explained:
    """An option at its path.

    Attributes:
        path: Where a recipe has it, such as "loss.alpha".
        option: What it is.
        default: Its default; of some sections the recipe has another one than the option.
        kind: The kind of component that has it, in words; "" where the section itself has it.
        components: Their names, where components have it.
    """

    path: str
    option: Option
    default: Any
    kind: str = ""
    components: tuple[str, ...] = ()


@attrs.frozen(kw_only=True)
class Setting:
    """What an option is in a recipe.

    Attributes:
        value: Its value; None where it has none.
        place: Where that is set; None where it is a default.
        varies: Where a sweep varies it; None where none does.
    """

    value: Any
    place: Place | None
    varies: Place | None


@attrs.frozen(kw_only=True)
class Settings:
    """A recipe whose options are looked up.

    Attributes:
        recipe: The recipe; of a sweep what its trials begin with.
        document: The tables that it was read from.
    """

    recipe: Recipe
    document: Document

    @classmethod
    def read(
        cls, recipe: str | os.PathLike[str] | Mapping[str, Any], overrides: Sequence[str], plugins: Plugins
    ) -> Settings:
        """Those of a recipe.

        Raises:
            MissingInput: There is no such recipe.
            RecipeError: It is wrong.
        """
        document, path = read_document(recipe)
        document, malformed = with_overrides(document, overrides)
        table = {key: value for key, value in document.table.items() if key != SWEEP}
        return cls(
            recipe=made_of(attrs.evolve(document, table=table), path, plugins, malformed),
            document=document,
        )

    def component(self, section: str) -> str | None:
        """The component of a section; None where it has none."""
        return self.recipe.names.get(section)

    def of(self, path: str) -> Setting:
        """What the option at a path is."""
        keys = tuple(path.split("."))
        value: Any = self.recipe.resolved
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        varied = (
            place
            for at, place in self.document.places.items()
            if at[0] == SWEEP and ".".join(str(key) for key in at[2:] if isinstance(key, str)) == path
        )
        return Setting(value=value, place=self.document.places.get(keys), varies=next(varied, None))


def explained(asked: str, plugins: Plugins, settings: Settings | None = None) -> list[Explained]:
    """The options that are meant: of a path ("loss.alpha"), a section ("loss") or a name ("alpha", "lr").

    Args:
        asked: What to look for.
        plugins: What components there are.
        settings: A recipe; then of its components alone.

    Raises:
        UsageError: There is none.
    """
    known = _merged(_all(plugins, settings))
    by_name: dict[str, list[str]] = {}
    for each in known:
        by_name.setdefault(each.option.name, []).append(each.path)
    meant = paths_of(asked.rpartition(".")[2], by_name)
    section = f"{asked.partition('.')[0]}." if "." in asked else ""
    chosen = (
        [each for each in known if each.path == asked],
        [each for each in known if each.path.count(".") == 1 and each.path.startswith(f"{asked}.")],
        [each for each in known if each.path in meant and each.path.startswith(section)],
    )
    found = next(filter(None, chosen), None)
    if found is not None:
        return found
    near = get_close_matches(asked, SECTIONS, n=1, cutoff=0.8)
    near = near or get_close_matches(asked, [*by_name, *(each.path for each in known)], n=1)
    hint = f'; did you mean "{near[0]}"?' if near else f"; the sections are {', '.join(SECTIONS)}"
    where = f' of the components of "{settings.recipe.name}"' if settings is not None else ""
    raise UsageError(f'there is no option "{asked}"{where}{hint}')


def _all(plugins: Plugins, settings: Settings | None) -> Iterator[Explained]:
    yield from _flat("", options_of(Preamble))
    for name, section in SECTIONS.items():
        if section.options is not None:
            yield from _flat(f"{name}.", options_of(section.options), defaults=section.default)
            continue
        assert section.kind is not None
        kind = plugin_loading.SINGULAR[section.kind]
        names = plugins.names(section.kind)
        yield Explained(path=f"{name}.name", option=_name(section, names), default=section.default_name)
        for component in names:
            if settings is not None and settings.component(name) != component:
                continue
            try:
                options = options_of(plugins.get(section.kind, component).load())
            except PluginError:  # `kdkit plugins list` says what is wrong with it
                continue
            yield from _flat(f"{name}.", options, kind=kind, components=(component,))


def _name(section: Section, names: Sequence[str]) -> Option:
    return Option(
        name="name",
        type="text",
        annotation=str,
        required=section.is_required,
        default=section.default_name,
        neutral=attrs.NOTHING,
        help=section.help,
        choices=tuple(names),
    )


def _flat(
    prefix: str, options: Sequence[Option], *, defaults: Mapping[str, Any] | None = None, **whose: Any
) -> Iterator[Explained]:
    """Options, each followed by those of the table that it is."""
    for path, option in each_path(options):
        default = (defaults or {}).get(path, option.default)
        yield Explained(path=prefix + path, option=option, default=default, **whose)


def _merged(found: Iterator[Explained]) -> list[Explained]:
    """Of components that have the same option, one entry."""
    merged: list[Explained] = []
    for each in found:
        alike = [one for one in merged if attrs.evolve(one, components=()) == attrs.evolve(each, components=())]
        if alike:
            place = merged.index(alike[0])
            merged[place] = attrs.evolve(alike[0], components=(*alike[0].components, *each.components))
        else:
            merged.append(each)
    return merged
