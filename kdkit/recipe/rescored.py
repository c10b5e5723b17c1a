"""A finished run's recipe, with what may differ when its student is scored again without any training."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import attrs

from kdkit import plugins as plugin_loading
from kdkit.api.suites import MEASURED
from kdkit.errors import RecipeError
from kdkit.recipe.document import read_stored_document, with_overrides
from kdkit.recipe.load import made_of
from kdkit.recipe.sections import SECTIONS, Preamble
from kdkit.recipe.spelling import parsed_key
from kdkit.system.digests import digest_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from kdkit.recipe.sections import Recipe

MAY_DIFFER = ("evaluation", "generation", "data", "device")
"""Sections and keys that no trained model depends on."""
_LONGEST_NAME = 60
_FOLDERS = re.compile(r"""[^\s"',=\[\]{}]*[/\\]""")


def load_rescored(path: Path, overrides: Sequence[str]) -> Recipe:
    """Read and check the recipe of a finished run, changed in what needs no training.

    What picked the best epoch may be a metric of a suite that is not asked any more.

    Args:
        path: The recipe in the run's folder.
        overrides: `section.key=value`.

    Raises:
        RecipeError: Something is wrong, or would need training; carries every problem.
    """
    document = read_stored_document(path)
    if refused := [*_trained(overrides)]:
        raise RecipeError(refused)
    document, malformed = with_overrides(document, overrides)
    if _has_lost_its_suite(document.table) and not any(_key(each) == "evaluation.headline" for each in overrides):
        document, _ = with_overrides(document, ['evaluation.headline=""'])
    return made_of(document, None, plugin_loading.load(), malformed, is_stored=True, check=lambda *_: None)


def overrides_of(suites: Sequence[str] | None, limit: int | None) -> Iterator[str]:
    """Overrides for what has a flag of its own.

    Args:
        suites: The metric suites; None for those of the recipe.
        limit: How many held-out rows are scored at most; None for as many as the recipe says.
    """
    if suites is not None:
        yield f"evaluation.suites={json.dumps(list(suites))}"
    if limit is not None:
        yield f"evaluation.rows={limit}"


def name_of(overrides: Sequence[str]) -> str:
    """A name for the evaluation that they make, usable as that of a folder: "packages-rich"; of a path its end."""
    words = []
    for each in overrides:
        key, _, value = each.partition("=")
        words += [key.strip().rpartition(".")[2], *re.findall(r"[\w.]+", _FOLDERS.sub("", value))]
    name = "-".join(words).strip("-.")
    return name[:_LONGEST_NAME] + f"-{digest_of(list(overrides))[:8]}" * (len(name) > _LONGEST_NAME) or "again"


def _trained(overrides: Sequence[str]) -> Iterator[str]:
    """What is wrong with overrides of that which a trained model depends on."""
    known = {*SECTIONS, *attrs.fields_dict(Preamble), "name"} - set(MAY_DIFFER)
    for each in overrides:
        key = _key(each)
        if key.split(".")[0] in known:
            yield (
                f"-o {each}: {key} is not part of an evaluation, which trains nothing; `kdkit evaluate` takes "
                f"{', '.join(f'{name}.*' for name in MAY_DIFFER[:-1])} and {MAY_DIFFER[-1]}; for another {key} run the "
                "recipe again with `kdkit run`"
            )


def _key(override: str) -> str:
    """The dotted key of an override, without what TOML allows around its names."""
    key = override.partition("=")[0].strip()
    return ".".join(parsed_key(key) or (key,))


def _has_lost_its_suite(table: Mapping[str, Any]) -> bool:
    """Whether the headline is a metric of a suite that is not there."""
    evaluation = table.get("evaluation")
    if not isinstance(evaluation, dict):
        return False
    headline, suites = evaluation.get("headline"), evaluation.get("suites")
    if not isinstance(headline, str) or not isinstance(suites, list) or not headline or headline in MEASURED:
        return False
    names = [each.get("name") if isinstance(each, dict) else each for each in suites]
    return not any(isinstance(name, str) and headline.startswith(f"{name}.") for name in names)
