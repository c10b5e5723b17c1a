"""The settings of `[sweep]` (`grid`, `zip`, `points`, `seeds`, `skip`) and their combinations."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from kdkit.plugins.checks import show
from kdkit.plugins.structure import MOST_TOLD, dotted
from kdkit.recipe.sections import COMPONENT_SECTIONS, OPTIONAL_SECTIONS, SWEEP
from kdkit.recipe.spelling import key_path
from kdkit.sweeps.skipping import agrees
from kdkit.system.wording import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from kdkit.plugins.fields import KeyPath
    from kdkit.recipe.document import Document

Axis: TypeAlias = tuple[str, ...]
"""A key of a recipe that is varied: `("loss", "alpha")`."""
SEED: Axis = ("training", "seed")
MOST_TRIALS = 10_000
"""Trials of a sweep, those that `skip` leaves out included: each is checked before the first one runs."""
KEYS = ("grid", "zip", "points", "seeds", "skip", "search")
# What is not part of a recipe's digest makes no other trial.
_CHANGES_NOTHING = {"name", "description", "extends", "requires", SWEEP, *OPTIONAL_SECTIONS}


@attrs.frozen(kw_only=True, eq=False)
class Setting:
    """A value of a key of the recipe, and where in `[sweep]` it stands."""

    axis: Axis
    value: Any
    at: KeyPath


Combination = tuple[Setting, ...]
"""Settings that make a trial together, each of another key; but for its seed."""


@attrs.frozen(kw_only=True, eq=False)
class Trials:
    """The contents of a `[sweep]` table.

    Attributes:
        axes: The keys that are varied, in the recipe's order, `training.seed` excluded.
        combinations: The settings of each trial, its seed among them.
    """

    axes: tuple[Axis, ...]
    combinations: tuple[Combination, ...]


class SweepReader:
    """Reads a `[sweep]` table.

    Attributes:
        problems: What was found wrong so far: the path of the key, and a sentence.
        unvaried: The keys of `skip` that nothing varies, and where they stand.
    """

    def __init__(self, document: Document) -> None:
        self.problems: list[tuple[KeyPath, str]] = []
        self.unvaried: list[tuple[KeyPath, Axis]] = []
        self._document = document
        table = document.table[SWEEP]
        self._table: Mapping[str, Any] = table if isinstance(table, Mapping) else {}
        if not isinstance(table, Mapping):
            self._wrong((SWEEP,), f"must be a table, is {show(table)}")
        for key in self._table:
            if key not in KEYS and len(self.problems) < MOST_TOLD:
                hint = did_you_mean(key, KEYS) or f"; available: {', '.join(KEYS)}"
                self._wrong((SWEEP, key), f"is not a key of [{SWEEP}]{hint}")

    @property
    def search(self) -> Any:
        """The table of the search; None if all trials are written down."""
        return self._table.get("search")

    def seeds(self) -> list[Setting]:
        """A setting for each seed; none where they are not varied."""
        return self._seeds(self._table.get("seeds"), (SWEEP, "seeds"))

    def check_search_alone(self) -> None:
        """Refuse keys that list trials beside a search."""
        for key in ("grid", "zip", "points", "skip"):
            if key in self._table:
                self._wrong((SWEEP, key), f"cannot be used with [{SWEEP}.search], which proposes the trials itself")

    def trials(self) -> Trials:
        """Every trial that is written down: first all with their first seed, then all with their second, ..."""
        seeds = self.seeds()
        varied = self._axes("grid")
        together = self._axes("zip")
        self._check_zip(together)
        for axis in varied.keys() & together.keys():
            self._wrong((SWEEP, "zip"), f"{dotted(axis)} is in grid as well; vary it in only one of them")
        self._check_apart([*varied, *together])
        crossed = self._crossed(varied, together) if varied or together else [()]
        points = self._points({*varied, *together})
        bare = not (varied or together) and (bool(points) or "seeds" not in self._table)
        own_seeds = [(combination, seeds) for combination in ([] if bare else crossed)]
        own_seeds += [(combination, own if own is not None else seeds) for combination, own in points]
        axes = dict.fromkeys([*varied, *together, *(each.axis for combination, _ in points for each in combination)])
        if seeds and SEED in axes:
            self._wrong(
                (SWEEP, "seeds"), f"{dotted(SEED)} is varied by grid, zip or points as well; vary it in one place"
            )
        axes.pop(SEED, None)
        count = sum(max(len(own), 1) for _, own in own_seeds)
        if count > MOST_TRIALS:
            self._wrong((SWEEP,), f"asks for {count:,} trials, but a sweep has at most {MOST_TRIALS:,}")
            return Trials(axes=tuple(axes), combinations=())
        kept = self._kept(list(_with_seeds(own_seeds)), {*axes, SEED})
        if not self.problems and not self.unvaried and not kept:
            self._wrong((SWEEP,), self._why_none())
        return Trials(axes=tuple(axes), combinations=tuple(kept))

    def _why_none(self) -> str:
        if self._table.keys() & {"grid", "zip", "points", "seeds"}:
            return "has no trial: skip leaves out all of them"
        return f"has no trial: it needs grid, zip, points, seeds or [{SWEEP}.search]"

    def _axes(self, key: str) -> dict[Axis, list[Setting]]:
        """Each key of a table of lists to its values."""
        found: dict[Axis, list[Setting]] = {}
        table = self._table.get(key, {})
        if not isinstance(table, Mapping):
            self._wrong((SWEEP, key), f"must be a table of keys and lists of values, is {show(table)}")
            return found
        if key in self._table and not table:
            self._wrong((SWEEP, key), "is empty; give it a key with a list of values")
        self._flatten(table, (), (SWEEP, key), found)
        return found

    def _flatten(self, table: Mapping[str, Any], axis: Axis, at: KeyPath, into: dict[Axis, list[Setting]]) -> None:
        for key, values in table.items():
            own, here = (*axis, *key_path(key)), (*at, key)
            if isinstance(values, Mapping):
                self._flatten(values, own, here, into)
            elif not isinstance(values, list):
                self._wrong(here, f"must be a list of values, is {show(values)}")
            elif not values:
                self._wrong(here, "is an empty list; give at least one value")
            elif self._may_vary(own, here) and not self._is_twice(own, here, into):
                into[own] = [Setting(axis=own, value=value, at=(*here, i)) for i, value in enumerate(values)]

    def _is_twice(self, axis: Axis, at: KeyPath, found: Mapping[Axis, list[Setting]]) -> bool:
        """Whether a key is spelt in two ways in one file; what is laid over a recipe may spell it in another way."""
        if axis not in found:
            return False
        before, now = self._document.place(found[axis][0].at), self._document.place(at)
        if before.file != now.file:
            return False
        self._wrong(at, f"{dotted(axis)} is given twice")
        return True

    def _may_vary(self, axis: Axis, at: KeyPath) -> bool:
        if axis[0] in _CHANGES_NOTHING:
            self._wrong(at, f"{axis[0]} cannot be varied: it does not change any number of a run")
            return False
        return True

    def _check_zip(self, together: Mapping[Axis, list[Setting]]) -> None:
        if len({len(settings) for settings in together.values()}) > 1:
            lengths = ", ".join(f"{dotted(axis)} has {len(settings)}" for axis, settings in together.items())
            self._wrong((SWEEP, "zip"), f"its lists are varied together, so they must be equally long: {lengths}")

    def _check_apart(self, axes: Sequence[Axis]) -> None:
        """A section that is replaced, and a key in it, cannot both be varied."""
        for outer, inner in _nested(axes):
            self._wrong((SWEEP,), f"{dotted(outer)} and {dotted(inner)}, a key in it, cannot both be varied")

    def _crossed(
        self, varied: Mapping[Axis, list[Setting]], together: Mapping[Axis, list[Setting]]
    ) -> list[Combination]:
        count = math.prod(map(len, varied.values())) * max(map(len, together.values()), default=1)
        if count > MOST_TRIALS:
            self._wrong(
                (SWEEP, "grid" if varied else "zip"),
                f"asks for {count:,} trials, but a sweep has at most {MOST_TRIALS:,}",
            )
            return []
        zipped: Iterable[Combination] = zip(*together.values(), strict=False) if together else [()]
        return [(*grid, *row) for grid, row in itertools.product(itertools.product(*varied.values()), list(zipped))]

    def _points(self, axes: set[Axis]) -> list[tuple[Combination, list[Setting] | None]]:
        """The single trials that are listed, each with seeds of its own or None."""
        points = []
        for at, table in self._tables("points"):
            rest = {key: value for key, value in table.items() if key != "seeds"}
            leaves = list(_leaves(rest, (), at, axes))
            found = tuple(setting for setting in leaves if self._may_vary(setting.axis, setting.at))
            self._check_apart([setting.axis for setting in found])
            own = self._seeds(table["seeds"], (*at, "seeds")) if "seeds" in table else None
            points.append((found, own))
        return points

    def _tables(self, key: str) -> Iterator[tuple[KeyPath, Mapping[str, Any]]]:
        tables = self._table.get(key, [])
        if not isinstance(tables, list):
            self._wrong((SWEEP, key), f"must be a list of tables, is {show(tables)}")
            return
        if key in self._table and not tables:
            self._wrong((SWEEP, key), "is an empty list; leave it out")
        for index, table in enumerate(tables):
            if isinstance(table, Mapping):
                yield (SWEEP, key, index), table
            else:
                self._wrong((SWEEP, key, index), f"must be a table of keys and values, is {show(table)}")

    def _seeds(self, seeds: Any, at: KeyPath) -> list[Setting]:
        if seeds is None:
            return []
        if not isinstance(seeds, list) or not seeds:
            self._wrong(at, f"must be a list of whole numbers, is {show(seeds)}")
            return []
        return [Setting(axis=SEED, value=seed, at=(*at, index)) for index, seed in enumerate(seeds)]

    def _kept(self, combinations: list[Combination], axes: set[Axis]) -> list[Combination]:
        """The combinations that no table of `skip` matches."""
        skipped = []
        for at, table in self._tables("skip"):
            wanted = list(_leaves(table, (), at, axes))
            if not wanted:
                self._wrong(at, "is an empty table, which would leave out every trial; give keys and values")
            for setting in wanted:
                if setting.axis not in axes:
                    self.unvaried.append((setting.at, setting.axis))
            skipped += [[(setting.axis, setting.value) for setting in wanted]] if wanted else []
        return [each for each in combinations if not any(agrees(_values(each), wanted) for wanted in skipped)]

    @property
    def is_skip_sound(self) -> bool:
        """Whether all that is to be left out is left out of the trials."""
        return not self.unvaried and not any(path[:2] == (SWEEP, "skip") for path, _ in self.problems)

    def _wrong(self, path: KeyPath, sentence: str) -> None:
        self.problems.append((path, sentence))


def is_apart(combination: Combination) -> bool:
    """Whether no setting of a combination is inside a table that another one replaces."""
    return not any(_nested([each.axis for each in combination]))


def _nested(axes: Sequence[Axis]) -> Iterator[tuple[Axis, Axis]]:
    """Each of the axes that lies in another one, after that one."""
    known = set(axes)
    for inner in axes:
        for length in range(1, len(inner)):
            if inner[:length] in known:
                yield inner[:length], inner


def _leaves(table: Mapping[str, Any], axis: Axis, at: KeyPath, axes: set[Axis]) -> Iterator[Setting]:
    """The keys and values of a point, whose tables may be nested or keys dotted.

    A table is a value, and not keys within keys, where its key is varied as a whole elsewhere, or is quoted and dotted,
    or is a component's section and the table names one.
    """
    for key, value in table.items():
        own, here = (*axis, *key_path(key)), (*at, key)
        names_one = own[0] in COMPONENT_SECTIONS and len(own) == 1 and isinstance(value, Mapping) and "name" in value
        is_whole = own in axes or len(key_path(key)) > 1 or names_one
        if isinstance(value, Mapping) and not is_whole:
            yield from _leaves(value, own, here, axes)
        else:
            yield Setting(axis=own, value=value, at=here)


def _with_seeds(combinations: Sequence[tuple[Combination, list[Setting]]]) -> Iterator[Combination]:
    """Each combination with each of its seeds: a whole round with the first ones before the second begins."""
    rounds = max((max(len(seeds), 1) for _, seeds in combinations), default=0)
    for number in range(rounds):
        for combination, seeds in combinations:
            if not seeds and number == 0:
                yield combination
            elif number < len(seeds):
                yield (*combination, seeds[number])


def _values(combination: Combination) -> dict[Axis, Any]:
    return {setting.axis: setting.value for setting in combination}
