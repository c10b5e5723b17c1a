"""How other configurations stand to the best: better than it, within noise of it or worse, and on how many seeds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.report.numbers.statistics import Unpaired
from kdkit.report.page import formats
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.api.values import Difference
    from kdkit.evaluation.row_scores import RowKey
    from kdkit.report.numbers.configurations import Configuration
    from kdkit.report.numbers.statistics import Statistics

BETTER, NOISE, WORSE, UNKNOWN = "better", "within noise", "worse", "not paired"
MOST_NAMED = 4
"""So many configurations are named one by one; more are counted."""


@attrs.frozen(kw_only=True, eq=False)
class Judged:
    """A configuration beside the best.

    Attributes:
        configuration: It.
        found: Its score minus the best's, paired by row and seed.
        kind: What that amounts to.
        seeds: How many seeds both have.
        wanted: How many there are to have.
    """

    configuration: Configuration
    found: Difference | Unpaired
    kind: str
    seeds: int
    wanted: int

    @property
    def is_on_fewer(self) -> bool:
        """Whether it shares too few seeds to be judged with the others."""
        return self.seeds < self.wanted

    @property
    def told(self) -> str:
        """Its name and by how much it differs: `alpha 0.5 (+0.022, +0.005 to +0.039)`."""
        if isinstance(self.found, Unpaired):
            return self.configuration.label
        ends = formats.signed_interval(self.found)
        seeds = f", on {self.seeds} of {plural(self.wanted, 'seed')}" if self.is_on_fewer else ""
        return f"{self.configuration.label} ({formats.signed(self.found.value)}, {ends}{seeds})"


def others(stats: Statistics, best: Configuration, key: RowKey) -> list[Judged]:
    """Every other configuration beside the best, the better first.

    All are judged on as many seeds as the best has; where it has but one, on as many as any has, so that a difference
    of a single seed is not taken for more.
    """
    wanted = len(best.runs) if len(best.runs) > 1 else max(len(each.runs) for each in stats.configurations)
    sense = stats.direction(key).sense or 1
    judged = []
    for each in stats.configurations:
        if each is best:
            continue
        found = stats.difference(each, best, key)
        judged.append(
            Judged(
                configuration=each,
                found=found,
                kind=_kind(found),
                seeds=stats.seeds_in_common(each, best),
                wanted=wanted,
            )
        )
    return sorted(judged, key=lambda one: 0.0 if isinstance(one.found, Unpaired) else -sense * one.found.value)


def of_kind(judged: Sequence[Judged], kind: str, *, fewer: bool = False) -> list[Judged]:
    """Those of a kind that are judged on enough seeds, or on fewer."""
    return [each for each in judged if each.kind == kind and each.is_on_fewer is fewer]


def summed_up(judged: Sequence[Judged], split: str) -> str:
    """A sentence: how many are within noise of the best, and which are better than it or worse.

    Those that are judged on fewer seeds are left to `of_fewer`, unless there are no others.
    """
    full = [each for each in judged if not each.is_on_fewer]
    if not full:
        return of_fewer(judged, split)
    return _counted(full, "other configuration" if len(full) == 1 else "other configurations", split)


def of_fewer(judged: Sequence[Judged], split: str) -> str:
    """The same of those that are judged on fewer seeds; empty where there is none."""
    fewer = [each for each in judged if each.is_on_fewer]
    if not fewer:
        return ""
    told = _counted(fewer, f"{'one' if len(fewer) == 1 else 'others'} with fewer seeds", split)
    return f"{told[:-1]}, on the seeds that both have."


def named(judged: Sequence[Judged], *, most: int = MOST_NAMED) -> str:
    """Their names and differences; those that are too many counted."""
    told = [each.told for each in judged[:most]]
    return "; ".join(told) + (f"; and {len(judged) - most} more" if len(judged) > most else "")


def _counted(judged: Sequence[Judged], what: str, split: str) -> str:
    """`Of the 9 other configurations 8 are within noise of it and 1 is better on test: NAME (+0.020, ...)`."""
    of = len(judged)
    found = {kind: [each for each in judged if each.kind == kind] for kind in (NOISE, WORSE, BETTER, UNKNOWN)}
    said = {
        NOISE: "within noise of it",
        WORSE: "worse",
        UNKNOWN: "not paired with it",
        BETTER: f"better on {split}: {named(found[BETTER], most=2)}",
    }
    alone = next((text for kind, text in said.items() if len(found[kind]) == of), None)
    if of == 1 and alone is not None:
        return f"The {what} is {alone}."
    if len(found[NOISE]) == of:
        return f"All {of} {what} are within noise of it."
    parts = [f"{len(found[kind])} {_is(len(found[kind]))} {text}" for kind, text in said.items() if found[kind]]
    if not found[NOISE]:
        parts.insert(0, "none is within noise of it")
    return f"Of the {of} {what} {_joined(parts)}."


def _joined(parts: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(parts[:-1]), parts[-1])))


def _is(count: int) -> str:
    return "is" if count == 1 else "are"


def _kind(found: Difference | Unpaired) -> str:
    if isinstance(found, Unpaired):
        return UNKNOWN
    return found.verdict or (BETTER if found.value > 0 else WORSE)
