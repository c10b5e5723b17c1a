"""The baseline that shows the worth of a teacher: the same student, trained in the same way on the labels alone.

It is trained once for all runs whose students start and are trained alike, whatever their losses and codecs, and kept
in the store's `baselines/`. What depends on the untrained student is found by its weights, so that it does not matter
where these come from: a seed, a folder, or the teacher's layers.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import attrs
import torch

from kdkit.evaluation import baselines
from kdkit.models.weights import VOLATILE

if TYPE_CHECKING:
    from kdkit.api.interfaces import LossMixer, TextModel
    from kdkit.api.options import Evaluation, Training

NAME = baselines.LABELS_ONLY


def is_wanted(evaluation: Evaluation, loss: LossMixer) -> bool:
    """Whether a run has this baseline: only if its student has a teacher; without one, the student is the baseline."""
    return evaluation.baselines and loss.needs_teacher


def training_of(training: Training) -> Training:
    """The student's training; the hard loss picks the best epoch where the soft one did, for here there is none."""
    return attrs.evolve(training, best_by="hard") if training.best_by == "soft" else training


def weights_in_memory(model: TextModel) -> str:
    """SHA-256 of what determines an open model's logits: its weights, and its configuration where it has one."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.module.state_dict().items()):
        held = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {held.dtype} {tuple(held.shape)}\n".encode())
        digest.update(held.reshape(-1).view(torch.uint8).numpy().tobytes())
    config = getattr(model.module, "config", None)
    if config is not None:
        kept = {key: value for key, value in config.to_dict().items() if key not in VOLATILE}
        digest.update(json.dumps(kept, sort_keys=True, default=str).encode())
    return digest.hexdigest()
