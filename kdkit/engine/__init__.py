"""The training loop: exact, resumable, the same for students and teachers."""

from __future__ import annotations

from kdkit.engine.loop import FitResult, Trainer
from kdkit.engine.metricslog import MetricsLog
from kdkit.engine.tokenloss import Forward, StudentTokens

__all__ = [
    "FitResult",
    "Forward",
    "MetricsLog",
    "StudentTokens",
    "Trainer",
]
