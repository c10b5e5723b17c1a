"""What trials are called beside each other: by what differs between them, and of tables by the keys that differ."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from kdkit.sweeps.swept_keys import title_of, value_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MOST = 4
"""Keys that a title names all of; of more, only those whose value most trials do not share."""
GIVEN = {True: "yes", False: "no"}
"""What is said of a table that some trials have, all of them the same one, and others have not."""
USUAL = "as most trials"


def told_apart(among: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Values of trials without what all of them share; of a single trial its values as they are.

    Args:
        among: The values of each trial, all of them with the same keys.
    """
    if len(among) < 2:
        return [dict(each) for each in among]
    told: list[dict[str, Any]] = [{} for _ in among]
    for key in among[0]:
        for name, column in _differing(key, [each[key] for each in among]):
            for mine, value in zip(told, column, strict=True):
                mine[name] = value
    return told


def columns_of(axes: Sequence[str]) -> tuple[str, ...]:
    """Names of axes in a table: the last word of each, if that tells them apart."""
    short = [axis.rpartition(".")[2] for axis in axes]
    return tuple(short) if len(set(short)) == len(short) else tuple(axes)


def cells_of(among: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Trials as the rows of a table, by columns: what tells them apart, or their titles where that is too much."""
    told = told_apart(among)
    if not told or len(told[0]) <= MOST:
        return told
    return [{"trial": title} for title in titles_of([(values, None) for values in among])]


def titles_of(among: Sequence[tuple[Mapping[str, Any], int | None]]) -> list[str]:
    """Trials in a few words each, by their values and seeds: `loss.alpha 0.5, seed 43`."""
    told = told_apart([values for values, _ in among])
    usual: dict[str, str] = {}
    names: dict[str, str] = {}
    if told and len(told[0]) > MOST:
        names = dict(zip(told[0], columns_of(list(told[0])), strict=True))
        for key in told[0]:
            (value, count), *_ = Counter(value_text(each[key]) for each in told).most_common(1)
            usual |= {key: value} if count * 2 > len(told) else {}
    titles = []
    for mine, (_, seed) in zip(told, among, strict=True):
        own = {names.get(key, key): value for key, value in mine.items() if usual.get(key) != value_text(value)}
        titles.append(title_of(own, seed) if own or not mine else ", ".join([USUAL, *_seed(seed)]))
    return titles


def _seed(seed: int | None) -> list[str]:
    return [] if seed is None else [f"seed {seed}"]


def _differing(key: str, values: Sequence[Any]) -> Iterator[tuple[str, Sequence[Any]]]:
    """The keys, and their values, in which values of a key differ: of tables those within."""
    if len({value_text(value) for value in values}) < 2:
        return
    tables = [value for value in values if isinstance(value, Mapping)]
    if not tables or any(value is not None and not isinstance(value, Mapping) for value in values):
        yield key, values
        return
    if len({value_text(table) for table in tables}) == 1:
        yield key, [GIVEN[value is not None] for value in values]
        return
    for name in dict.fromkeys(name for table in tables for name in table):
        yield from _differing(f"{key}.{name}", [None if value is None else value.get(name) for value in values])
