"""The conformance check of published numbers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from kdkit.testing.values import check_value, is_toml

if TYPE_CHECKING:
    from kdkit.api.interfaces import Reference

AGAINST = ("truth", "teacher", "truth and teacher")


def check_reference(reference: Reference) -> None:
    """Check that published numbers keep the promises of `kdkit.api.Reference`.

    - It is a value: its options are its identity.
    - `source` says who published them.
    - `runs` gives the same `kdkit.api.PublishedRun` at every call, one at least, each with a name of its own and values
      of its own: keys of a recipe, as `loss.alpha`, with values that a recipe can have.
    - A score's key is (against, suite, metric), and every number is finite.

    Raises:
        AssertionError: A promise is broken; the message says which and by what.
    """
    from kdkit.api.interfaces import Reference
    from kdkit.api.values import PublishedRun

    check_value(reference, Reference)
    source: Any = reference.source
    assert isinstance(source, str), f"{reference!r} has a source of type {type(source).__name__}; it must be text"
    assert source.strip(), f"{reference!r} does not say who published its numbers: its source is empty"
    runs = list(reference.runs())
    assert runs, f"{reference!r} has no runs"
    assert list(reference.runs()) == runs, f"{reference!r} gives other runs at a second call"
    for run in runs:
        assert isinstance(run, PublishedRun), f"{reference!r} has a run of type {type(run).__name__}, not PublishedRun"
        _check_run(reference, run)
    names = [run.name for run in runs]
    assert len(set(names)) == len(names), f"{reference!r} has two runs of one name, among {', '.join(names)}"
    for index, run in enumerate(runs):
        twins = [other.name for other in runs[:index] if dict(other.values) == dict(run.values)]
        assert not twins, f'{reference!r} has one set of values for two runs, "{twins[0]}" and "{run.name}"'


def _check_run(reference: Reference, run: Any) -> None:
    what = f"the run {run.name!r} of {reference!r}"
    assert isinstance(run.name, str) and run.name, f"{what} has no name"  # noqa: PT018 - one rule
    for key, value in run.values.items():
        assert isinstance(key, str) and key, f"{what} has a value for {key!r}, which is not a key of a recipe"  # noqa: PT018
        assert is_toml(value), f"{what} has for {key!r} {value!r}, which a recipe cannot have"
    for place, value in run.scores.items():
        is_place = isinstance(place, tuple) and len(place) == 3 and all(isinstance(part, str) for part in place)
        assert is_place, f"{what} has a score at {place!r}; the key must be (against, suite, metric)"
        assert place[0] in AGAINST, f"{what} has a score against {place[0]!r}, which is not one of {', '.join(AGAINST)}"
        _check_number(what, place, value)
    for name, value in run.numbers.items():
        _check_number(what, name, value)


def _check_number(what: str, name: object, value: object) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    assert is_number, f"{what} has at {name!r} {value!r}, which is not a finite number"
