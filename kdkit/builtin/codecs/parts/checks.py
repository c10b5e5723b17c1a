"""What every codec asks of logits before it encodes them. Letters: T target tokens, V vocabulary."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.errors import UsageError

if TYPE_CHECKING:
    from kdkit.api.values import FloatArray, TeacherBlock


# Room for sums and differences of a few logits in float32.
_MODERATE = 1e38


def moderate_logits(block: TeacherBlock, *, codec: str) -> FloatArray:
    """The block's logits `[T, V]`, float32 and C-contiguous, each of a magnitude of at most 1e38.

    Raises:
        UsageError: A logit is beyond that, infinite, or no number; the message names the codec.
    """
    advice = f'{codec} holds magnitudes up to 1e38; use the codec "float", or no such mask'
    return finite_logits(block, limit=_MODERATE, advice=advice)


def finite_logits(block: TeacherBlock, *, limit: float, advice: str) -> FloatArray:
    """The block's logits `[T, V]`, float32 and C-contiguous, each of a magnitude of at most `limit`.

    Args:
        block: What the teacher said.
        limit: The largest magnitude that the codec can hold.
        advice: What to do about a finite logit beyond it, as the end of a sentence.

    Raises:
        UsageError: A logit is beyond the limit, infinite, or no number; the message says which.
    """
    import numpy as np

    logits_TV = np.ascontiguousarray(block.logits_TV, dtype=np.float32)
    if logits_TV.ndim != 2 or logits_TV.shape[1] < 1:
        raise UsageError(
            f"the logits of example {block.id!r} have shape {logits_TV.shape}; [tokens, vocabulary] is due"
        )
    # A NaN makes both extremes NaN, and every comparison with NaN is false.
    if logits_TV.size == 0 or (logits_TV.min() >= -limit and logits_TV.max() <= limit):
        return logits_TV
    bad_TV = ~(np.abs(logits_TV) <= limit)
    token, entry = (int(i) for i in np.argwhere(bad_TV)[0])
    value = float(logits_TV[token, entry])
    what_to_do = advice if np.isfinite(value) else "logits must be finite: look at what the teacher computes there"
    raise UsageError(
        f"the logit of vocabulary entry {entry} at target token {token} of example {block.id!r} is {value:g}; "
        f"{what_to_do}"
    )
