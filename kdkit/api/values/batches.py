"""Rows as tensors: a batch of token ids, and where its labels are.

Letters: B batch, S source, T target, N labels, X whatever a row holds.
"""

from __future__ import annotations

from functools import cached_property, reduce
from typing import TYPE_CHECKING, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    # Of each part of a batch, where its examples are in the batch.
    Places: TypeAlias = Sequence[Sequence[int]]


IGNORED = -100
"""The label of a position that has none."""


@attrs.frozen(kw_only=True, eq=False)
class LabelPlaces:
    """Where a batch's N labels are, example by example.

    Always in the memory of the CPU, whatever device the batch is on: a GPU would have to be waited for to tell them.

    Attributes:
        example_N: The example of each, int64.
        position_N: Its place among the example's target tokens, int64.
    """

    example_N: torch.Tensor
    position_N: torch.Tensor

    @classmethod
    def of(cls, labels_BT: torch.Tensor) -> LabelPlaces:
        """The positions of labels `[B, T]` that are not -100."""
        example_N, position_N = (labels_BT != IGNORED).cpu().nonzero(as_tuple=True)
        return cls(example_N=example_N, position_N=position_N)

    def __len__(self) -> int:
        """How many labels there are, N."""
        return len(self.example_N)

    def pick(self, rows_BTX: torch.Tensor) -> torch.Tensor:
        """The entries of a tensor at these places: `[B, T, ...]` to `[N, ...]`."""
        return rows_BTX[sent(self.example_N, rows_BTX.device), sent(self.position_N, rows_BTX.device)]


@attrs.frozen(kw_only=True, eq=False)
class TokenBatch:
    """Padded token ids of some rows.

    Attributes:
        ids: The rows' ids, in order.
        source_ids_BS: int64, padded with the tokenizer's padding id.
        source_mask_BS: int64, 1 where there is a token.
        labels_BT: int64, -100 where there is none.
    """

    ids: tuple[str, ...]
    source_ids_BS: torch.Tensor
    source_mask_BS: torch.Tensor
    labels_BT: torch.Tensor

    @cached_property
    def places(self) -> LabelPlaces:
        """Where the labels are."""
        return LabelPlaces.of(self.labels_BT)

    @cached_property
    def source_counts(self) -> torch.Tensor:
        """How many tokens each source has, int64, on the CPU."""
        return self.source_mask_BS.sum(1).cpu()

    @cached_property
    def label_counts(self) -> torch.Tensor:
        """How many labels each row has, int64, on the CPU."""
        return self.places.example_N.bincount(minlength=len(self.labels_BT))

    def to(self, device: str) -> TokenBatch:
        """The same on another device."""
        moved = attrs.evolve(
            self,
            source_ids_BS=sent(self.source_ids_BS, device),
            source_mask_BS=sent(self.source_mask_BS, device),
            labels_BT=sent(self.labels_BT, device),
        )
        for found_here in ("places", "source_counts"):  # where they are cheap to find
            object.__setattr__(moved, found_here, getattr(self, found_here))
        return moved


def sent(tensor: torch.Tensor, device: torch.device | str) -> torch.Tensor:
    """Copy a tensor from the CPU to a device without waiting for the copy.

    So on CUDA alone, which keeps what it copies from until it has done so; Apple's GPUs do not.
    """
    if str(device).partition(":")[0] != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def joined_rows(parts: Sequence[torch.Tensor], places: Places, *, fill: float = 0) -> torch.Tensor:
    """Join the rows `[B, ...]` of parts, each of which has the examples at its places.

    Each axis beside B is as long as in the part where it is longest, and filled up in the others; the type is the
    widest of theirs.
    """
    import torch

    kind = reduce(torch.promote_types, (part.dtype for part in parts))
    longest = [max(sizes) for sizes in zip(*(part.shape[1:] for part in parts), strict=True)]
    joined = parts[0].new_full((sum(map(len, places)), *longest), fill, dtype=kind)
    for part, place in zip(parts, places, strict=True):
        index: list[torch.Tensor | slice] = [torch.tensor(place), *map(slice, part.shape[1:])]
        joined[tuple(index)] = part.to(kind)
    return joined
