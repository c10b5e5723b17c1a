"""The headline metric: the one that verdicts, terminal and comparisons are about. Decided here, once for each run.

It is, in this order:

1. `evaluation.headline`: a metric of a suite, or one that kdkit measures without texts;
2. the metric that picks the best epoch, unless that is an F1: `text.f1` is the default, and so nobody's choice;
3. `exact_match` of the first suite, where targets are short: of a date or a name, F1 counts digits and hyphens;
4. the metric that picks the best epoch; else `f1` of the first suite; else its first metric.

Without a suite it is the hard loss.
"""

from __future__ import annotations

import re
import statistics
from typing import TYPE_CHECKING

from kdkit.evaluation.baselines import TOKENS

if TYPE_CHECKING:
    from collections.abc import Sequence

WITHOUT_SUITES = "loss.hard"
"""The headline of a run that scores no texts."""
SHORT = 5
"""Targets are short if at least half of them have this many words and signs at most, as the suite `text` counts them:
`2026-11-30` has five."""


def headline_of(
    metrics: Sequence[tuple[str, str]], *, asked: str = "", best_by: str = "", targets: Sequence[str] = ()
) -> str:
    """The headline metric as "SUITE.METRIC"; empty where there is no metric.

    Args:
        metrics: Suite and name of each metric, in the order of the suites; those of parts of the rows (`recall/x`) too.
        asked: `evaluation.headline`.
        best_by: What picked the best epoch: one of the metrics, or a loss.
        targets: The ground truth of the rows that are scored; none where it is not known any more.
    """
    whole = [(suite, metric) for suite, metric in metrics if "/" not in metric]
    names = {f"{suite}.{metric}" for suite, metric in metrics}
    if asked in names:
        return asked
    if best_by in names and not best_by.endswith(".f1"):
        return best_by
    first = [metric for suite, metric in whole if suite == whole[0][0]]
    if "exact_match" in first and _are_short(targets):
        return f"{whole[0][0]}.exact_match"
    if best_by in names:
        return best_by
    return f"{whole[0][0]}.{'f1' if 'f1' in first else first[0]}" if whole else ""


def _are_short(targets: Sequence[str]) -> bool:
    return bool(targets) and statistics.median_low(len(re.findall(TOKENS, target)) for target in targets) <= SHORT
