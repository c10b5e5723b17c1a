"""The conformance kit: checks that any component of a kind must pass, for authors of plugins.

Importing it imports nothing heavy; pytest finds its fixtures by themselves (`kdkit.testing.pytest_plugin`).
"""

from __future__ import annotations

from kdkit.testing.blocks import head_block, synthetic_block, synthetic_head, synthetic_states
from kdkit.testing.codecs import check_codec
from kdkit.testing.losses import check_loss
from kdkit.testing.metrics import check_metrics

__all__ = [
    "check_codec",
    "check_loss",
    "check_metrics",
    "head_block",
    "synthetic_block",
    "synthetic_head",
    "synthetic_states",
]
