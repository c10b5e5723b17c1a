"""The reference `thesis-codet5`: the twelve runs that the thesis published, to print beside yours.

The numbers lie in `thesis_codet5.csv`, as published with the replication package. They are of one seed, and of the
1,000 validation rows that the best epoch was picked by as well.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kdkit.api import PublishedRun

_FILE = Path(__file__).with_name("thesis_codet5.csv")
_METRICS = ("precision", "recall", "f1", "accuracy", "similarity")
_SIDES = {"truth": "vs_ground_truth", "teacher": "vs_teacher"}
_LOSSES = {"hard": ("truth", "hard_loss"), "soft": ("teacher", "soft_loss"), "total": ("truth and teacher", "loss")}
_STUDENT_MIB = 230.76


@attrs.frozen(kw_only=True)
class ThesisCodeT5:
    """CodeT5-base distilled into CodeT5-small, twelve runs over alpha and temperature, as the thesis published them."""

    @property
    def source(self) -> str:
        """Who published them, where and when."""
        return (
            "Hristov, Distilling Knowledge for Assertion Generation, TU Delft, June 2025; results: "
            "doi 10.5281/zenodo.15716434, data: doi 10.5281/zenodo.15716445; one seed, 1,000 validation rows, "
            "one NVIDIA A100"
        )

    def runs(self) -> Sequence[PublishedRun]:
        """The runs, in the order in which they were published."""
        with _FILE.open(encoding="utf-8", newline="") as file:
            return [_run(row) for row in csv.DictReader(file)]


def _run(row: Mapping[str, str]) -> PublishedRun:
    from kdkit.api import PublishedRun

    numbers = {name: float(text) for name, text in row.items()}
    alpha, temperature = numbers["alpha"], numbers["temperature"]
    metrics = {
        (against, "assertions-thesis", metric): numbers[f"{column}.{metric}"]
        for against, column in _SIDES.items()
        for metric in _METRICS
    }
    losses = {(against, "loss", name): numbers[column] for name, (against, column) in _LOSSES.items()}
    return PublishedRun(
        name=f"alpha {alpha:g}, T {temperature:g}",
        values={"loss.alpha": alpha, "loss.temperature": temperature},
        scores=metrics | losses,
        numbers={
            "model size (MiB)": _STUDENT_MIB,
            "inference (ms a row)": numbers["inference_ms_per_sample"],
            "training (s)": numbers["training_seconds"],
        },
    )
