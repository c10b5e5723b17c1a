"""A search: trials that fill the space of some numbers evenly, however many there will be."""

import random
from typing import Any

import attrs

import kdkit
from kdkit.api import AxisValue, at_least_one
from kdkit.errors import UsageError


def _each_is_a_range(_instance, _field, ranges):
    for key, ends in ranges.items():
        if not isinstance(ends, list) or len(ends) != 2 or not ends[0] < ends[1]:
            raise ValueError(f"{key} must be a list of two numbers, the smaller first; it is {ends!r}")


@attrs.frozen(kw_only=True)
class Evenly:
    """Trials at points of a sequence that fills the space evenly (Roberts' R sequence)."""

    between: dict[str, Any] = kdkit.option(
        'Keys and the ends of their ranges: { "loss.alpha" = [0.0, 1.0] }.', check=_each_is_a_range
    )
    trials: int = kdkit.option("How many trials to run.", default=10, check=at_least_one)

    def __attrs_post_init__(self):
        """Refuse a search of nothing."""
        if not self.between:
            raise UsageError("between names no key; give at least one")

    @property
    def axes(self):
        """The keys that it varies."""
        return tuple(self.between)

    def ends(self):
        """Recipes are made of these before the first trial, so that a wrong key is reported at once."""
        for key, ends in self.between.items():
            for index, value in enumerate(ends):
                yield AxisValue(axis=key, value=float(value), at=("between", key, index))

    def open(self, folder, *, seed):
        """It keeps nothing in the folder: the outcomes say how many trials there were."""
        return OpenEvenly(between=self.between, seed=seed)


@attrs.define(kw_only=True)
class OpenEvenly:
    """A search at work."""

    between: dict[str, list[float]]
    seed: int
    known: int = 0

    def tell(self, outcomes):
        """All trials so far, also those that failed or still run."""
        self.known = len(outcomes)

    def ask(self):
        """The next point."""
        root = 2.0
        for _ in range(50):  # of x^(axes + 1) = x + 1, whose powers lie farthest from fractions
            root = (1 + root) ** (1 / (len(self.between) + 1))
        start = random.Random(self.seed)
        values = {}
        for power, (key, (low, high)) in enumerate(self.between.items(), 1):
            place = (start.random() + (self.known + 1) / root**power) % 1
            values[key] = low + (high - low) * place
        return values

    def close(self):
        """Nothing to close."""
