"""The keys of what is kept for a recipe's inputs: its rows, and its plan."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from kdkit import plugins
from kdkit.api.interfaces import KeyedSource
from kdkit.recipe.placing import placing
from kdkit.runs.facts_table import as_facts
from kdkit.system.digests import digest_of
from kdkit.system.reading import read_bytes

if TYPE_CHECKING:
    from kdkit.recipe import Recipe
    from kdkit.runs.stage import RowsPlanned
    from kdkit.runs.stage_facts import Estimate

_COMPUTE = ("tokenizers", "transformers")


def rows_key(recipe: Recipe) -> str | None:
    """The key of a recipe's rows; None where its data set does not say what they depend on, or they are few."""
    source = recipe.data
    if not isinstance(source, KeyedSource):
        return None
    with placing(recipe, "data"):
        found = source.inputs()
    if found is None:
        return None
    prompts = ["prompts"] if recipe.writing is not None else []  # then rows without a target are among them
    return digest_of([recipe.names["data"], recipe.digested["data"], dict(found), *prompts])[:32]


def plan_key(recipe: Recipe, rows: str | None) -> str | None:
    """The key of a recipe's plan; None where it depends on models or files that the recipe only names.

    Args:
        recipe: The recipe.
        rows: The key of its rows.
    """
    parts = (recipe.teacher, recipe.student)
    if rows is None or not all(getattr(part, "is_self_contained", False) for part in parts):
        return None
    depends: dict[str, Any] = {
        "rows": rows,
        "recipe": recipe.digested,
        "kdkit": _own_digest(),
        "plugins": dict(plugins.load().loaded),
        "versions": {name: importlib.metadata.version(name) for name in _COMPUTE},
        "python": list(sys.version_info[:3]),
    }
    return digest_of(depends)[:32]


def finished_plan_key(recipe: Recipe, rows: RowsPlanned, found: Estimate) -> str:
    """The key of the plan of a finished run.

    Args:
        recipe: The run's recipe.
        rows: Its rows.
        found: The estimate that the run noted.
    """
    depends = {
        "rows": attrs.asdict(rows),
        "found": as_facts(found),
        "recipe": recipe.digested,
        "kdkit": _own_digest(),
        "plugins": dict(plugins.load().loaded),
    }
    return digest_of(depends)[:32]


@functools.cache
def _own_digest() -> str:
    """Of kdkit's own code: what a version of it says of a recipe, another may say otherwise."""
    whole, folder = hashlib.sha256(), Path(__file__).parents[1]
    for path in sorted(folder.rglob("*.py")):
        whole.update(f"{path.relative_to(folder)}\n".encode() + hashlib.sha256(read_bytes(path)).digest())
    return whole.hexdigest()
