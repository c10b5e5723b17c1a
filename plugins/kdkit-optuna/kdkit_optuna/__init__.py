"""Searches for kdkit's sweeps: optuna proposes the trials."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit import hookimpl

if TYPE_CHECKING:
    from kdkit.api import Register


@hookimpl
def register_searches(register: Register) -> None:
    """Optuna's samplers."""
    register("optuna", "kdkit_optuna.search:Optuna")
