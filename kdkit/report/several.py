"""What reports on several runs say, as JSON can hold it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdkit.report.numbers.selection import headline
from kdkit.report.numbers.statistics import Unpaired, within_noise
from kdkit.report.read.files import number

if TYPE_CHECKING:
    from kdkit.report.numbers.statistics import Statistics
    from kdkit.report.read.scored import Configuration


def configurations(stats: Statistics) -> list[dict[str, Any]]:
    """Each configuration: its values, its runs, and every score with its interval."""
    return [
        {
            "label": each.label,
            "values": dict(each.values),
            "runs": [str(run.folder) for run in each.runs],
            "scores": _scores(stats, each),
        }
        for each in stats.configurations
    ]


def differences(stats: Statistics, first: Configuration) -> list[dict[str, Any]]:
    """What the other configurations differ by from one, in every whole score of the student; why not, where not."""
    keys = stats.of_student()
    found = []
    for each in stats.configurations:
        if each is first:
            continue
        for key in keys:
            apart = stats.difference(each, first, key)
            entry: dict[str, Any] = {
                "of": each.label,
                "than": first.label,
                "against": key.against,
                "suite": key.suite,
                "metric": key.metric,
                "seeds": stats.seeds_in_common(each, first),
            }
            if isinstance(apart, Unpaired):
                found.append({**entry, "value": None, "low": None, "high": None, "reason": apart.reason})
            else:
                ends = {"value": number(apart.value), "low": number(apart.low), "high": number(apart.high)}
                found.append(
                    {**entry, **ends, "within_noise": within_noise(apart), "lower_is_better": apart.direction.sense < 0}
                )
    return found


def lines(stats: Statistics) -> tuple[list[str], list[list[str]]]:
    """A table for the terminal: columns, and a row for each configuration with its headline score."""
    key = headline(stats)
    if key is None:
        return [], []
    rows = []
    for each in stats.configurations:
        measure = stats.measure(each, key)
        if measure is not None:
            rows.append([each.label, str(measure.seeds), f"{measure.value:.3f}", measure.interval])
    return ["", "seeds", f"{key.suite}.{key.metric}", "95 % interval"], rows


def _scores(stats: Statistics, configuration: Configuration) -> list[dict[str, Any]]:
    found = []
    for key in stats.keys:
        measure = stats.measure(configuration, key)
        if measure is not None:
            ends = {"value": number(measure.value), "low": number(measure.low), "high": number(measure.high)}
            found.append({**key._asdict(), **ends, "seeds": measure.seeds, "count": measure.count})
    return found
