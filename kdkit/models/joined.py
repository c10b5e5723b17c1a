"""The rows of a batch as the sequences that a decoder-only model reads, and which of its places judge which label.

Letters: B batch, S prompt tokens, T labels, W tokens of the longest sequence that is read, X whatever a place holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.errors import PluginError

if TYPE_CHECKING:
    import torch

    from kdkit.api.values import TokenBatch


@attrs.frozen(kw_only=True, eq=False)
class Sequences:
    """The prompts and completions of a batch as the sequences that a model reads, padded on the right.

    Attributes:
        ids_BW: int64; the last label of a row is not read, since no label comes after it.
        mask_BW: int64, 1 where there is a token.
        place_BT: The position whose logits are about each label, int64; of padding, a position that exists.
        read_B: How many tokens of each row are read, int64, on the CPU.
    """

    ids_BW: torch.Tensor
    mask_BW: torch.Tensor
    place_BT: torch.Tensor
    read_B: torch.Tensor

    @classmethod
    def of(cls, batch: TokenBatch, *, pad_id: int) -> Sequences:
        """Those of a batch whose rows all have a prompt, of one token at least.

        Raises:
            PluginError: A row has none: nothing would judge its first label.
        """
        import torch

        counts = zip(batch.ids, batch.source_counts.tolist(), batch.label_counts.tolist(), strict=True)
        empty = [id_ for id_, read, labels in counts if labels and not read]
        if empty:
            raise PluginError(
                f"row {empty[0]} has no token before its labels, so nothing judges the first of them; its model kind "
                "must put one there, such as the token that begins texts"
            )
        labels_BT, device = batch.labels_BT, batch.labels_BT.device
        read_B = batch.source_counts + batch.label_counts.clamp(min=1) - 1  # on the CPU: no device is waited for
        width = int(read_B.max())
        prompts_B1 = batch.source_mask_BS.sum(1, keepdim=True)
        read_B1 = prompts_B1 + (labels_BT >= 0).sum(1, keepdim=True).clamp(min=1) - 1
        position_1W = torch.arange(width, device=device)[None]
        in_prompt_1W = position_1W.clamp(max=batch.source_ids_BS.shape[1] - 1)
        before_BW = batch.source_ids_BS.gather(1, in_prompt_1W.expand(len(labels_BT), -1))
        after_BW = labels_BT.gather(1, (position_1W - prompts_B1).clamp(0, labels_BT.shape[1] - 1))
        ids_BW = torch.where(position_1W < prompts_B1, before_BW, after_BW)
        mask_BW = position_1W < read_B1
        place_BT = prompts_B1 - 1 + torch.arange(labels_BT.shape[1], device=device)[None]
        return cls(
            ids_BW=ids_BW.masked_fill(~mask_BW, pad_id),
            mask_BW=mask_BW.long(),
            place_BT=place_BT.clamp(max=width - 1),
            read_B=read_B,
        )

    @property
    def inputs(self) -> dict[str, torch.Tensor]:
        """What a model's forward pass takes."""
        return {"input_ids": self.ids_BW, "attention_mask": self.mask_BW}

    def judging(self, rows_BWX: torch.Tensor) -> torch.Tensor:
        """Of what a model has at each position, the rows about labels: `[B, W, X]` to `[B, T, X]`."""
        place_BT1 = self.place_BT[..., None].to(rows_BWX.device)  # another one, in a model over several devices
        picked_BTX: torch.Tensor = rows_BWX.gather(1, place_BT1.expand(-1, -1, rows_BWX.shape[-1]))
        return picked_BTX
