"""The rows of a batch's targets that belong to some label tokens.

Letters: B batch, T target tokens, N label tokens, M those that the teacher has rows for, X whatever a row holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.api.values.batches import LabelPlaces, sent

if TYPE_CHECKING:
    import torch

    from kdkit.api.values.targets import Targets


@attrs.frozen(kw_only=True, eq=False)
class TeacherRows:
    """What the teacher says of N label tokens: which rows of a batch's targets are theirs.

    Rows are copied, and made into logits, only when a loss asks for them: for a chunk of tokens, not for all.
    What says which rows is in the memory of the CPU, as in `LabelPlaces`.

    Attributes:
        targets: The batch's targets.
        example_N: The example of each token.
        position_N: Its place among the example's target tokens.
        known_N: Whether the targets have a row for it.
    """

    targets: Targets
    example_N: torch.Tensor
    position_N: torch.Tensor
    known_N: torch.Tensor

    def between(self, start: int, stop: int) -> TeacherRows:
        """Those of some of the tokens."""
        chosen = slice(start, stop)
        return attrs.evolve(
            self,
            example_N=self.example_N[chosen],
            position_N=self.position_N[chosen],
            known_N=self.known_N[chosen],
        )

    def known(self, rows_BTX: torch.Tensor) -> torch.Tensor:
        """Of the targets' rows those that are known, `[M, X]`, on the targets' device; always a copy."""
        places = LabelPlaces(example_N=self.example_N[self.known_N], position_N=self.position_N[self.known_N])
        width = rows_BTX.shape[1]
        if rows_BTX.stride(0) != width * rows_BTX.stride(1):  # not one row after the other in memory
            return places.pick(rows_BTX)
        # Several times as quick as by example and position, on the CPU most of all.
        row_M = places.example_N * width + places.position_N
        return rows_BTX.flatten(0, 1).index_select(0, sent(row_M, rows_BTX.device))

    def shared(self, rows_NX: torch.Tensor) -> torch.Tensor:
        """Of rows of the tokens, such as the student's, those of tokens that are known, `[M, X]`."""
        if bool(self.known_N.all()):
            return rows_NX
        return rows_NX[sent(self.known_N.nonzero()[:, 0], rows_NX.device)]
