"""Reads a recipe with `[sweep]`: checks every trial, and keeps every problem."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import attrs

from kdkit import plugins as plugin_loading
from kdkit.errors import RecipeError
from kdkit.plugins.structure import WRONG, Structurer, dotted
from kdkit.recipe.document import Document, read_document, with_overrides
from kdkit.recipe.load import made_of, said, structured
from kdkit.recipe.sections import SECTIONS, SWEEP, Recipe
from kdkit.recipe.spelling import key_path
from kdkit.sweeps.axes import SEED, Axis, Combination, Setting, SweepReader, is_apart
from kdkit.sweeps.overlay import document_of
from kdkit.sweeps.swept_keys import value_text, why_no_axis
from kdkit.sweeps.titles import cells_of, titles_of
from kdkit.sweeps.trials import Sweep, Trial
from kdkit.system.wording import did_you_mean

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from kdkit.api.interfaces import Search
    from kdkit.plugins import Plugins
    from kdkit.plugins.fields import KeyPath


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
        raise RecipeError([f"{place}: has no [{SWEEP}], so it is a single run; use kdkit.load_recipe"])
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
        self._unknown: set[KeyPath] = set()

    def sweep(self, malformed: Sequence[str]) -> Sweep:
        reader = SweepReader(self._document)
        search, axes, combinations = self._asked(reader)
        self._note(reader.problems, self._document)
        # A part of [sweep] that is wrong is no reason to be silent about the others.
        apart = [each for each in combinations if is_apart(each)]
        made = [self._trial(each, axes, is_sound=reader.is_skip_sound) for each in apart]
        trials = [each for each in made if each is not None]
        self._check_ends(search)
        self._note_unvaried(reader, axes)
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
            trials=() if search is not None else _titled(_each_once(trials)),
            base=base,
            search=search,
            table=self._document.table,
            format=self._document.format,
            path=self._path,
            propose=lambda values: self._proposed(values, axes, seeds),
        )

    def _asked(self, reader: SweepReader) -> tuple[Any, tuple[Axis, ...], tuple[Combination, ...]]:
        """The search, if there is one; the axes; and the combinations known from the start.

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
        wrong = [self._why_no_axis(axis) for axis in axes]
        self._note([((SWEEP, "search"), each) for each in wrong if each is not None], self._document)
        return search, axes

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

    def _why_no_axis(self, axis: Axis) -> str | None:
        return why_no_axis(axis, self._base.table, self._plugins)

    def _check_ends(self, search: Search | None) -> None:
        """A recipe of each value at an end of what a search varies, one at a time."""
        if search is None:
            return
        axes = [key_path(axis) for axis in search.axes]
        sound = [axis for axis in axes if self._why_no_axis(axis) is None]
        for each in search.ends():
            if (axis := key_path(each.axis)) in sound:
                setting = Setting(axis=axis, value=each.value, at=(SWEEP, "search", *each.at))
                self._made((setting,), partial(_is_wrong_anyway, axis, [other for other in axes if other != axis]))

    def _note_unvaried(self, reader: SweepReader, axes: Sequence[Axis]) -> None:
        """Keys of `skip` that nothing varies; not where what they are near is itself misspelt."""
        misspelt = [axis for axis in axes if self._is_unknown(axis)]
        known = [dotted(axis) for axis in sorted({*axes, SEED}) if axis not in misspelt]
        for at, axis in reader.unvaried:
            if did_you_mean(dotted(axis), [dotted(each) for each in misspelt]):
                continue
            hint = did_you_mean(dotted(axis), known) or f"; the sweep varies: {', '.join(known)}"
            self._note([(at, f"{dotted(axis)} is not a key that the sweep varies{hint}")], self._document)

    def _is_unknown(self, axis: Axis) -> bool:
        """Whether a key was reported as unknown."""
        return any(axis[:length] in self._unknown for length in range(1, len(axis) + 1))

    def _trial(self, combination: Combination, axes: Sequence[Axis], *, is_sound: bool = True) -> Trial | None:
        """A trial; if it may be left out, only values that are wrong by themselves are reported."""
        keys = [each.axis for each in combination]
        recipe = self._made(combination, None if is_sound else partial(_is_at_one, keys))
        if recipe is None:
            return None
        own = {each.axis: each.value for each in combination}
        seed = own.pop(SEED, None)
        values = {dotted(key): own[key] if key in own else self._value_at(recipe, key) for key in axes}
        shown = [f"{axis} {value_text(value)}" for axis, value in values.items()]
        shown += [f"seed {seed}"] if seed is not None else []
        return Trial(values=values, seed=seed, recipe=_described(recipe, ", ".join(shown)))

    def _made(self, combination: Combination, is_told: Callable[[KeyPath], bool] | None = None) -> Recipe | None:
        """The recipe with some settings; None if anything is wrong with it, of which some may be left untold."""
        document = document_of(self._base, combination, self._document)
        structurer = Structurer(self._plugins)
        recipe = structured(document, self._path, structurer)
        problems = structurer.problems
        self._unknown.update(structurer.unknown)
        self._note([each for each in problems if is_told is None or is_told(each[0])], document)
        return recipe

    def _value_at(self, recipe: Recipe, axis: Axis) -> Any:
        """The value of a recipe at a key: as written, else as resolved; None if there is none."""
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


def _is_at(key: KeyPath, axis: Axis) -> bool:
    """Whether a problem is one of a key's value alone, or there is no such key."""
    return key[: len(axis)] == axis or (key == axis[:1] and key[0] not in SECTIONS)


def _is_at_one(axes: Iterable[Axis], key: KeyPath) -> bool:
    return any(_is_at(key, axis) for axis in axes)


def _is_wrong_anyway(axis: Axis, others: Iterable[Axis], key: KeyPath) -> bool:
    """Whether a problem with a value is there whatever the other axes have: those of its section may make it right."""
    return _is_at(key, axis) or all(key[0] != other[0] for other in others)


def _titled(trials: Sequence[Trial]) -> tuple[Trial, ...]:
    """Trials that are called by what tells them apart."""
    told = cells_of([trial.values for trial in trials])
    titles = titles_of([(trial.values, trial.seed) for trial in trials])
    return tuple(
        attrs.evolve(trial, told=mine, title=title) for trial, mine, title in zip(trials, told, titles, strict=True)
    )


def _each_once(trials: Sequence[Trial]) -> tuple[Trial, ...]:
    first: dict[str, Trial] = {}
    for trial in trials:
        first.setdefault(trial.id, trial)
    return tuple(first.values())


def _described(recipe: Recipe, values: str) -> Recipe:
    """The recipe of a trial, which says which one it is."""
    description = f"A trial of {recipe.name}{f': {values}' if values else ''}."
    resolved = {**recipe.resolved, "description": description}
    return attrs.evolve(recipe, description=description, resolved=resolved, path=None)
