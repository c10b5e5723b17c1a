"""Sweeps: many trials of one recipe, each a run of its own; `read_sweep` reads their results."""

from __future__ import annotations

from kdkit.sweeps.folder import SweepFacts, TrialFacts, is_sweep, read_sweep, trial_facts, trial_folder, write_sweep

__all__ = ["SweepFacts", "TrialFacts", "is_sweep", "read_sweep", "trial_facts", "trial_folder", "write_sweep"]
