"""What models, suites and metrics are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.evaluation.row_scores import RowKey

LOSS = "loss"
"""The suite under which an evaluation files hard, soft and total loss."""
LABELS_ONLY = "labels-only"
MODELS = {
    "teacher": "teacher",
    "student": "student",
    LABELS_ONLY: "labels only",
    "untouched": "untouched student",
    "constant": "constant",
    "nearest": "nearest training row",
}
"""The models of an evaluation and their names in a report, in the order of its columns."""
BASELINES = tuple(MODELS)[2:]
UNTAUGHT = ("untouched", "constant", "nearest")
"""Baselines that no training of a run has taught anything."""
METRICS = {
    ("tokens", "ece"): "calibration error",
    ("tokens", "agreement"): "same token as the teacher",
    ("tokens", "top_5_agreement"): "teacher's token in the first 5",
    ("tokens", "acceptance"): "expected acceptance",
    ("tokens", "acceptance_at_least"): "expected acceptance, at least",
    ("tokens", "acceptance_at_most"): "expected acceptance, at most",
    ("tokens", "perplexity"): "perplexity",
    ("tokens", "bits_per_byte"): "bits per byte",
    ("tokens", "line_match"): "lines with every token right",
    ("texts", "agreement"): "same text as the teacher",
    ("texts", "length"): "tokens written",
}
"""What kdkit itself measures, in words; metrics of suites go by their own names."""
ABBREVIATIONS = {"f1": "F1", "bleu": "BLEU", "rouge": "ROUGE", "chrf": "chrF"}
"""Words of a metric's name that are not written as other words are."""
NO_SUITES = frozenset({LOSS, "tokens", "texts"})
"""What an evaluation files what kdkit itself measures under; the other names are metric suites."""
SUITES = {LOSS: "Loss", "tokens": "Tokens under teacher forcing", "texts": "Texts"}
"""Headings of scores that are not a metric suite's."""


def metric_label(suite: str, metric: str) -> str:
    """A metric in words, beside its suite: `exact match`, `F1`."""
    return METRICS.get((suite, metric)) or " ".join(ABBREVIATIONS.get(word, word) for word in metric.split("_"))


def metric_name(key: RowKey) -> str:
    """A metric in words that stand without its suite."""
    if key.suite == LOSS:
        return f"{key.metric} loss"
    alone = key.suite == "tokens" and (key.suite, key.metric) not in METRICS
    return f"{'token ' if alone else ''}{metric_label(key.suite, key.metric)}"


def group_name(group: Sequence[RowKey]) -> str:
    """Scores that are equal, by their names: `precision, recall, F1`."""
    return ", ".join(dict.fromkeys(map(metric_name, group)))


def suites_of(group: Sequence[RowKey]) -> str:
    """The suites that they are of."""
    return ", ".join(dict.fromkeys(key.suite for key in group))


def suite_title(suite: str) -> str:
    """The heading of a suite."""
    return SUITES.get(suite, f"Suite {suite}")


def capital(text: str) -> str:
    """The text with a capital letter at its beginning."""
    return f"{text[:1].upper()}{text[1:]}"
