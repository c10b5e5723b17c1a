"""Whether a codec keeps masked logits, or says that it cannot. Letters: T target tokens, V vocabulary."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.errors import UsageError
from kdkit.testing.blocks import synthetic_block
from kdkit.testing.codec_fidelity import log_softmax

if TYPE_CHECKING:
    from kdkit.api.interfaces import Codec

_TOKENS, _VOCAB, _EVERY = 20, 300, 7
# What is masked may come back as one of many entries that share a mass, but not as likelier than these.
_TIMES_THE_MEAN = 3


def check_masks(codec: Codec) -> None:
    """Masked entries leave the others as they are and are no likelier than these, or the codec refuses them.

    Raises:
        AssertionError: The codec gives back something else.
    """
    for mask in (-float("inf"), -1e4):  # either is a usual way to mask
        _check_mask(codec, mask)


def _check_mask(codec: Codec, mask: float) -> None:
    import attrs
    import numpy as np

    block = synthetic_block(_TOKENS, _VOCAB)
    masked_V = np.arange(_VOCAB) % _EVERY == 0
    masked_TV = masked_V & (block.logits_TV < block.logits_TV.max(axis=1, keepdims=True))
    logits_TV = np.where(masked_TV, np.float32(mask), block.logits_TV)
    try:
        payload = codec.encode(attrs.evolve(block, logits_TV=logits_TV))
    except UsageError:
        return
    decoded_TV = codec.decode(payload, tokens=_TOKENS, vocab_size=_VOCAB).astype(np.float64)
    advice = "keep masked logits, or refuse them with a UsageError"
    with np.errstate(invalid="ignore"):
        found_TV = log_softmax(decoded_TV)
    assert not np.isnan(found_TV).any(), (
        f"{codec!r} gives back rows with logits of {mask:g} that are not a distribution; {advice}"
    )
    is_other_TV = ~masked_TV & (block.logits_TV < block.logits_TV.max(axis=1, keepdims=True))
    others_T = np.where(is_other_TV, np.exp(log_softmax(block.logits_TV.astype(np.float64))), 0).sum(1)
    mean_T1 = others_T[:, None] / is_other_TV.sum(1, keepdims=True)
    times = float(np.where(masked_TV, np.exp(found_TV) / mean_T1, 0).max())
    assert times <= _TIMES_THE_MEAN, (
        f"{codec!r} gives back an entry of {mask:g} {times:.3g} times as likely as the others are on average; {advice}"
    )
    assert (decoded_TV.argmax(axis=1) == block.logits_TV.argmax(axis=1)).all(), (
        f"{codec!r} loses the largest logit of a row that has others of {mask:g}; {advice}"
    )
