"""A model's most likely tokens under teacher forcing: whether each is right, is the teacher's, and how likely it is.

And what the teacher's distributions say of the model's. In speculative decoding (Leviathan, Kalman and Matias, "Fast
Inference from Transformers via Speculative Decoding", 2023, section 3) a student's draft of a token is accepted by its
teacher with the probability sum(min(p, q)), which is 1 minus the total variation between the two at temperature 1.

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
from kdkit.losses.alignment import align, log_softmax, student_rows, teacher_rows
from kdkit.system.team import ALONE, Team
from kdkit.training.tokenloss import CHUNK

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kdkit.api.interfaces.codecs import AnyCodec
    from kdkit.api.values import EncodedExample, TeacherRows
    from kdkit.logits.targets import CachedTargets
    from kdkit.training.tokenloss import Part


FIRST = 5
"""Among how many of a model's most likely candidates the teacher's is looked for."""


@attrs.define(kw_only=True, eq=False)
class RowTokens:
    """Counts over a row's tokens.

    Attributes:
        tokens: Label tokens.
        right: Those whose most likely candidate is the label.
        compared: Those for which the teacher's most likely candidate is known.
        agreed: Those of them where it is the model's too.
        among: Those of them where it is one of the model's first `FIRST`.
        judged: Label tokens for which the teacher's distribution is known at temperature 1.
        accepted: The probabilities that the teacher accepts the model's draft of each of these, summed.
        accepted_at_most: The same where the cache does not have every entry: these are the least that it may be, and
            this the most.
        is_bound: Whether the two differ.
        right_T: Of each token, whether it is right; in parts.
        bins: The tokens by the probability of that candidate; empty where the probability is not known.
    """

    tokens: int = 0
    right: int = 0
    compared: int = 0
    agreed: int = 0
    among: int = 0
    judged: int = 0
    accepted: float = 0.0
    accepted_at_most: float = 0.0
    is_bound: bool = False
    right_T: list[np.ndarray[tuple[int], np.dtype[np.bool_]]] = attrs.field(factory=list)
    bins: Bins = attrs.field(factory=Bins)

    def right_lines(self, lines: Sequence[tuple[int, int]]) -> tuple[int, int]:
        """In how many lines every token is right, and how many are known; of each, its first token and its end."""
        right_T = np.concatenate([np.empty(0, np.bool_), *self.right_T])
        known = [right_T[first:stop].all() for first, stop in lines if stop <= len(right_T)]
        return int(np.count_nonzero(known)), len(known)


@attrs.frozen(kw_only=True, eq=False)
class TokenWatch:
    """Called with each part of a loss, notes the most likely tokens, so that no second forward pass is needed.

    Attributes:
        teacher_ids: By row, the teacher's most likely candidates, as far as it has rows; empty where it does not tell.
        knows_teacher: Whether the teacher's rows are its distributions, and not samples of them.
        rows: What was noted, by row.
    """

    teacher_ids: Mapping[str, Sequence[int]]
    knows_teacher: bool = False
    rows: dict[str, RowTokens] = attrs.field(factory=dict, init=False)

    def __call__(self, row_id: str, part: Part) -> None:
        """Note some tokens of a row, which come in their order."""
        row = self.rows.setdefault(row_id, RowTokens())
        logp_NV = log_softmax(part.logits_NV)
        confidence_N, ids_N = logp_NV.max(dim=-1)
        right_N = (ids_N == part.labels_N).cpu().numpy()
        known = self.teacher_ids.get(row_id, ())[row.tokens : row.tokens + len(right_N)]
        row.compared += len(known)
        row.agreed += int(np.count_nonzero(ids_N[: len(known)].cpu().numpy() == np.asarray(known)))
        row.among += _among(logp_NV[: len(known)], known)
        if self.knows_teacher and part.teacher is not None:
            _accept(row, part.logits_NV, part.teacher)
        row.right_T.append(right_N)
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
                row.right_T.append(right_M[own_M])
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


def _among(logp_NV: torch.Tensor, ids: Sequence[int]) -> int:
    """How many of some candidates are among the `FIRST` most likely ones; none that the model has no entry for."""
    ids_N1 = torch.tensor(ids, dtype=torch.int64, device=logp_NV.device)[:, None]
    has_N1 = (ids_N1 >= 0) & (ids_N1 < logp_NV.shape[-1])
    own_N1 = logp_NV.gather(-1, ids_N1.where(has_N1, 0))
    return int((((logp_NV > own_N1).sum(-1) < FIRST) & has_N1[:, 0]).sum())


def _accept(row: RowTokens, logits_NV: torch.Tensor, teacher: TeacherRows) -> None:
    """Add the probabilities that the teacher accepts what the model drafts.

    Of sparse targets the entries that were not kept are one: they share at least nothing, and at most the lesser of
    both masses.
    """
    targets = teacher.targets
    if isinstance(targets, SparseTargets) and 1.0 not in targets.log_tail_BT:
        return
    aligned = align(student_rows(logits_NV), teacher, temperature=1.0)
    shared_MV = torch.minimum(aligned.teacher_logp_MV, aligned.student_logp_MV).exp()
    is_sparse = isinstance(targets, SparseTargets)
    kept_MV = shared_MV[:, :-1] if is_sparse else shared_MV
    row.judged += len(shared_MV)
    row.accepted += float(kept_MV.sum(-1).clamp(max=1).double().sum())
    row.accepted_at_most += float(shared_MV.sum(-1).clamp(max=1).double().sum())
    row.is_bound |= is_sparse


def _double(values_M: torch.Tensor) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return values_M.double().cpu().numpy()
