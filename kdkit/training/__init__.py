"""The training loop: exact, resumable, the same for students and teachers."""

from __future__ import annotations

from kdkit.training.loop import Trainer
from kdkit.training.metrics_log import MetricsLog
from kdkit.training.state import FitResult
from kdkit.training.tokenloss import Forward, StudentTokens

__all__ = [
    "FitResult",
    "Forward",
    "MetricsLog",
    "StudentTokens",
    "Trainer",
]
