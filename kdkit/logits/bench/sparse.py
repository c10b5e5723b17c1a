"""Sparse targets as distributions over the whole vocabulary. Letters: N tokens, V vocabulary, K entries kept."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from kdkit.losses.alignment import log_complement

if TYPE_CHECKING:
    from kdkit.api.values import SparseTargets


def dense_logp(targets: SparseTargets, rows_BT: torch.Tensor, temperature: float) -> torch.Tensor:
    """Log-probabilities `[N, V]`: the kept entries' own, and the others' mass spread evenly over them.

    Args:
        targets: The targets.
        rows_BT: Which of their rows count.
        temperature: One that the targets know.
    """
    kept_NK, places_NK, logp_NK = _kept(targets, rows_BT, temperature)
    others_N1 = (targets.vocab_size - kept_NK.sum(-1, keepdim=True)).clamp(min=1)
    even_N1 = targets.log_tail_BT[temperature][rows_BT][:, None] - others_N1.log()
    # One place more than there are entries takes what is no entry.
    logp_NX = even_N1.expand(-1, targets.vocab_size + 1).scatter(-1, places_NK, logp_NK)
    return logp_NX[:, :-1]


def sparse_target(
    targets: SparseTargets, rows_BT: torch.Tensor, student_p_NV: torch.Tensor, temperature: float
) -> torch.Tensor:
    """The distribution `[N, V]` towards which a loss over sparse targets draws a student.

    Their mass that lies outside the kept entries leaves the student's own proportions there as they are.

    Args:
        targets: The targets.
        rows_BT: Which of their rows count.
        student_p_NV: The student's distribution at the temperature.
        temperature: One that the targets know.
    """
    _, places_NK, logp_NK = _kept(targets, rows_BT, temperature)
    padded_NX = torch.nn.functional.pad(student_p_NV, (0, 1))
    others_NX = padded_NX.scatter(-1, places_NK, 0.0)
    mass_N1 = targets.log_tail_BT[temperature][rows_BT][:, None].exp()
    scaled_NX = others_NX * (mass_N1 / others_NX.sum(-1, keepdim=True).clamp(min=1e-30))
    return scaled_NX.scatter(-1, places_NK, logp_NK.exp())[:, :-1]


def _kept(
    targets: SparseTargets, rows_BT: torch.Tensor, temperature: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Which entries there are, their places (V for those that are none), and their log-probabilities, `[N, K]` each."""
    ids_NK = targets.ids_BTK[rows_BT].long()
    kept_NK = ids_NK >= 0
    inside_N1 = log_complement(targets.log_tail_BT[temperature][rows_BT][:, None])
    logp_NK = torch.log_softmax(targets.values_BTK[rows_BT] / temperature, dim=-1) + inside_N1
    places_NK = torch.where(kept_NK, ids_NK, targets.vocab_size)
    return kept_NK, places_NK, torch.where(kept_NK, logp_NK, -math.inf)
