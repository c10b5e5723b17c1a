"""The conformance kit: checks that any component of a kind must pass, for authors of plugins.

Importing it imports nothing heavy; pytest finds its fixtures by themselves (`kdkit.testing.pytest_plugin`).
"""

from __future__ import annotations

from kdkit.testing.blocks import head_block, synthetic_block, synthetic_head, synthetic_states
from kdkit.testing.codecs import check_codec
from kdkit.testing.corpora import synthetic_corpus
from kdkit.testing.datasets import check_dataset
from kdkit.testing.losses import check_loss
from kdkit.testing.metrics import check_metrics
from kdkit.testing.references import check_reference
from kdkit.testing.searches import check_search
from kdkit.testing.students import check_student
from kdkit.testing.teachers import check_teacher
from kdkit.testing.trackers import check_tracker

__all__ = [
    "check_codec",
    "check_dataset",
    "check_loss",
    "check_metrics",
    "check_reference",
    "check_search",
    "check_student",
    "check_teacher",
    "check_tracker",
    "head_block",
    "synthetic_block",
    "synthetic_corpus",
    "synthetic_head",
    "synthetic_states",
]
