"""How the others of a comparison differ from the first, in a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.report.numbers.names import metric_name
from kdkit.report.numbers.selection import headline
from kdkit.report.numbers.statistics import Unpaired, within_noise
from kdkit.report.page import formats
from kdkit.report.page.document import Verdict

if TYPE_CHECKING:
    from kdkit.report.numbers.statistics import Statistics


def of_comparison(stats: Statistics) -> Verdict:
    """How the others differ from the first in the headline metric."""
    first, *others = stats.configurations
    key = headline(stats)
    if key is None:
        return Verdict("These runs have no score of a student.")
    name = metric_name(key)
    measure = stats.measure(first, key)
    if not others or measure is None:
        return Verdict(f"There is one configuration, {first.label}: nothing to compare it with.")
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
    rest = f"; and {len(told) - 4} more." if len(told) > 4 else "."
    return Verdict(
        f"The {name} of {first.label} is {formats.metric(measure.value)}; {'; '.join(told[:4])}{rest}",
        f"{name} of suite {key.suite}, against the {key.against}. Within noise: the 95 % interval of the paired "
        "difference, over rows and seeds, holds 0.",
    )
