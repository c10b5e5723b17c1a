"""What the targets that a codec makes of a batch must be. Letters: N tokens, V vocabulary, K entries kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.errors import DamagedData

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from kdkit.api.interfaces.codecs import BatchCodec
    from kdkit.api.values import FloatArray, SparseTargets, TeacherBlock

# Of log-probabilities, relative to the greatest logit or 1: float32 rounds to 2**-24, and sums add to it.
NEAR = 2.0**-16


def check_targets(codec: BatchCodec, blocks: Sequence[TeacherBlock]) -> None:
    """Check that a batch has the rows of its records, and the log-probabilities of `decode`.

    Raises:
        AssertionError: It does not.
    """
    vocab_size = blocks[0].logits_TV.shape[1]
    records = [(codec.encode(block), len(block.logits_TV)) for block in blocks]
    decoded = [codec.decode(payload, tokens=tokens, vocab_size=vocab_size) for payload, tokens in records]
    _check_batch(codec, records, decoded)
    _check_batch(codec, records[::-1], decoded[::-1])
    _check_batch(codec, [], [], vocab_size)
    payload, tokens = records[0]
    cut = payload[: len(payload) // 2]
    try:
        codec.targets([*records, (cut, tokens)], vocab_size=vocab_size, device="cpu")
    except DamagedData:
        return
    except Exception as error:
        raise AssertionError(
            f"the targets of {codec!r} meet a cut payload with {type(error).__name__} instead of DamagedData"
        ) from error
    raise AssertionError(f"{codec!r} makes targets of half a payload instead of raising DamagedData")


def _check_batch(
    codec: BatchCodec, records: Sequence[tuple[bytes, int]], decoded: Sequence[FloatArray], vocab_size: int = 1
) -> None:
    import numpy as np
    import torch

    from kdkit.api.values import SparseTargets
    from kdkit.losses.alignment import all_rows

    vocab_size = decoded[0].shape[1] if decoded else vocab_size
    targets = codec.targets(records, vocab_size=vocab_size, device="cpu")
    lengths = [tokens for _, tokens in records]
    assert targets.lengths_B.tolist() == lengths, (
        f"the targets of {codec!r} have {targets.lengths_B.tolist()} rows, and their records {lengths}"
    )
    elsewhere = codec.targets(records, vocab_size=vocab_size, device="meta")
    assert elsewhere.lengths_B.device.type == "cpu", (
        f"the targets of {codec!r} have their lengths on a device, which would have to be waited for"
    )
    assert targets.width == max(lengths, default=0), (
        f"the targets of {codec!r} have room for {targets.width} rows, and records of {lengths} are in them"
    )
    if not decoded:
        return
    expected_NV = torch.from_numpy(np.concatenate(decoded)).double()
    if isinstance(targets, SparseTargets):
        _check_sparse(codec, targets, expected_NV)
        return
    found_NV = targets.logits(all_rows(targets)).double()
    assert found_NV.shape == expected_NV.shape, (
        f"the targets of {codec!r} have logits of shape {list(found_NV.shape)}, and decode {list(expected_NV.shape)}"
    )
    _near(codec, found_NV.log_softmax(-1), expected_NV.log_softmax(-1), expected_NV)


def _check_sparse(codec: BatchCodec, targets: SparseTargets, expected_NV: torch.Tensor) -> None:
    """The kept entries in their proportions; what is left to the others, where decode's guess has their mass."""
    import torch

    from kdkit.api.interfaces import SparseCodec
    from kdkit.losses.alignment import all_rows

    assert isinstance(codec, SparseCodec), f"{codec!r} gives sparse targets, but has no exact_temperatures"
    assert tuple(targets.log_tail_BT) == tuple(codec.exact_temperatures), (
        f"the targets of {codec!r} know the temperatures {list(targets.log_tail_BT)}, "
        f"and it says {list(codec.exact_temperatures)}"
    )
    assert targets.vocab_size == expected_NV.shape[1], f"the targets of {codec!r} are {targets.vocab_size} wide"
    rows = all_rows(targets)
    ids_NK, values_NK = rows.known(targets.ids_BTK).long(), rows.known(targets.values_BTK).double()
    kept_NK = ids_NK >= 0
    logits_NK = expected_NV.gather(-1, ids_NK.clamp(min=0)).masked_fill(~kept_NK, -torch.inf)
    for temperature in codec.exact_temperatures:
        found_NK, expected_NK = ((each / temperature).log_softmax(-1) for each in (values_NK, logits_NK))
        _near(codec, found_NK[kept_NK], expected_NK[kept_NK], expected_NV)
    temperature = codec.exact_temperatures[0]
    p_NV = (expected_NV / temperature).softmax(-1)
    kept_N = p_NV.gather(-1, ids_NK.clamp(min=0)).masked_fill(~kept_NK, 0).sum(-1)
    _near(codec, rows.known(targets.log_tail_BT[temperature]).double().exp(), 1 - kept_N, expected_NV)


def _near(codec: BatchCodec, found: torch.Tensor, expected: torch.Tensor, logits_NV: torch.Tensor) -> None:
    distance = float((found - expected).abs().max()) if found.numel() else 0.0
    limit = NEAR * max(1.0, float(logits_NV.abs().max()))
    assert distance <= limit, f"the targets of {codec!r} are not what it decodes: {distance:g} lies between them"
