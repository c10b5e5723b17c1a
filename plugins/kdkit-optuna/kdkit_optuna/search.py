"""The search `optuna`: which options it has, and how it proposes."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api import at_least_one, not_negative, one_of, option
from kdkit_optuna.proposing import Known, Proposer, seed_of
from kdkit_optuna.space import Space, ends_of, read_space

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from kdkit.api import AxisValue, Outcome
    from kdkit_optuna.record import Record

JOURNAL = "journal"
_TRIES = 20


def _space_is_sound(_instance: object, _field: object, value: Mapping[str, Any]) -> None:
    read_space(value)


def _is_storage(_instance: object, _field: object, value: str) -> None:
    if value not in {"", JOURNAL} and not re.match(r"[a-z][a-z0-9]*(\+[a-z0-9]+)?://", value):
        # What it is is not said: what looks like no URL may still hold a password.
        raise ValueError(
            'must be "" (nothing is kept), "journal", or the URL of a database such as "sqlite:///sweep.db"'
        )


@attrs.frozen(kw_only=True)
class Optuna:
    """Proposes trials with a sampler of optuna's, from what the run folders say of those before."""

    space: dict[str, Any] = option(
        'The keys to vary, such as "loss.alpha", each with a table of low and high (and, if you like, step '
        "or log = true) or of choices. Whole numbers stay whole: write 0.0 and 1.0 for all numbers between.",
        check=_space_is_sound,
    )
    trials: int = option("How many trials to run.", default=30, check=at_least_one)
    sampler: str = option(
        "How to propose trials: with a tree-structured Parzen estimator, at random, or with a Gaussian process.",
        default="tpe",
        check=one_of("tpe", "random", "gp"),
    )
    startup: int = option(
        "How many trials to draw at random before the sampler learns from them.", default=10, check=not_negative
    )
    storage: str = option(
        'Where processes of one sweep share their trials: "" for the run folders alone, "journal" for a file '
        "in the sweep's folder, or the URL of a database.",
        default="",
        check=_is_storage,
    )

    def __attrs_post_init__(self) -> None:
        """No more trials than there are."""
        size = read_space(self.space).size
        if size is not None and self.trials > size:
            raise ValueError(
                f"asks for {self.trials} trials, but the space has only {size}; lower trials, or widen the space"
            )

    @property
    def axes(self) -> tuple[str, ...]:
        """The keys that it varies."""
        return tuple(read_space(self.space).axes)

    def ends(self) -> Iterator[AxisValue]:
        """The ends of each range, and every choice."""
        from kdkit.api import AxisValue

        for axis, value, at in ends_of(self.space):
            yield AxisValue(axis=axis, value=value, at=("space", *at))

    def open(self, folder: Path, *, seed: int) -> OpenOptuna:
        """Ready to propose.

        Raises:
            KdkitError: What it keeps cannot be reached.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        space = read_space(self.space)
        proposer = Proposer(space=space, sampler=self.sampler, startup=self.startup)
        return OpenOptuna(proposer=proposer, seed=seed, record=self._record(space, folder, seed))

    def _record(self, space: Space, folder: Path, seed: int) -> Record | None:
        if not self.storage:
            return None
        from kdkit_optuna import record

        name = record.name_of(space, folder, seed)
        if self.storage == JOURNAL:
            return record.JournalRecord(space=space, name=name, file=folder / "search" / "optuna.journal")
        return record.DatabaseRecord(space=space, name=name, url=self.storage)


@attrs.define(kw_only=True)
class OpenOptuna:
    """A search at work.

    Attributes:
        proposer: Proposes.
        seed: The recipe's.
        record: What it tells other processes through, if anything.
    """

    proposer: Proposer
    seed: int
    record: Record | None = None
    _outcomes: tuple[Outcome, ...] = ()
    _asked: dict[str, dict[str, Any]] = attrs.field(factory=dict)

    def tell(self, outcomes: Sequence[Outcome]) -> None:
        """What the run folders say of all trials by now."""
        self._outcomes = tuple(outcomes)
        if self.record is not None:
            with self.record.opened(self._outcomes):
                pass

    def ask(self) -> dict[str, Any]:
        """The next trial: none that was proposed before, here or by a process with the same storage."""
        if self.record is None:
            values = self._unseen(self._known())
        else:
            with self.record.opened(self._outcomes) as shared:
                known = self._known() | shared.pending
                values = self._unseen(known)
                while not shared.claim(values):  # another was faster
                    known[self._key(values)] = Known(values=values, state="running")
                    values = self._unseen(known)
        self._asked[self._key(values)] = values
        return values

    def close(self) -> None:
        """No more questions."""
        if self.record is not None:
            self.record.close()

    def _key(self, values: Mapping[str, Any]) -> str:
        return self.proposer.space.key_of(values)

    def _known(self) -> dict[str, Known]:
        """What was proposed, by key: first what the run folders tell, in the sweep's order."""
        known = {self._key(outcome.values): Known.of(outcome) for outcome in self._outcomes}
        asked = {key: Known(values=values, state="running") for key, values in self._asked.items()}
        return known | {key: trial for key, trial in asked.items() if key not in known}

    def _unseen(self, known: Mapping[str, Known]) -> dict[str, Any]:
        """A proposal that is not known; the first that is left, where the sampler insists on known ones."""
        space = self.proposer.space
        for attempt in range(_TRIES):
            values = self.proposer.propose(known.values(), seed=seed_of(self.seed, len(known), attempt))
            if self._key(values) not in known:
                return values
        left = (
            (each for each in space.all_values() if self._key(each) not in known)
            if space.size is not None
            else iter(())
        )
        return next(left, values)
