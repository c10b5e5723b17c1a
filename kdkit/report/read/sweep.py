"""A sweep's folder, and what its trials left."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.errors import DamagedData, MissingInput
from kdkit.report.read.scored import read_scored
from kdkit.sweeps import read_sweep

if TYPE_CHECKING:
    from pathlib import Path

    from kdkit.report.read.scored import ScoredRun
    from kdkit.sweeps import SweepFacts, TrialFacts


def read_sweep_runs(folder: Path) -> tuple[SweepFacts, list[tuple[TrialFacts, ScoredRun]], list[str]]:
    """A sweep, its trials that are done with what they left, and a sentence for each that cannot be read."""
    sweep = read_sweep(folder)
    trials, read, damages = [], [], []
    for trial in sweep.trials:
        if trial.status == "done":
            try:
                read.append((trial, read_scored(trial.folder)))
            except (DamagedData, MissingInput, OSError) as error:
                damages.append(
                    f"Trial {trial.id} is left out of every number here: {error}. Once that file is deleted, the "
                    "sweep's own command does again what it takes to have it."
                )
                trials.append(attrs.evolve(trial, status="failed", error=str(error)))
                continue
        trials.append(trial)
    return attrs.evolve(sweep, trials=tuple(trials)), read, damages
