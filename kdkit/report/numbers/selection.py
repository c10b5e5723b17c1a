"""Which configuration is the best: chosen on the validation rows, and by what."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs

from kdkit.evaluation.headline import headline_of
from kdkit.evaluation.row_scores import RowKey
from kdkit.report.numbers.names import NO_SUITES
from kdkit.report.read.files import number
from kdkit.report.read.scored import SEED
from kdkit.sweeps.monitors import are_comparable
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from kdkit.api.values import Direction, Score
    from kdkit.report.numbers.configurations import Configuration
    from kdkit.report.numbers.statistics import Statistics
    from kdkit.report.read.scored import ScoredRun

HARD = RowKey("student", "truth", "loss", "hard")


@attrs.frozen(kw_only=True, eq=False)
class Selection:
    """Configurations from the best to the worst.

    Attributes:
        by: What they are ordered by: `text.f1`.
        ranked: Those that have it, with their mean over seeds, the best first.
        note: Why it is not the recipe's `training.best_by`, where it is not, and on which seeds.
        key: The score that they are ordered by, where it is one of the evaluation's.
    """

    by: str
    ranked: tuple[tuple[Configuration, float], ...]
    note: str = ""
    key: RowKey | None = None

    @property
    def best(self) -> Configuration | None:
        """The first of them."""
        return self.ranked[0][0] if self.ranked else None


def select(stats: Statistics, axes: Sequence[str]) -> Selection:
    """Order configurations on the validation rows, mean over seeds, by the score that the report is about.

    Where the validation rows have no such score, `training.best_by` takes its place; but the total and the soft loss
    depend on alpha, temperature and what was stored of the teacher's logits, and where a sweep varies these the hard
    loss does instead.
    """
    configurations, about = stats.configurations, headline(stats)
    monitors = {str(run.recipe.get("training.best_by")) for each in configurations for run in each.runs}
    monitor = next(iter(monitors)) if len(monitors) == 1 else None
    if about is not None and monitor != _monitor_of(about):
        runs = [run for each in stats.having(about) for run in each.runs]
        if all(about in _on_validation(run) for run in runs):
            found = by_score(stats, about)
            return Selection(by=_named(about), ranked=found, note=_seeds_note(found, of=len(configurations)), key=about)
    reason = "the trials differ in training.best_by"
    if monitor is not None:
        if are_comparable(monitors, axes):
            found = _ranked(configurations, _monitored(monitor), direction=_direction_of(monitor, stats))
            if found:
                note = _seeds_note(found, of=len(configurations))
                return Selection(by=monitor, ranked=found, note=note, key=_key_of(monitor, configurations))
        reason = f'training.best_by is "{monitor}", which is not comparable between trials that vary {", ".join(axes)}'
    found = by_score(stats, HARD)
    if not found:
        return Selection(by="", ranked=())
    seeds = _seeds_note(found, of=len(configurations))
    note = f"{reason}; so {_named(HARD)} on the validation rows chose. {seeds}".strip()
    return Selection(by=_named(HARD), ranked=found, note=note, key=HARD)


def by_score(stats: Statistics, key: RowKey) -> tuple[tuple[Configuration, float], ...]:
    """Configurations ordered by a score on the validation rows; empty where none has it there."""

    def value(run: ScoredRun) -> float | None:
        scores = _on_validation(run)
        return number(scores[key].value) if key in scores else None

    return _ranked(stats.configurations, value, direction=stats.direction(key))


def headline(stats: Statistics) -> RowKey | None:
    """The score that a report on several runs is about: the headline of the first that has one."""
    mine, runs = stats.of_student("truth"), [run for each in stats.configurations for run in each.runs]
    of_suites = [key for key in [*mine, *stats.of_student("truth", parts=True)] if key.suite not in NO_SUITES]
    named = {f"{key.suite}.{key.metric}": key for key in of_suites}
    measured = [key for key in [*stats.of_student("teacher"), *mine] if key.suite in NO_SUITES]
    asked = next((run.headline for run in runs), "")
    if chosen := next((key for key in measured if f"{key.suite}.{key.metric}" == asked), None):
        return chosen
    decided = next((run.headline for run in runs if run.headline in named), "")
    best_by = [str(run.recipe.get("training.best_by")) for run in runs]
    found = headline_of(
        [(key.suite, key.metric) for key in of_suites],
        asked=decided,
        best_by=next((each for each in best_by if each in named), ""),
    )
    if not found and HARD in mine:  # no suite scores texts
        return HARD
    return named[found] if found else next(iter(mine), None)


def _on_validation(run: ScoredRun) -> Mapping[RowKey, Score]:
    return run.scores if run.split == "validation" else run.validation


def _named(key: RowKey) -> str:
    return "the hard loss" if key == HARD else f"{key.suite}.{key.metric}"


def _monitor_of(key: RowKey) -> str:
    """What a training watches that watches a score."""
    return key.metric if key.suite == "loss" else f"{key.suite}.{key.metric}"


def _monitored(monitor: str) -> Callable[[ScoredRun], float | None]:
    def value(run: ScoredRun) -> float | None:
        noted = run.facts("distill")
        return number(noted.get("best_value")) if noted.get("best_by", monitor) == monitor else None

    return value


def _key_of(monitor: str, configurations: Sequence[Configuration]) -> RowKey | None:
    """The score of an evaluation that is what a training watched."""
    suite, _, metric = monitor.rpartition(".")
    key = RowKey("student", "truth", suite or "loss", metric)
    return key if any(key in run.scores for each in configurations for run in each.runs) else None


def _direction_of(monitor: str, stats: Statistics) -> Direction:
    """Which values of what a training watched are better: a metric has its score's, all losses have the hard loss's."""
    suite, _, metric = monitor.rpartition(".")
    return stats.direction(RowKey("student", "truth", suite, metric) if suite else HARD)


def _ranked(
    configurations: Sequence[Configuration], value: Callable[[ScoredRun], float | None], *, direction: Direction
) -> tuple[tuple[Configuration, float], ...]:
    """By their mean over the seeds that all have; over each one's own where there is none that all have.

    Where several have more seeds than the others, one of these is the best: what one seed says is not enough to choose.
    """
    found = []
    for each in configurations:
        values = {run.recipe.get(SEED): told for run in each.runs if (told := value(run)) is not None}
        if values:
            found.append((each, values))
    most = max((len(values) for _, values in found), default=0)
    full = [(each, values) for each, values in found if len(values) == most]
    found = full if len(full) > 1 else found
    shared = _shared([set(values) for _, values in found])
    means = []
    for each, values in found:
        counted = [told for seed, told in values.items() if seed in shared or not shared]
        means.append((each, math.fsum(counted) / len(counted)))
    return tuple(sorted(means, key=lambda pair: -pair[1] * (direction.sense or 1)))


def _seeds_note(ranked: Sequence[tuple[Configuration, float]], *, of: int) -> str:
    """On which seeds configurations were compared that do not all have the same, and how many were not compared."""
    seeds = [{run.recipe.get(SEED) for run in each.runs} for each, _ in ranked]
    shared = _shared(seeds)
    if all(each == shared for each in seeds):
        if len(ranked) == of:
            return ""
        return f"It is chosen among the {len(ranked)} of {of} that have {plural(len(shared), 'seed')}."
    if not shared:
        return "No seed is shared by all: each stands by the mean of its own."
    told = f"{'seed' if len(shared) == 1 else 'seeds'} {', '.join(map(str, sorted(shared, key=str)))}"
    return f"Not all have the same seeds: they are ranked on what all have, {told}."


def _shared(seeds: Sequence[set[object]]) -> set[object]:
    return set.intersection(*seeds) if seeds else set()
