"""A sweep and its trials: each trial is a recipe of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit.recipe.stored import FORMAT, stored_text
from kdkit.sweeps.swept_keys import title_of
from kdkit.system.wording import plural, visible

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from kdkit.api.interfaces import Search
    from kdkit.recipe.sections import Recipe

_ID_DIGITS = 16


@attrs.frozen(kw_only=True)
class Trial:
    """One run of a sweep.

    Attributes:
        values: Each axis' value; of an axis that it does not set, what the recipe has without `[sweep]`.
        seed: The seed of its training, where the sweep varies that.
        recipe: What is run.
        told: Its cells in a table, by column: what tells it from the other trials, where these are known beforehand
            (see `kdkit.sweeps.titles`), else its values.
        title: The same and its seed, in a few words.
        id: The first 16 digits of the recipe's digest: the same trial, whatever sweep asks for it.
    """

    values: Mapping[str, Any]
    seed: int | None
    recipe: Recipe = attrs.field(repr=False)
    told: Mapping[str, Any] = attrs.field(repr=False)
    title: str = attrs.field(repr=False)

    @told.default
    def _all_of_them(self) -> Mapping[str, Any]:
        return self.values

    @title.default
    def _in_words(self) -> str:
        return title_of(self.values, self.seed)

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
        format: The format that these are in, which decides the defaults.
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
    format: int = FORMAT
    path: Path | None = None
    _propose: Callable[[Mapping[str, Any]], tuple[Trial, ...]] = attrs.field(repr=False)

    def __repr__(self) -> str:
        """A line: how many trials there are, and over what."""
        trials = plural(len(self.trials), "trial") if self.search is None else "trials that a search proposes"
        seeds = f", {plural(len(self.seeds), 'seed')}" if self.seeds else ""
        return f"<Sweep {visible(self.name)}: {trials} over {', '.join(self.axes) or 'seeds'}{seeds}>"

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
        return stored_text({"name": self.name, **self.table}, self.format)
