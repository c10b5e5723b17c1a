"""The conformance check of searches."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdkit.testing.values import check_value, is_toml

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.api.interfaces import OpenSearch, Search
    from kdkit.api.values import Outcome

    Ends = Mapping[str, Sequence[Any]]

_TRIALS = 6
_SEED = 7


def check_search(search: Search) -> None:
    """Check that a search keeps the promises of `kdkit.api.Search`, in folders of its own that are deleted after.

    - It is a value: its options are its identity.
    - `axes` names keys of a recipe, each once, and `trials` is at least 1.
    - `ends` gives values of each axis, and of no other, that a recipe can have.
    - Each proposal has a value for each axis, within what `ends` says: between numbers, or one of the choices.
    - No trial is proposed twice, whether those before are done, failed or running.
    - The same seed and the same outcomes give the same proposals, in any folder.
    - Opened again in an empty folder and told of all trials, it goes on: what a search keeps may be lost.

    Raises:
        AssertionError: A promise is broken; the message says which and by what.
    """
    from kdkit.api.interfaces import Search

    check_value(search, Search)
    axes = list(search.axes)
    assert axes, f"{search!r} varies nothing"
    assert all(isinstance(axis, str) for axis in axes), f"{search!r} has axes that are not text: {axes}"
    assert len(set(axes)) == len(axes), f"{search!r} names an axis twice: {', '.join(axes)}"
    assert search.trials >= 1, f"{search!r} wants {search.trials} trials"
    ends = _check_ends(search, axes)
    with tempfile.TemporaryDirectory(prefix="kdkit-search-") as place:
        folders = [Path(place, name) for name in ("one", "other", "empty")]
        for folder in folders:
            folder.mkdir()
        count = min(search.trials, _TRIALS)
        outcomes = _proposed(search, folders[0], ends, count)
        same = _proposed(search, folders[1], ends, count)
        told, again = ([dict(each.values) for each in found] for found in (outcomes, same))
        assert told == again, f"{search!r} proposes other trials for the same seed and the same outcomes"
        opened = search.open(folders[2], seed=_SEED)
        opened.tell(outcomes[:-1])
        _check_new(search, _asked(search, opened, ends), outcomes[:-1])
        opened.close()


def _check_ends(search: Search, axes: Sequence[str]) -> Ends:
    from kdkit.api.values import AxisValue

    ends: dict[str, list[Any]] = {axis: [] for axis in axes}
    for each in search.ends():
        assert isinstance(each, AxisValue), f"{search!r} gives among its ends {each!r}, which is not an AxisValue"
        assert each.axis in ends, f'{search!r} gives an end of "{each.axis}", which is not one of its axes'
        assert is_toml(each.value), (
            f'{search!r} gives as an end of "{each.axis}" {each.value!r}; no recipe can have that'
        )
        assert isinstance(each.at, tuple), (
            f'{search!r} gives for "{each.axis}" a place that is not a tuple: {each.at!r}'
        )
        ends[each.axis].append(each.value)
    for axis, values in ends.items():
        assert values, f'{search!r} gives no end of "{axis}", so that a wrong one is not found before the first trial'
    return ends


def _proposed(search: Search, folder: Path, ends: Ends, count: int) -> list[Outcome]:
    from kdkit.api.interfaces import OpenSearch
    from kdkit.api.values import Outcome

    opened = search.open(folder, seed=_SEED)
    assert isinstance(opened, OpenSearch), f"{search!r} opens {opened!r}, which lacks a method of OpenSearch"
    outcomes: list[Outcome] = []
    for number in range(count):
        before = list(outcomes)
        opened.tell(outcomes)
        assert outcomes == before, f"{search!r} changes the outcomes that it receives"
        values = _asked(search, opened, ends)
        _check_new(search, values, outcomes)
        status = ("done", "done", "failed", "running")[number % 4]
        value = 1 / (number + 1) if status == "done" else None
        outcomes.append(
            Outcome(id=f"{number:016x}", values=dict(values), status=status, value=value, higher_is_better=True)
        )
    opened.close()
    return outcomes


def _asked(search: Search, opened: OpenSearch, ends: Ends) -> Mapping[str, Any]:
    values: Any = opened.ask()
    assert isinstance(values, Mapping), f"{search!r} proposes {values!r}, which is not a value for each axis"
    assert values.keys() == ends.keys(), f"{search!r} proposes {sorted(values)}, and its axes are {sorted(ends)}"
    for axis, value in values.items():
        assert is_toml(value), f'{search!r} proposes for "{axis}" {value!r}, which no recipe can have'
        known = ends[axis]
        if all(isinstance(end, int | float) and not isinstance(end, bool) for end in known):
            is_within = isinstance(value, int | float) and min(known) <= value <= max(known)
        else:
            is_within = value in known
        assert is_within, f'{search!r} proposes for "{axis}" {value!r}, which its ends {known} do not allow'
    return values


def _check_new(search: Search, values: Mapping[str, Any], outcomes: Sequence[Outcome]) -> None:
    for known in outcomes:
        assert dict(known.values) != dict(values), (
            f"{search!r} proposes {dict(values)} again, though it was told of that trial ({known.status})"
        )
