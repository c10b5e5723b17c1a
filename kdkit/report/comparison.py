"""A page that compares any runs: what differs in their recipes, and by how much their scores do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.report.numbers.selection import headline
from kdkit.report.numbers.statistics import Statistics, Unpaired, within_noise
from kdkit.report.page import formats
from kdkit.report.page.document import Document, Part
from kdkit.report.page.study import to_html, to_markdown
from kdkit.report.parts import configurations, trials
from kdkit.report.parts.differences import differences, intervals, runs_table, what_differs
from kdkit.report.read.scored import SEED, Configuration, described, read_run, spelt
from kdkit.system.digests import canonical_json
from kdkit.system.files import write_atomically
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from kdkit.report.read.scored import ScoredRun

NOT_SCORED = frozenset({"evaluation.baselines", "evaluation.bootstrap", "evaluation.examples"})
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
    document = assemble(stats)
    write_atomically(output, to_html(document).encode())
    write_atomically(output.with_suffix(".md"), to_markdown(document).encode())
    return stats


def compared(folders: Sequence[Path]) -> Statistics:
    """The runs of these folders by configuration: those that differ by the seed of their training alone are one.

    Raises:
        MissingInput: One of the folders holds no evaluation.
        DamagedData: A file in one cannot be read.
    """
    runs = [read_run(folder) for folder in folders]
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
    first = stats.configurations[0]
    runs = [run for each in stats.configurations for run in each.runs]
    found = finding(stats)
    parts = [
        Part(
            key="recipes", title="What differs", text=_about_recipes(stats), tables=what_differs(stats), is_wordy=True
        ),
        Part(
            key="differences",
            title=f"Differences from {first.label}",
            text=_unpaired(stats),
            tables=tuple(differences(stats)),
        ),
        Part(
            key="scores",
            title="Scores side by side",
            figures=tuple(intervals(stats)),
            tables=tuple(configurations.scores(stats)),
            details=tuple(configurations.scores(stats, parts=True)),
        ),
    ]
    costs = configurations.costs(stats)
    if costs is not None:
        parts.append(Part(key="costs", title="What they cost", tables=(costs,)))
    parts.append(
        Part(
            key="origin",
            title="What was compared",
            tables=(runs_table(stats),),
            is_wordy=True,
            facts=tuple(trials.versions(runs)),
        )
    )
    return Document(
        title="Comparison of " + plural(len(runs), "run"),
        kind="comparison",
        description=f"{plural(len(stats.configurations), 'configuration')}: "
        + "; ".join(each.label for each in stats.configurations),
        verdict=found.sentence,
        detail=found.detail,
        warnings=tuple(_warnings(stats.configurations)),
        parts=tuple(part for part in parts if part.tables or part.text),
        footer=f"Made by kdkit from {plural(len(runs), 'run folder')} alone.",
    )


@attrs.frozen(kw_only=True)
class Finding:
    """The sentence that a comparison comes to, and what it stands on."""

    sentence: str
    detail: str


def finding(stats: Statistics) -> Finding:
    """How the others differ from the first in the headline metric."""
    first, *others = stats.configurations
    key = headline(stats)
    if key is None:
        return Finding(sentence="These runs have no score of a student.", detail="")
    name = configurations.metric_name(key)
    measure = stats.measure(first, key)
    if not others or measure is None:
        return Finding(sentence=f"There is one configuration, {first.label}: nothing to compare it with.", detail="")
    told = []
    for each in others:
        apart = stats.difference(each, first, key)
        if isinstance(apart, Unpaired):
            told.append(f"{each.label} cannot be compared row by row")
        elif within_noise(apart):
            told.append(f"{each.label} is within noise of it ({formats.signed(apart.value)})")
        else:
            side = "above" if apart.value > 0 else "below"
            told.append(f"{each.label} is {formats.metric(abs(apart.value))} {side} it")
    value = configurations.cell(measure)
    return Finding(
        sentence=f"The {name} of {first.label} is {value.text}; {'; '.join(told[:4])}"
        + (f"; and {len(told) - 4} more." if len(told) > 4 else "."),
        detail=f"{name} of suite {key.suite}, against the {key.against}. Within noise: the 95 % interval of the paired "
        "difference, over rows and seeds, holds 0.",
    )


def _about_recipes(stats: Statistics) -> tuple[str, ...]:
    grouped = [each for each in stats.configurations if len(each.runs) > 1]
    text = ["Only the keys for which the recipes do not all say the same."]
    if not any(each.values for each in stats.configurations):
        text = ["The recipes are the same."]
    if grouped:
        text.append("Runs that differ by the seed of their training alone are seeds of one configuration.")
    return tuple(text)


def _unpaired(stats: Statistics) -> tuple[str, ...]:
    """A sentence for each configuration that cannot be paired with the first, or not on all seeds."""
    first, *others = stats.configurations
    key = headline(stats)
    found: list[str] = []
    fewer: list[str] = []
    for each in others:
        apart = None if key is None else stats.difference(each, first, key)
        if isinstance(apart, Unpaired):
            found.append(f"{each.label} has no paired differences: {apart.reason}.")
        seeds = stats.seeds_in_common(each, first)
        if not isinstance(apart, Unpaired) and seeds < max(len(each.runs), len(first.runs)):
            fewer.append(f"{each.label} is compared on the {plural(seeds, 'seed')} alone that both have.")
    paired = "Each minus the first, paired by row and seed."
    return (paired, *fewer, *found) if len(found) < len(others) else tuple(found)


def _warnings(configurations: Sequence[Configuration]) -> list[str]:
    runs = [run for each in configurations for run in each.runs]
    found = trials.version_warnings(runs)
    splits = sorted({run.split for run in runs})
    if len(splits) > 1:
        found.append(f"The runs were scored on different splits: {', '.join(splits)}.")
    elif splits == ["validation"]:
        found.append("The runs were scored on the validation rows, which chose each run's best epoch too.")
    found += trials.few_seeds(configurations)
    if any(run.rows is None for run in runs):
        found.append("Some runs have no rows.npz: for these there are no intervals over seeds and no differences.")
    return found


def _name(group: Sequence[ScoredRun], keys: Sequence[str], runs: Sequence[ScoredRun]) -> str:
    values: Mapping[str, Any] = {key: group[0].recipe.get(key) for key in keys}
    told = {key: value for key, value in values.items() if value is not None}
    if 0 < len(keys) <= MOST_KEYS and told and all(len(spelt(value)) <= 40 for value in told.values()):
        return described(told)
    return _folder_name(group, runs)


def _folder_name(group: Sequence[ScoredRun], runs: Sequence[ScoredRun]) -> str:
    names = [run.folder.resolve().name for run in runs]
    own = group[0].folder.resolve().name
    return own if names.count(own) == 1 else str(group[0].folder)
