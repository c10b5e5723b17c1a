"""The store: the folder in which runs keep what they share, and its place.

cache/
rows/DIGEST/        the rows of a corpus in columns, and their token ids (see `kdkit.store.rows`)
teachers/KEY/       teachers that a run made (see `kdkit.store.folders`)
baselines/KEY/      students that it trained on the labels alone (see `kdkit.evaluation.labels_only`)
texts/KEY.jsonl     what a model wrote (see `kdkit.store.texts`)
answers/KEY.bin     what a model's forward pass says of held-out rows (see `kdkit.store.answers`)
models/KEY/         what a model's other files were converted to (see `kdkit.models.kept_folders`)
importance/KEY.json how much each layer of a teacher matters (see `kdkit.pipeline.pruning`)
times/KEY.json      what the stages of such runs took on this machine (see `kdkit.pipeline.times`)
data/KEY/, plans/   rows and plans of recipes, by their inputs (see `kdkit.store.inputs`)
logits/DIGEST/      the logits of a teacher (see `kdkit.logits.cache`); these may be at a URL instead
"""

from __future__ import annotations

from kdkit.store.location import STORE, logits_of, store_of, sweep_of
from kdkit.store.sharing import found_or_making, making, why_unwritable

__all__ = ["STORE", "found_or_making", "logits_of", "making", "store_of", "sweep_of", "why_unwritable"]
