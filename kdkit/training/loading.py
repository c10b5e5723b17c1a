"""A micro-batch's rows as tensors, and the teacher's targets for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.api.values import IGNORED
from kdkit.data.tokens import collate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.api.values import Targets, TokenBatch
    from kdkit.data.encoded_rows import EncodedRows
    from kdkit.logits.targets import TargetSource
    from kdkit.system.team import Team

    Loaded = tuple[TokenBatch, Targets | None] | None

AHEAD = 2
"""Micro-batches that wait, decoded: one hides its own decoding, two also that of a neighbour that is twice as long."""


@attrs.frozen(kw_only=True, eq=False)
class Loader:
    """Called with the rows of a micro-batch, gives a process its share; in a thread of its own.

    Attributes:
        rows: All training rows.
        targets: Where the teacher's logits come from.
        pad_id: Padding id.
        device: Where tensors go.
        team: The processes that share the micro-batch.
        everyone_works: Whether a process without a row gets one that does not count, or None.
    """

    rows: EncodedRows
    targets: TargetSource
    pad_id: int
    device: str
    team: Team
    everyone_works: bool

    def __call__(self, indices: Sequence[int]) -> Loaded:
        """This process's rows of a micro-batch, given by their places; None where it has nothing to do."""
        own = self.team.own(indices)
        if not own and not self.everyone_works:
            return None
        batch = collate(self.rows.take(own or indices[:1]), pad_id=self.pad_id)
        if not own:
            batch = attrs.evolve(batch, labels_BT=batch.labels_BT.new_full(batch.labels_BT.shape, IGNORED))
        batch = batch.to(self.device)
        return batch, self.targets(batch)
