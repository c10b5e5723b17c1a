"""A recipe with the settings of a trial applied."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.recipe.document import Document, laid_over, paths_in

if TYPE_CHECKING:
    from kdkit.plugins.fields import KeyPath
    from kdkit.recipe.document import Place
    from kdkit.sweeps.axes import Combination


def document_of(base: Document, combination: Combination, source: Document) -> Document:
    """A recipe with some settings applied; faults are reported at the places of the settings."""
    table: dict[str, Any] = {}
    places: dict[KeyPath, Place] = {}
    around: dict[KeyPath, Place] = {}
    for each in combination:
        inner = table
        for key in each.axis[:-1]:
            inner = inner.setdefault(key, {})
        inner[each.axis[-1]] = each.value
        for path in ((), *paths_in(each.value, ())):
            places[*each.axis, *path] = source.place((*each.at, *path))
        around |= {each.axis[:length]: source.place(each.at) for length in range(1, len(each.axis))}
        if isinstance(each.value, Mapping):
            base = _without(base, each.axis)
    merged = laid_over(base, Document(table=table, places=places, start=base.start))
    return attrs.evolve(merged, places={**around, **merged.places})


def _without(document: Document, path: tuple[str, ...]) -> Document:
    """The document without a key: a table that a sweep gives is the whole of it."""

    def removed(table: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
        inner = table.get(keys[0])
        if len(keys) == 1 or not isinstance(inner, Mapping):
            return {key: value for key, value in table.items() if key != keys[0] or len(keys) > 1}
        return {**table, keys[0]: removed(inner, keys[1:])}

    places = {key: place for key, place in document.places.items() if key[: len(path)] != path}
    return attrs.evolve(document, table=removed(document.table, path), places=places)
