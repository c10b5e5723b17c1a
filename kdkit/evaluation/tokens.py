"""A model's most likely tokens under teacher forcing: whether each is right, is the teacher's, and how likely it is.

Letters: T target tokens of a row, N some of them, M those that the teacher has rows for, V vocabulary.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np
import torch

from kdkit.api.interfaces import SampledCodec, SparseCodec
from kdkit.api.values import SparseTargets
from kdkit.data.tokens import collate, length_sorted
from kdkit.evaluation.calibration import Bins
from kdkit.losses.alignment import log_softmax, teacher_rows
from kdkit.system.team import ALONE, Team
from kdkit.training.tokenloss import CHUNK

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kdkit.api.interfaces.codecs import AnyCodec
    from kdkit.api.values import EncodedExample, TeacherRows
    from kdkit.logits.targets import CachedTargets
    from kdkit.training.tokenloss import Part


@attrs.define(kw_only=True, eq=False)
class RowTokens:
    """Counts over a row's tokens.

    Attributes:
        tokens: Label tokens.
        right: Those whose most likely candidate is the label.
        compared: Those for which the teacher's most likely candidate is known.
        agreed: Those of them where it is the model's too.
        bins: The tokens by the probability of that candidate; empty where the probability is not known.
    """

    tokens: int = 0
    right: int = 0
    compared: int = 0
    agreed: int = 0
    bins: Bins = attrs.field(factory=Bins)


@attrs.frozen(kw_only=True, eq=False)
class TokenWatch:
    """Called with each part of a loss, notes the most likely tokens, so that no second forward pass is needed.

    Attributes:
        teacher_ids: By row, the teacher's most likely candidates, as far as it has rows; empty where it does not tell.
        rows: What was noted, by row.
    """

    teacher_ids: Mapping[str, Sequence[int]]
    rows: dict[str, RowTokens] = attrs.field(factory=dict, init=False)

    def __call__(self, row_id: str, part: Part) -> None:
        """Note some tokens of a row, which come in their order."""
        row = self.rows.setdefault(row_id, RowTokens())
        confidence_N, ids_N = log_softmax(part.logits_NV).max(dim=-1)
        right_N = (ids_N == part.labels_N).cpu().numpy()
        known = self.teacher_ids.get(row_id, ())[row.tokens : row.tokens + len(right_N)]
        row.compared += len(known)
        row.agreed += int(np.count_nonzero(ids_N[: len(known)].cpu().numpy() == np.asarray(known)))
        row.tokens += len(right_N)
        row.right += int(right_N.sum())
        row.bins.add(confidence_N.exp().double().cpu().numpy(), right_N.astype(np.float64))

    def of(self, rows: Sequence[EncodedExample], team: Team = ALONE) -> list[RowTokens]:
        """The notes of all processes, in the rows' order."""
        everyones = {row_id: noted for share in team.gather(self.rows) for row_id, noted in share.items()}
        return [everyones.get(row.id, RowTokens()) for row in rows]


@attrs.frozen(kw_only=True, eq=False)
class CachedTokens:
    """The teacher's own tokens in some rows, as far as a cache has them.

    Attributes:
        rows: As for a model; nothing is compared.
        ids: By row, its most likely candidates.
        hard: Sums of the hard loss of the rows' tokens; NaN where the codec does not know the probability of each.
    """

    rows: list[RowTokens]
    ids: Mapping[str, Sequence[int]]
    hard: list[float]


def cached_tokens(
    rows: Sequence[EncodedExample],
    targets: CachedTargets,
    codec: AnyCodec,
    *,
    pad_id: int,
    batch_size: int,
    team: Team = ALONE,
) -> CachedTokens | None:
    """The teacher's tokens out of its cache, at temperature 1; None where the codec keeps a sample only.

    Args:
        rows: Whose tokens.
        targets: The cache.
        codec: Its codec.
        pad_id: Padding id.
        batch_size: Rows decoded at a time.
        team: The processes that do this.
    """
    if isinstance(codec, SampledCodec) and codec.is_sample:
        return None
    knows_all = not isinstance(codec, SparseCodec)
    found: dict[str, tuple[RowTokens, list[int], float]] = {}
    for batch_rows in team.own(length_sorted(rows, batch_size)):
        batch = collate(batch_rows, pad_id=pad_id, device=targets.device)
        teacher = teacher_rows(targets(batch), batch.places)
        labels_N = batch.places.pick(batch.labels_BT)
        for start in range(0, len(labels_N), CHUNK):
            part = teacher.between(start, start + CHUNK)
            labels_M = part.shared(labels_N[start : start + CHUNK])
            top = _most_likely(part, labels_M)
            right_M = (top.ids_M == labels_M).cpu().numpy()
            example_M = part.example_N[part.known_N].numpy()
            for example in np.unique(example_M):
                own_M = example_M == example
                row_id = batch.ids[example]
                row, ids, hard = found.get(row_id, (RowTokens(), [], 0.0))
                row.tokens += int(own_M.sum())
                row.right += int(right_M[own_M].sum())
                if top.confidence_M is not None:
                    row.bins.add(top.confidence_M[own_M], right_M[own_M].astype(np.float64))
                ids += top.ids_M.cpu().numpy()[own_M].tolist()
                hard += float(top.hard_M[own_M].sum()) if knows_all else np.nan
                found[row_id] = (row, ids, hard)
    everyones = {row_id: each for share in team.gather(found) for row_id, each in share.items()}
    said = [everyones.get(row.id, (RowTokens(), [], np.nan)) for row in rows]
    return CachedTokens(
        rows=[row for row, _, _ in said],
        ids={row.id: ids for row, (_, ids, _) in zip(rows, said, strict=True)},
        hard=[hard for _, _, hard in said],
    )


@attrs.frozen(kw_only=True, eq=False)
class _Top:
    """The most likely candidates of tokens, their probabilities where known, and what the label costs."""

    ids_M: torch.Tensor
    confidence_M: np.ndarray[tuple[int], np.dtype[np.float64]] | None
    hard_M: np.ndarray[tuple[int], np.dtype[np.float64]]


def _most_likely(teacher: TeacherRows, labels_M: torch.Tensor) -> _Top:
    targets = teacher.targets
    if not isinstance(targets, SparseTargets):
        logp_MV = log_softmax(targets.logits(teacher))
        logp_M, ids_M = logp_MV.max(dim=-1)
        hard_M = -logp_MV.gather(-1, labels_M[:, None])[:, 0]
        return _Top(ids_M=ids_M, confidence_M=_double(logp_M.exp()), hard_M=_double(hard_M))
    values_MK = teacher.known(targets.values_BTK)
    share_M, place_M = torch.softmax(values_MK, dim=-1).max(dim=-1)
    ids_M = teacher.known(targets.ids_BTK).long().gather(-1, place_M[:, None])[:, 0]
    confidence_M = None
    if 1.0 in targets.log_tail_BT:
        confidence_M = _double(share_M * -torch.expm1(teacher.known(targets.log_tail_BT[1.0])))
    return _Top(ids_M=ids_M, confidence_M=confidence_M, hard_M=np.full(len(ids_M), np.nan))


def _double(values_M: torch.Tensor) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return values_M.double().cpu().numpy()
