"""The next trial, as a pure function of what is known of the others and of a seed.

A study is made in memory for each proposal, of nothing but that, and its sampler has a seed of the proposal's own. So
what is proposed does not depend on which process asks or on what it was asked before, and a search that is taken up
again goes on as it would have.
"""

from __future__ import annotations

import hashlib
import math
import warnings
from typing import TYPE_CHECKING, Any, Literal

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

    from kdkit.api import Outcome
    from kdkit_optuna.space import Space

State = Literal["complete", "failed", "running"]


@attrs.frozen(kw_only=True)
class Known:
    """A trial that was proposed before, here or elsewhere.

    Attributes:
        values: Each axis' value.
        state: What became of it so far; "running" also for one that will be run, or run again.
        loss: What came of a complete one; less is better.
    """

    values: Mapping[str, Any]
    state: State
    loss: float | None = None

    @classmethod
    def of(cls, outcome: Outcome) -> Known:
        """What the run folders say of a trial."""
        if outcome.status == "done" and outcome.value is not None and math.isfinite(outcome.value):
            loss = -outcome.value if outcome.higher_is_better else outcome.value
            return cls(values=outcome.values, state="complete", loss=loss)
        # One that is done without a number has told as little as one that failed.
        return cls(values=outcome.values, state="failed" if outcome.status in {"done", "failed"} else "running")


@attrs.frozen(kw_only=True)
class Proposer:
    """A sampler of optuna's over a space.

    Attributes:
        space: The space.
        sampler: Its name.
        startup: How many trials are drawn at random first.
    """

    space: Space
    sampler: str
    startup: int

    def propose(self, known: Iterable[Known], *, seed: int) -> dict[str, Any]:
        """A trial, which may be one that was proposed before."""
        import optuna

        with _quiet():
            study = optuna.create_study(sampler=self._sampler(seed))
            trials = (frozen(self.space, trial) for trial in known)
            study.add_trials([trial for trial in trials if trial is not None])
            asked = study.ask(self.space.distributions())
        return self.space.values_of(asked.params)

    def _sampler(self, seed: int) -> BaseSampler:
        from optuna import samplers

        if self.sampler == "random":
            return samplers.RandomSampler(seed=seed)
        if self.sampler == "gp":
            return samplers.GPSampler(seed=seed, n_startup_trials=self.startup)
        # What runs elsewhere counts as a bad trial, so that several processes keep apart.
        return samplers.TPESampler(
            seed=seed,
            n_startup_trials=self.startup,
            multivariate=True,
            constant_liar=True,
        )


def frozen(space: Space, trial: Known, attributes: Mapping[str, Any] | None = None) -> FrozenTrial | None:
    """A trial as optuna keeps it; None for one that lies outside the space."""
    from optuna.trial import TrialState, create_trial

    states = {"complete": TrialState.COMPLETE, "failed": TrialState.FAIL, "running": TrialState.RUNNING}
    params = space.params_of(trial.values)
    if params is None:
        return None
    return create_trial(
        state=states[trial.state],
        value=trial.loss,
        params=params,
        distributions=space.distributions(),
        user_attrs=dict(attributes or {}),
    )


def seed_of(*parts: int) -> int:
    """A seed of 32 bits that is as good as independent of that of any other numbers."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big")


class _quiet(warnings.catch_warnings):  # noqa: N801 - used as a function is
    """Silences optuna's warnings about its own experimental features, which do not concern the author of a recipe."""

    def __enter__(self) -> Any:
        from optuna.exceptions import ExperimentalWarning

        entered = super().__enter__()
        warnings.simplefilter("ignore", ExperimentalWarning)
        return entered
