"""A metric suite under its name in a recipe, with checks of its scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Real
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.interfaces.losses_and_suites import DirectedSuite
from kdkit.api.values.results import Direction
from kdkit.errors import KdkitError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.api.interfaces.losses_and_suites import MetricSuite
    from kdkit.api.values import Example


OF_TEACHER = ("tokens.acceptance", "tokens.agreement", "tokens.top_5_agreement")
"""Of what kdkit measures without texts, that which tells how a student is like its teacher."""
MEASURED = ("loss.hard", "tokens.bits_per_byte", "tokens.perplexity", "tokens.accuracy", *OF_TEACHER)
"""What kdkit itself measures, without a suite, that a report may be about."""


@attrs.frozen
class NamedSuite:
    """A metric suite under the name that the recipe gives it: what `Score.suite` says."""

    name: str
    suite: MetricSuite

    def score(
        self, generated: Sequence[str], references: Sequence[str], examples: Sequence[Example]
    ) -> dict[str, list[float | None]]:
        """The suite's scores of texts (see `MetricSuite.score`), checked, since a plugin may return anything.

        Raises:
            KdkitError: It fails, or gives something else than one finite number or None a row.
        """
        try:
            metrics: Any = self.suite.score(generated, references, examples)
        except KdkitError:
            raise
        except Exception as error:
            raise KdkitError(
                f'metric suite "{self.name}" fails on {len(examples)} rows: {type(error).__name__}: {error}'
            ) from error
        if not isinstance(metrics, Mapping):
            raise KdkitError(
                f'metric suite "{self.name}" returned {metrics!r}; it must return the values of each metric'
            )
        return {metric: self._checked(metric, values, len(examples)) for metric, values in metrics.items()}

    def _checked(self, metric: Any, values: Any, rows: int) -> list[float | None]:
        if not isinstance(metric, str):
            raise KdkitError(f'metric suite "{self.name}" names a metric {metric!r}; a name must be text')
        try:
            listed = list(values)
        except TypeError as error:
            raise KdkitError(
                f'metric suite "{self.name}" returned {values!r} as "{metric}"; it must return one value for each row'
            ) from error
        if len(listed) != rows:
            raise KdkitError(
                f'metric suite "{self.name}" returned {len(listed)} values of "{metric}" for {rows} rows; it '
                "must return one for each row, None if a row does not count"
            )
        for row, value in enumerate(listed):
            if value is not None and not (isinstance(value, Real) and math.isfinite(value)):
                raise KdkitError(
                    f'metric suite "{self.name}" returned {value!r} as "{metric}" of row {row}; it must '
                    "return a finite number, or None if the row does not count"
                )
        return listed

    def direction_of(self, metric: str) -> Direction:
        """Which values of one of its metrics are better.

        Raises:
            KdkitError: It says something else than "higher", "lower" or "neither".
        """
        stated = self.suite.directions if isinstance(self.suite, DirectedSuite) else {}
        word = stated.get(metric, stated.get(metric.partition("/")[0], Direction.HIGHER))
        try:
            return Direction(word)
        except ValueError as error:
            raise KdkitError(
                f'metric suite "{self.name}" states {word!r} as the direction of "{metric}"; it must state '
                '"higher", "lower" or "neither"'
            ) from error
