"""Trials that a search proposes: ask, run with every seed, tell; and what its study is made again from."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any

from kdkit.errors import RecipeError
from kdkit.runplace import RECIPE
from kdkit.sweeps.facts import trial_facts
from kdkit.values import Outcome

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from kdkit.recipe import Sweep, Trial
    from kdkit.sweeps.schedule import Schedule

# What picks the best epoch is a loss, of which less is better, or a metric.
_LOSSES = {"loss", "hard", "soft"}
# How often a search may propose again what it has proposed before.
_PATIENCE = 20
Group = tuple["Trial", ...]
"""What was proposed: a trial for each seed."""


def searched(sweep: Sweep, folder: Path, schedule: Schedule, note: Callable[[Sequence[Trial]], None]) -> None:
    """Run the trials that a sweep's search proposes, until there are as many as it wants.

    Args:
        sweep: The sweep.
        folder: Its folder.
        schedule: Runs trials.
        note: Writes down which trials there are.
    """
    search = sweep.search
    assert search is not None
    groups = known_groups(sweep, folder)
    note(_each(groups))
    opened = search.open(folder, seed=sweep.base.seed)
    try:
        # What was begun before is finished first.
        schedule.run(_each(groups))
        while not schedule.stop:
            groups = _united(known_groups(sweep, folder), groups)  # others may work in the folder
            if len(groups) >= search.trials:
                break
            opened.tell(outcomes_of(groups, folder, higher=_is_higher_better(sweep)))
            fresh = _asked(sweep, opened.ask, min(schedule.jobs, search.trials - len(groups)), groups)
            if not fresh:
                schedule.watcher.note(f"the search proposes only what it has proposed before: {len(groups)} trials")
                break
            groups += fresh
            note(_each(groups))
            schedule.run(_each(fresh))
        opened.tell(outcomes_of(groups, folder, higher=_is_higher_better(sweep)))
    finally:
        opened.close()


def known_groups(sweep: Sweep, folder: Path) -> list[Group]:
    """The proposals that have run folders, oldest first, whether or not anything else knows of them.

    A folder that this sweep could not have made, such as one of an earlier base recipe, is left alone.
    """
    found: dict[tuple[str, ...], Group] = {}
    places = [place for place in (folder / "trials").glob("*") if (place / RECIPE).is_file()]
    for place in sorted(places, key=lambda place: ((place / RECIPE).stat().st_mtime, place.name)):
        try:
            values = _values_of(sweep, tomllib.loads((place / RECIPE).read_text(encoding="utf-8")))
            group = sweep.proposed(values)
        except (RecipeError, ValueError, KeyError, TypeError):
            continue
        ids = tuple(trial.id for trial in group)
        if place.name in ids:
            found.setdefault(ids, group)
    return list(found.values())


def outcomes_of(groups: Iterable[Group], folder: Path, *, higher: bool) -> list[Outcome]:
    """What is known of each proposal: done once it is with every seed, its value the mean of these."""
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


def _asked(sweep: Sweep, ask: Callable[[], Mapping[str, object]], count: int, known: Sequence[Group]) -> list[Group]:
    """So many new proposals, or as many as come: a search may propose what it has proposed before."""
    ids = {group[0].id for group in known}
    fresh: list[Group] = []
    for _ in range(_PATIENCE * count):
        group = sweep.proposed(ask())
        if group[0].id not in ids:
            ids.add(group[0].id)
            fresh.append(group)
        if len(fresh) == count:
            break
    return fresh


def _values_of(sweep: Sweep, table: Mapping[str, Any]) -> dict[str, Any]:
    from kdkit.recipe.document import key_path

    values = {}
    for axis in sweep.axes:
        value: Any = table
        for key in key_path(axis):
            value = value[key]
        values[axis] = value
    return values


def _is_higher_better(sweep: Sweep) -> bool:
    return sweep.base.training.best_by not in _LOSSES


def _each(groups: Iterable[Group]) -> list[Trial]:
    return [trial for group in groups for trial in group]
