"""A page that compares any runs: what differs in their recipes, and by how much their scores do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.report.numbers.configurations import Configuration, described
from kdkit.report.numbers.statistics import Statistics
from kdkit.report.page.document import Document
from kdkit.report.page.formats import setting
from kdkit.report.page.writing import write_page
from kdkit.report.parts import cautions, comparison_verdict, costs, differences, provenance, recipes, scores
from kdkit.report.read.scored import SEED, read_scored
from kdkit.system.digests import canonical_json
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from kdkit.report.page.document import Part
    from kdkit.report.read.scored import ScoredRun

NOT_SCORED = frozenset({"evaluation.baselines", "evaluation.bootstrap", "evaluation.examples", "evaluation.headline"})
"""Keys that change no score that is compared."""
MOST_KEYS = 3
"""A configuration is called by what its recipe says for so many keys that differ; where more differ, by its folder."""


def write(folders: Sequence[Path], output: Path) -> Statistics:
    """Write the page to `output` and the same as Markdown beside it, with the ending `.md`, and give what is in them.

    Raises:
        MissingInput: One of the folders holds no evaluation.
        DamagedData: A file in one cannot be read.
    """
    stats = compared(folders)
    write_page(assemble(stats), output)
    return stats


def compared(folders: Sequence[Path]) -> Statistics:
    """The runs of these folders by configuration: those that differ by the seed of their training alone are one.

    Raises:
        MissingInput: One of the folders holds no evaluation.
        DamagedData: A file in one cannot be read.
    """
    runs = [read_scored(folder) for folder in folders]
    keys = differing(runs)
    grouped: dict[str, list[list[ScoredRun]]] = {}
    for run in runs:
        sets = grouped.setdefault(canonical_json({key: run.recipe.get(key) for key in keys}), [[]])
        # The same recipe run twice with one seed is no second seed.
        fitting = next(
            (one for one in sets if run.recipe.get(SEED) not in {other.recipe.get(SEED) for other in one}), None
        )
        if fitting is None:
            sets.append([run])
        else:
            fitting.append(run)
    groups = sorted((one for sets in grouped.values() for one in sets), key=lambda one: runs.index(one[0]))
    names = [_name(one, keys, runs) for one in groups]
    return Statistics(
        [
            Configuration(
                values={key: one[0].recipe.get(key) for key in keys},
                runs=tuple(one),
                name=name if names.count(name) == 1 else _folder_name(one, runs),
            )
            for one, name in zip(groups, names, strict=True)
        ]
    )


def differing(runs: Sequence[ScoredRun]) -> list[str]:
    """The keys for which their recipes do not all say the same, without the seed of training and `NOT_SCORED`."""
    keys = dict.fromkeys(key for run in runs for key in run.recipe if key != SEED and key not in NOT_SCORED)
    return [key for key in keys if len({canonical_json(run.recipe.get(key)) for run in runs}) > 1]


def assemble(stats: Statistics) -> Document:
    """The content of the page."""
    configurations = stats.configurations
    runs = sum(len(each.runs) for each in configurations)
    return Document(
        title=f"Comparison of {plural(runs, 'run')}",
        kind="comparison",
        description=f"{plural(len(configurations), 'configuration')}: "
        + "; ".join(each.label for each in configurations),
        verdict=comparison_verdict.of_comparison(stats),
        opening=comparison_verdict.opening(stats),
        warnings=tuple(cautions.of_comparison(configurations)),
        parts=tuple(part for part in _parts(stats) if part is not None),
        footer=f"Made by kdkit from {plural(runs, 'run folder')} alone.",
    )


def _parts(stats: Statistics) -> Iterator[Part | None]:
    """The sections, in their order."""
    yield recipes.of_comparison(stats.configurations)
    yield differences.of_comparison(stats)
    yield scores.of_several(stats, "Scores side by side", differences.intervals(stats))
    yield costs.of_several(stats.configurations)
    yield provenance.of_comparison(stats.configurations)


def _name(group: Sequence[ScoredRun], keys: Sequence[str], runs: Sequence[ScoredRun]) -> str:
    values: Mapping[str, Any] = {key: group[0].recipe.get(key) for key in keys}
    told = {key: value for key, value in values.items() if value is not None}
    if 0 < len(keys) <= MOST_KEYS and told and all(len(setting(value)) <= 40 for value in told.values()):
        return described(told)
    return _folder_name(group, runs)


def _folder_name(group: Sequence[ScoredRun], runs: Sequence[ScoredRun]) -> str:
    names = [run.folder.resolve().name for run in runs]
    own = group[0].folder.resolve().name
    return own if names.count(own) == 1 else str(group[0].folder)
