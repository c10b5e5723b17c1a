"""Options that are a number, or a number that changes while a model is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.options import option

if TYPE_CHECKING:
    from kdkit.api.values import Moment


@attrs.frozen(kw_only=True)
class Schedule:
    """A number that changes while a model is trained: linearly, or from epoch to epoch.

    An option of the type `float | Schedule` is a number in a recipe, or this table.
    """

    start: float | None = option("Value at the first step; from there it changes linearly to `end`.", default=None)
    end: float | None = option("Value at the last step.", default=None)
    epochs: tuple[float, ...] = option(
        "Instead of start and end: the value in each epoch; the last one holds for all later epochs.", default=()
    )

    def __attrs_post_init__(self) -> None:
        """Either a line or a list."""
        line = (self.start is not None) + (self.end is not None)
        if line != (0 if self.epochs else 2):
            raise ValueError("needs start and end, or epochs alone (one value an epoch)")

    @property
    def values(self) -> tuple[float, ...]:
        """The values it has or lies between."""
        if self.start is None or self.end is None:
            return self.epochs
        return (self.start, self.end)

    @property
    def is_line(self) -> bool:
        """Whether it takes all values between two."""
        return self.start != self.end

    def at(self, moment: Moment) -> float:
        """The value of a step."""
        if self.start is None or self.end is None:
            return self.epochs[min(moment.epoch, len(self.epochs) - 1)]
        # Neither end is rounded.
        return self.start * (1 - moment.share) + self.end * moment.share if self.is_line else self.start


@attrs.frozen
class EachValue:
    """Validator: the rule holds for a number, or for each value of a schedule."""

    rule: Any

    def __call__(self, instance: object, field: Any, value: float | Schedule) -> None:
        """Check every value."""
        for each in values_of(value):
            self.rule(instance, field, each)


def values_of(value: float | Schedule) -> tuple[float, ...]:
    """The values that an option has, or lies between."""
    return value.values if isinstance(value, Schedule) else (value,)


def value_at(value: float | Schedule, moment: Moment) -> float:
    """The value of an option in a step."""
    return value.at(moment) if isinstance(value, Schedule) else value
