"""Several rows in one sequence: positions begin again with each row, and no row sees another.

transformers makes both of the positions alone: where they begin again, its masks (SDPA, flash and flex attention) are
block-diagonal. A model that carries a state from token to token, or that tells distances without positions, does not
keep rows apart that way. So what packs is found out on the opened model.

Letters: B rows, W tokens of the longest row, P packed sequences, Q places of each, N tokens of all rows, T labels,
X whatever a row holds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.values.batches import sent
from kdkit.data.packing import bins_of
from kdkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    import torch

    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.values import TokenBatch
    from kdkit.models.joined import Sequences

PROBE = (((0, 1, 1), (0, 1, 0, 0, 1, 1)), ((1, 0), (1, 1)), ((1,), (0, 1, 1, 0)))
"""Prompts and labels of three rows; the second and the third share a sequence."""
NEAR = {"float32": 1e-4, "float64": 1e-6}
"""How far apart logits may be, over the largest, that are the same but for the order of additions."""
NEAR_OF_HALF = 0.05


@attrs.frozen(kw_only=True, eq=False)
class PackedSequences:
    """The rows of a batch as packed sequences, padded on the right.

    Attributes:
        ids_PQ: int64.
        position_PQ: Each token's place in its row, int64; 0 for padding, so that each is a sequence of its own.
        place_BT: Of each label, which of all P x Q places has the logits about it, int64.
    """

    ids_PQ: torch.Tensor
    position_PQ: torch.Tensor
    place_BT: torch.Tensor

    @classmethod
    def of(cls, sequences: Sequences, *, pad_id: int, in_one: bool = False) -> PackedSequences:
        """Those of the rows of a batch.

        Args:
            sequences: The rows, padded apart.
            pad_id: Padding id.
            in_one: Whether all go into one sequence, for flash attention.
        """
        import torch

        device, read_B = sequences.ids_BW.device, sequences.read_B
        lengths = read_B.tolist()
        bins = [list(range(len(lengths)))] if in_one else bins_of(lengths)
        width = max(sum(lengths[row] for row in rows) for rows in bins)
        start_B = torch.zeros_like(read_B)
        for number, rows in enumerate(bins):
            place = number * width
            for row in rows:
                start_B[row] = place
                place += lengths[row]
        # Where each token is and goes is found on the CPU: no device is waited for.
        row_N = torch.arange(len(lengths)).repeat_interleave(read_B)
        position_N = torch.arange(len(row_N)) - (read_B.cumsum(0) - read_B)[row_N]
        to_N = sent(start_B[row_N] + position_N, device)
        row_N, position_N = sent(row_N, device), sent(position_N, device)
        ids_PQ = sequences.ids_BW.new_full((len(bins), width), pad_id)
        ids_PQ.view(-1)[to_N] = sequences.ids_BW[row_N, position_N]
        position_PQ = torch.zeros_like(ids_PQ)
        position_PQ.view(-1)[to_N] = position_N
        last_B1 = sent(read_B - 1, device)[:, None]
        place_BT = sequences.place_BT.minimum(last_B1) + sent(start_B, device)[:, None]
        return cls(ids_PQ=ids_PQ, position_PQ=position_PQ, place_BT=place_BT)

    @property
    def inputs(self) -> dict[str, torch.Tensor]:
        """What a model's forward pass takes."""
        return {"input_ids": self.ids_PQ, "position_ids": self.position_PQ}

    def judging(self, rows_PQX: torch.Tensor) -> torch.Tensor:
        """Of what a model has at each place, the rows about labels: `[P, Q, X]` to `[B, T, X]`."""
        return rows_PQX.flatten(0, 1)[self.place_BT]


def packs_in_one(module: Any) -> bool:
    """Whether a model's attention knows where rows begin in a single sequence only."""
    return "flash" in str(getattr(module.config, "_attn_implementation", ""))


def probe_batch(tokenizer: Tokenizer, device: str) -> TokenBatch:
    """Rows that are packed where a model is tried."""
    from kdkit.api.values import EncodedExample
    from kdkit.data.tokens import collate

    rows = [
        EncodedExample(id=str(number), source_ids=prompt, target_ids=labels)
        for number, (prompt, labels) in enumerate(PROBE)
    ]
    return collate(rows, pad_id=tokenizer.pad_token_id, device=device)


def check_packs(module: Any, alone: Callable[[], torch.Tensor], packed: Callable[[], torch.Tensor]) -> None:
    """Refuse a model for which rows in one sequence are not the same as rows apart.

    Args:
        module: The model.
        alone: Gives the logits of the labels of the probe's rows.
        packed: Gives them where these are packed.

    Raises:
        UsageError: It is such a model.
    """
    apart = alone()
    try:
        distance = float((packed() - apart).abs().max() / apart.abs().max())
        why = f"the logits are {distance:.2g} of the largest away from those of each row alone"
    except (TypeError, ValueError, RuntimeError, IndexError, KeyError) as error:
        distance, why = float("inf"), f"it takes no positions: {type(error).__name__}"
    if not distance <= NEAR.get(str(apart.dtype).removeprefix("torch."), NEAR_OF_HALF):
        raise UsageError(
            f"packing = true, but this {module.config.model_type} model does not keep rows of one sequence apart "
            f"({why}), so it would be trained on other rows than yours; set it to false"
        )
