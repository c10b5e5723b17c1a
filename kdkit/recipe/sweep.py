"""A recipe with `[sweep]`: the trials that it asks for, each a recipe of its own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from kdkit import plugins as plugin_loading
from kdkit.components import options_of
from kdkit.errors import PluginError, RecipeError
from kdkit.plugins import SINGULAR
from kdkit.recipe.axes import SEED, Axis, Combination, Setting, SweepReader
from kdkit.recipe.checks import did_you_mean, show
from kdkit.recipe.document import Document, key_path, read_document, with_overrides
from kdkit.recipe.load import made_of, said, structured
from kdkit.recipe.overlay import document_of
from kdkit.recipe.sections import SECTIONS, SWEEP, Preamble, Recipe
from kdkit.recipe.structure import WRONG, Structurer, dotted

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from kdkit.interfaces import Search
    from kdkit.plugins import Plugins
    from kdkit.recipe.toml_positions import KeyPath

_ID_DIGITS = 16


@attrs.frozen(kw_only=True)
class Trial:
    """One run of a sweep.

    Attributes:
        values: Each axis' value; of an axis that it does not set, what the recipe has without `[sweep]`.
        seed: The seed of its training, where the sweep varies that.
        recipe: What is run.
        id: The first 16 digits of the recipe's digest: the same trial, whatever sweep asks for it.
    """

    values: Mapping[str, Any]
    seed: int | None
    recipe: Recipe = attrs.field(repr=False)

    @property
    def id(self) -> str:
        """See above."""
        return self.recipe.digest[:_ID_DIGITS]


@attrs.frozen(kw_only=True, eq=False)
class Sweep:
    """A recipe with `[sweep]`.

    Attributes:
        name: What it is called.
        description: What it does, in a sentence.
        axes: The keys that its trials vary, in the recipe's order, `training.seed` excluded.
        seeds: The seeds that are varied; empty where none are.
        trials: The trials that it asks for, each once; none where a search proposes them.
        base: The recipe without `[sweep]`.
        search: What proposes trials, if anything does.
        table: The recipe as tables, `[sweep]` among them, without the defaults.
        path: The file it was read from, if any.
    """

    name: str
    description: str
    axes: tuple[str, ...]
    seeds: tuple[int, ...]
    trials: tuple[Trial, ...]
    base: Recipe = attrs.field(repr=False)
    search: Search | None = None
    table: Mapping[str, Any] = attrs.field(repr=False)
    path: Path | None = None
    _propose: Callable[[Mapping[str, Any]], tuple[Trial, ...]] = attrs.field(repr=False)

    @property
    def reference(self) -> Mapping[str, Any] | None:
        """Its resolved `[reference]` table, if it has one."""
        return self.base.resolved.get("reference")

    def proposed(self, values: Mapping[str, Any]) -> tuple[Trial, ...]:
        """The trials with these values, one for each seed.

        Args:
            values: A value for each axis, as a search proposes them.

        Raises:
            RecipeError: They make no recipe.
        """
        return self._propose(values)

    def to_toml(self) -> str:
        """The recipe with `[sweep]`, as it was written, with what it extends and its overrides in it."""
        import tomli_w

        return tomli_w.dumps({"name": self.name, **self.table})


def load_sweep(
    recipe: str | os.PathLike[str] | Mapping[str, Any], overrides: Sequence[str] = (), plugins: Plugins | None = None
) -> Sweep:
    """Read and check a recipe with `[sweep]`, and every trial of it; nothing heavy is imported or opened.

    Args:
        recipe: A TOML file, the name of a shipped recipe, or the tables themselves.
        overrides: `section.key=value`, laid over the recipe in this order; of `sweep.` keys too.
        plugins: What components there are; by default the built-in and installed ones.

    Raises:
        MissingInput: There is no such recipe.
        RecipeError: It is wrong, or a trial of it is, or it has no `[sweep]`; carries every problem.
    """
    found = load_any(recipe, overrides, plugins)
    if isinstance(found, Recipe):
        place = found.path if found.path is not None else "<dict>"
        raise RecipeError([f"{place}: has no [{SWEEP}], so it is one run; use kdkit.load_recipe for it"])
    return found


def load_any(
    recipe: str | os.PathLike[str] | Mapping[str, Any], overrides: Sequence[str] = (), plugins: Plugins | None = None
) -> Recipe | Sweep:
    """Read and check a recipe of either kind: a sweep where it has `[sweep]`, else a plain one.

    Raises:
        MissingInput: There is no such recipe.
        RecipeError: It is wrong; carries every problem.
    """
    document, path = read_document(recipe)
    document, malformed = with_overrides(document, overrides)
    loaded = plugins if plugins is not None else plugin_loading.load()
    if SWEEP not in document.table:
        return made_of(document, path, loaded, malformed)
    return _Loading(document, path, loaded).sweep(malformed)


class _Loading:
    """Makes a sweep of a document; problems of all its trials are kept, each once."""

    def __init__(self, document: Document, path: Path | None, plugins: Plugins) -> None:
        base = {key: value for key, value in document.table.items() if key != SWEEP}
        self._document = document
        self._base = attrs.evolve(document, table=base)
        self._path, self._plugins = path, plugins
        # Many trials share a wrong value; the first place where it stands will do.
        self._problems: dict[tuple[KeyPath, str], tuple[Any, KeyPath, str]] = {}

    def sweep(self, malformed: Sequence[str]) -> Sweep:
        reader = SweepReader(self._document)
        search, axes, combinations = self._asked(reader)
        self._note(reader.problems, self._document)
        made = [self._trial(each, axes) for each in combinations] if not reader.problems else []
        trials = [each for each in made if each is not None]
        base = self._made(())
        problems = [*said(self._problems.values()), *malformed]
        if problems or base is None:
            raise RecipeError(problems)
        seeds = tuple(dict.fromkeys(each.seed for each in trials if each.seed is not None))
        return Sweep(
            name=base.name,
            description=base.description,
            axes=tuple(dotted(axis) for axis in axes),
            seeds=seeds,
            trials=() if search is not None else _each_once(trials),
            base=base,
            search=search,
            table=self._document.table,
            path=self._path,
            propose=lambda values: self._proposed(values, axes, seeds),
        )

    def _asked(self, reader: SweepReader) -> tuple[Any, tuple[Axis, ...], tuple[Combination, ...]]:
        """What proposes trials, if anything does; the axes; and the combinations that are known from the start.

        Those of a search are its seeds, so that these are checked too.
        """
        if reader.search is None:
            asked = reader.trials()
            return None, asked.axes, asked.combinations
        reader.check_search_alone()
        search, axes = self._search(reader.search)
        return search, axes, tuple((each,) for each in reader.seeds())

    def _search(self, table: Any) -> tuple[Any, tuple[Axis, ...]]:
        structurer = Structurer(self._plugins)
        _, search = structurer.component("searches", table, (SWEEP, "search"))
        self._note(structurer.problems, self._document)
        if search is WRONG:
            return None, ()
        axes = tuple(key_path(axis) for axis in search.axes)
        self._note([((SWEEP, "search"), wrong) for axis in axes if (wrong := self._why_no_axis(axis))], self._document)
        return search, axes

    def _why_no_axis(self, axis: Axis) -> str | None:
        """What is wrong with a key that a search varies; its values are checked when they are proposed."""
        if axis == SEED:
            return f"{dotted(SEED)} is varied by seeds, not by a search"
        if axis[0] not in SECTIONS:
            known = [option.name for option in options_of(Preamble)]
            return None if axis[0] in known else self._no_key(axis[0], [*known, *SECTIONS], "a recipe")
        section = SECTIONS[axis[0]]
        if section.is_optional or axis[1:] in {(), ("name",)}:
            return f"{dotted(axis)} cannot be varied by a search: it is no option"
        cls, owner = section.options, f"[{axis[0]}]"
        if section.kind is not None:
            content = self._base.table.get(axis[0], {})
            name = content.get("name", section.default_name) if isinstance(content, dict) else None
            if name not in self._plugins.names(section.kind):
                return None  # the recipe itself is wrong, which is said
            try:
                cls, owner = self._plugins.get(section.kind, name).load(), f'{SINGULAR[section.kind]} "{name}"'
            except PluginError:
                return None
        names = [option.name for option in options_of(cls)] if cls is not None else []
        return None if axis[1] in names else self._no_key(axis[1], names, owner)

    def _no_key(self, key: str, known: Sequence[str], owner: str) -> str:
        hint = did_you_mean(key, known) or f"; there are: {', '.join(known)}"
        return f"{show(key)} is not an option of {owner}{hint}"

    def _proposed(self, values: Mapping[str, Any], axes: Sequence[Axis], seeds: Sequence[int]) -> tuple[Trial, ...]:
        settings = tuple(
            Setting(axis=key_path(axis), value=value, at=(SWEEP, "search")) for axis, value in values.items()
        )
        by_seed = [(*settings, Setting(axis=SEED, value=seed, at=(SWEEP, "seeds"))) for seed in seeds]
        self._problems.clear()
        trials = [self._trial(each, axes) for each in by_seed or [settings]]
        if self._problems:
            raise RecipeError(said(self._problems.values()))
        return tuple(trial for trial in trials if trial is not None)

    def _trial(self, combination: Combination, axes: Sequence[Axis]) -> Trial | None:
        recipe = self._made(combination)
        if recipe is None:
            return None
        own = {each.axis: each.value for each in combination}
        seed = own.pop(SEED, None)
        values = {dotted(key): own[key] if key in own else self._value_at(recipe, key) for key in axes}
        shown = [f"{axis} {value_text(value)}" for axis, value in values.items()]
        shown += [f"seed {seed}"] if seed is not None else []
        return Trial(values=values, seed=seed, recipe=_described(recipe, ", ".join(shown)))

    def _made(self, combination: Combination) -> Recipe | None:
        document = document_of(self._base, combination, self._document)
        structurer = Structurer(self._plugins)
        recipe = structured(document, self._path, structurer)
        self._note(structurer.problems, document)
        return recipe

    def _value_at(self, recipe: Recipe, axis: Axis) -> Any:
        """What a recipe has at a key: as it was written, else as it comes to; None where it has nothing."""
        if len(axis) == 1 and axis[0] in recipe.names and axis[0] not in self._base.table:
            return {"name": recipe.names[axis[0]]}
        for table in (self._base.table, recipe.resolved):
            value: Any = table
            for key in axis:
                value = value.get(key) if isinstance(value, dict) else None
            if value is not None:
                return value
        return None

    def _note(self, problems: Iterable[tuple[KeyPath, str]], document: Document) -> None:
        for key, sentence in problems:
            self._problems.setdefault((key, sentence), (document.place(key), key, sentence))


def _each_once(trials: Sequence[Trial]) -> tuple[Trial, ...]:
    first: dict[str, Trial] = {}
    for trial in trials:
        first.setdefault(trial.id, trial)
    return tuple(first.values())


def value_text(value: Any) -> str:
    """A value of an axis in a few words: `0.5`, `linear`, `topk (k 64)`."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        rest = ", ".join(f"{key} {value_text(each)}" for key, each in value.items() if key != "name")
        return f"{value['name']}{f' ({rest})' if rest else ''}" if "name" in value else rest
    return show(value)


def _described(recipe: Recipe, values: str) -> Recipe:
    """The recipe of a trial, which says which one it is."""
    description = f"A trial of {recipe.name}{f': {values}' if values else ''}."
    resolved = {**recipe.resolved, "description": description}
    return attrs.evolve(recipe, description=description, resolved=resolved, path=None)
