"""Runs the trials that a search proposes: ask, run with every seed, tell the outcome."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.values import Direction, Outcome
from kdkit.errors import RecipeError
from kdkit.recipe import read_stored
from kdkit.runs.folders import RECIPE
from kdkit.sweeps.folder import trial_facts
from kdkit.sweeps.swept_keys import value_text
from kdkit.system.digests import digest_of
from kdkit.system.reading import read_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from kdkit.api.interfaces import OpenSearch
    from kdkit.sweeps.schedule import Schedule
    from kdkit.sweeps.state import Watcher
    from kdkit.sweeps.trials import Sweep, Trial

# How often a search may propose again what it has proposed before.
_PATIENCE = 20
Group = tuple["Trial", ...]
"""A proposal: a trial for each seed."""


def searched(sweep: Sweep, folder: Path, schedule: Schedule, note: Callable[[Sequence[Trial]], None]) -> None:
    """Run the trials that a sweep's search proposes, until there are as many as it wants.

    Args:
        sweep: The sweep.
        folder: Its folder.
        schedule: Runs trials.
        note: Writes down which trials there are.
    """
    assert sweep.search is not None
    with _noting(schedule.watcher):
        opened = sweep.search.open(folder, seed=sweep.base.seed)
    try:
        _Searching(sweep=sweep, folder=folder, schedule=schedule, note=note, opened=opened).run()
    finally:
        opened.close()


@attrs.define(kw_only=True)
class _Searching:
    """A search at work in a sweep's folder.

    Attributes:
        groups: What was proposed, here or by others.
        refused: The proposals of this process that made no trial.
    """

    sweep: Sweep
    folder: Path
    schedule: Schedule
    note: Callable[[Sequence[Trial]], None]
    opened: OpenSearch
    groups: list[Group] = attrs.field(factory=list)
    refused: list[Outcome] = attrs.field(factory=list)

    def run(self) -> None:
        """Finish earlier trials, then ask for new ones until there are enough."""
        search, board = self.sweep.search, self.schedule.board
        assert search is not None
        board.wanted = search.trials * max(1, len(self.sweep.seeds))
        self._look()
        self.schedule.run([entry.trial for entry in board.of("waiting")])
        while not self.schedule.stop:
            self._look()  # others may work in the folder
            self._tell()
            missing, refused = search.trials - len(self.groups) - len(self.refused), len(self.refused)
            fresh = self._asked(min(self.schedule.jobs, missing)) if missing > 0 else []
            if fresh:
                self.groups += fresh
                self.note(_each(self.groups))
                self.schedule.run(_each(fresh))
            elif len(self.refused) == refused and not self._is_more_elsewhere():
                if missing > 0:
                    known = len(self.groups)
                    self.schedule.watcher.note(
                        f"the search repeats its earlier proposals: it has only {known} different trials"
                    )
                break
        self._tell()

    def _look(self) -> None:
        """Find all proposals so far, put them on the board and write them down."""
        self.groups = _united(known_groups(self.sweep, self.folder), self.groups)
        self.note(_each(self.groups))
        self.schedule.add(_each(self.groups))

    def _is_more_elsewhere(self) -> bool:
        """Wait for trials of other processes; tells whether they have proposed more meanwhile."""
        known = len(self.groups)
        self.schedule.run(_each(self.groups))
        self._look()
        return len(self.groups) > known

    def _tell(self) -> None:
        outcomes = outcomes_of(self.groups, self.folder, higher=_is_higher_better(self.sweep))
        with _noting(self.schedule.watcher):
            self.opened.tell([*outcomes, *self.refused])

    def _asked(self, count: int) -> list[Group]:
        """So many new proposals, or fewer if the search repeats itself.

        One that makes no trial counts as a trial that failed.
        """
        ids = {group[0].id for group in self.groups} | {each.id for each in self.refused}
        refused, fresh = len(self.refused), list[Group]()
        for _ in range(_PATIENCE * count):
            with _noting(self.schedule.watcher):
                values = self.opened.ask()
            try:
                group = self.sweep.proposed(values)
            except RecipeError as error:
                if (key := digest_of(dict(values))[:16]) not in ids:
                    ids.add(key)
                    self._refuse(key, values, error)
            else:
                if group[0].id not in ids:
                    ids.add(group[0].id)
                    fresh.append(group)
            if len(fresh) + len(self.refused) - refused == count:
                break
        return fresh

    def _refuse(self, key: str, values: Mapping[str, object], error: RecipeError) -> None:
        told = ", ".join(f"{axis} {value_text(value)}" for axis, value in values.items())
        self.schedule.watcher.note(
            f"failed: the search proposed {told}, which is not a valid trial: {'; '.join(error.problems)}; "
            "correct sweep.search.space"
        )
        self.schedule.board.refused += max(1, len(self.sweep.seeds))
        higher = _is_higher_better(self.sweep)
        self.refused.append(Outcome(id=key, values=dict(values), status="failed", value=None, higher_is_better=higher))


def known_groups(sweep: Sweep, folder: Path) -> list[Group]:
    """The proposals that have run folders, oldest first, whether or not anything else knows of them.

    A folder that this sweep could not have made, such as one of an earlier base recipe, is left alone.
    """
    found: dict[tuple[str, ...], Group] = {}
    places = [place for place in (folder / "trials").glob("*") if (place / RECIPE).is_file()]
    for place in sorted(places, key=lambda place: ((place / RECIPE).stat().st_mtime, place.name)):
        try:
            values = _values_of(sweep, read_stored(read_text(place / RECIPE)).tables)
            group = sweep.proposed(values)
        except (RecipeError, ValueError, KeyError, TypeError):
            continue
        ids = tuple(trial.id for trial in group)
        if place.name in ids:
            found.setdefault(ids, group)
    return list(found.values())


def outcomes_of(groups: Iterable[Group], folder: Path, *, higher: bool) -> list[Outcome]:
    """The outcome of each proposal: done once every seed is done, with the mean as its value."""
    outcomes = []
    for group in groups:
        facts = [trial_facts(folder, trial.id, values=trial.values, seed=trial.seed) for trial in group]
        values = [each.best for each in facts if each.status == "done" and each.best is not None]
        is_done = len(values) == len(facts)
        open_ones = [each.status for each in facts if each.status != "done"]
        outcomes.append(
            Outcome(
                id=group[0].id,
                values=group[0].values,
                status="done" if is_done else "failed" if "failed" in open_ones else (open_ones or ["failed"])[0],
                value=sum(values) / len(values) if is_done else None,
                higher_is_better=higher,
            )
        )
    return outcomes


def _united(some: Sequence[Group], others: Sequence[Group]) -> list[Group]:
    return list({group[0].id: group for group in (*others, *some)}.values())


@contextmanager
def _noting(watcher: Watcher) -> Iterator[None]:
    """Within the block, a search's warnings become lines of the progress."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for each in caught:
        watcher.note(" ".join(f"the search warns: {each.message}".split()))


def _values_of(sweep: Sweep, table: Mapping[str, Any]) -> dict[str, Any]:
    from kdkit.recipe.spelling import key_path

    values = {}
    for axis in sweep.axes:
        value: Any = table
        for key in key_path(axis):
            value = value[key]
        values[axis] = value
    return values


def _is_higher_better(sweep: Sweep) -> bool:
    return sweep.base.evaluation.direction_of(sweep.base.training.best_by) is not Direction.LOWER


def _each(groups: Iterable[Group]) -> list[Trial]:
    return [trial for group in groups for trial in group]
