"""The values of one key that a search varies: some choices, whole numbers, or numbers on a line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

    from optuna.distributions import BaseDistribution

_DIGITS = 6
MOST_VALUES = 10_000
"""An axis of more values has too many to try each of them, as one of fractions has."""
OFF_GRID = 1e-6  # of a step; what adding up a step in floating point can be off by is far less


class Axis(Protocol):
    """The values of one key of the recipe."""

    def ends(self) -> Iterator[tuple[tuple[str | int, ...], Any]]:
        """The values at its ends, or all of its choices, and where each stands in its table."""
        ...

    @property
    def values(self) -> tuple[Any, ...] | None:
        """All values, where they can be counted."""
        ...

    def distribution(self) -> BaseDistribution:
        """What optuna calls it."""
        ...

    def value_of(self, param: Any) -> Any:
        """What optuna says, as the recipe would."""
        ...

    def param_of(self, value: Any) -> Any:
        """What the recipe says, as optuna would; None where the axis does not have it."""
        ...


@attrs.frozen
class Choices:
    """One of some values of any kind. Optuna gets their JSON, since to Python 1 and true are equal."""

    values: tuple[Any, ...]

    @property
    def labels(self) -> tuple[str, ...]:
        """The values as JSON."""
        return tuple(text_of(value) for value in self.values)

    def ends(self) -> Iterator[tuple[tuple[str | int, ...], Any]]:
        """All of them."""
        for index, value in enumerate(self.values):
            yield ("choices", index), value

    def distribution(self) -> BaseDistribution:
        """What optuna calls it."""
        from optuna.distributions import CategoricalDistribution

        return CategoricalDistribution(self.labels)

    def value_of(self, param: Any) -> Any:
        """The value of a label."""
        return self.values[self.labels.index(param)]

    def param_of(self, value: Any) -> str | None:
        """The label of a value."""
        label = text_of(value)
        return label if label in self.labels else None


@attrs.frozen(kw_only=True)
class Whole:
    """Whole numbers from `low` to `high`."""

    low: int
    high: int
    step: int = 1
    log: bool = False

    @property
    def values(self) -> tuple[Any, ...] | None:
        """All of them, unless they are too many to be counted out."""
        count = (self.high - self.low) // self.step + 1
        return tuple(range(self.low, self.high + 1, self.step)) if count <= MOST_VALUES else None

    def ends(self) -> Iterator[tuple[tuple[str | int, ...], Any]]:
        """The least and the greatest."""
        yield ("low",), self.low
        yield ("high",), self.high

    def distribution(self) -> BaseDistribution:
        """What optuna calls it."""
        from optuna.distributions import IntDistribution

        return IntDistribution(self.low, self.high, step=self.step, log=self.log)

    def value_of(self, param: Any) -> int:
        """The same."""
        return int(param)

    def param_of(self, value: Any) -> int | None:
        """The same, where it is one of them."""
        if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
            return None
        inside = self.low <= value <= self.high and (int(value) - self.low) % self.step == 0
        return int(value) if inside else None


@attrs.frozen(kw_only=True)
class Fraction:
    """Numbers from `low` to `high`: any, of six digits, or every `step`."""

    low: float
    high: float
    step: float | None = None
    log: bool = False

    @property
    def values(self) -> tuple[Any, ...] | None:
        """All of them, with a step, unless they are too many to be counted out."""
        if self.step is None or self._steps >= MOST_VALUES:
            return None
        return tuple(self._on_grid(number) for number in range(self._steps + 1))

    def ends(self) -> Iterator[tuple[tuple[str | int, ...], Any]]:
        """The least and the greatest."""
        yield ("low",), self.low
        yield ("high",), self.high

    def distribution(self) -> BaseDistribution:
        """What optuna calls it."""
        from optuna.distributions import FloatDistribution, IntDistribution

        # Optuna is given the number of a step: it rounds steps of floats its own way, which may leave out the last one.
        if self.step is not None:
            return IntDistribution(0, self._steps)
        return FloatDistribution(self.low, self.high, log=self.log)

    def value_of(self, param: Any) -> float:
        """The number, with no more digits than anyone wants to read in a recipe."""
        if self.step is not None:
            return self._on_grid(param)
        return min(max(float(f"{param:.{_DIGITS}g}"), self.low), self.high)

    def param_of(self, value: Any) -> float | None:
        """The number, where it is one of them."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return None
        if self.step is None:
            return float(value)
        steps = (value - self.low) / self.step
        return round(steps) if abs(steps - round(steps)) < OFF_GRID else None

    @property
    def _steps(self) -> int:
        assert self.step is not None
        return round((self.high - self.low) / self.step)

    def _on_grid(self, number: int) -> float:
        assert self.step is not None
        # 0.1 + 2 * 0.1 is 0.30000000000000004, which nobody would write.
        return min(float(f"{self.low + number * self.step:.12g}"), self.high)


def text_of(value: Any) -> str:
    """A TOML value as JSON."""
    return json.dumps(value, sort_keys=True, default=str)
