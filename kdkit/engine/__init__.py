"""The training loop: exact, resumable, the same for students and teachers."""

from __future__ import annotations

from kdkit.engine.loop import FitResult, Trainer
from kdkit.engine.metricslog import MetricsLog
from kdkit.engine.rowtokens import CachedTokens, RowTokens, TokenWatch, cached_tokens
from kdkit.engine.tokenloss import Forward, StudentTokens
from kdkit.engine.validation import RowLoss, Validator, loss_means, loss_samples, row_losses

__all__ = [
    "CachedTokens",
    "FitResult",
    "Forward",
    "MetricsLog",
    "RowLoss",
    "RowTokens",
    "StudentTokens",
    "TokenWatch",
    "Trainer",
    "Validator",
    "cached_tokens",
    "loss_means",
    "loss_samples",
    "row_losses",
]
