"""Checks of logits that every codec makes before it encodes them. Letters: T target tokens, V vocabulary."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from kdkit.api.values import FloatArray, TeacherBlock


# Room for sums and differences of a few logits in float32.
_MODERATE = 1e38


def moderate_logits(block: TeacherBlock, *, codec: str) -> FloatArray:
    """The block's logits `[T, V]`, float32 and C-contiguous, the largest of each row of a magnitude of at most 1e38.

    The others may lie below it by any distance, -inf included: such entries have no probability.

    Raises:
        UsageError: The largest of a row is beyond that or -inf, or a logit is NaN; the message names the codec.
    """
    import numpy as np

    logits_TV = _as_array(block)
    if _within(logits_TV, _MODERATE):
        return logits_TV
    advice = f'{codec} holds magnitudes up to 1e38; use the codec "float"'
    _refuse_first(block, logits_TV, ~(logits_TV <= _MODERATE), advice)
    _check_rows(block, logits_TV)
    low_T1 = logits_TV.max(axis=1, keepdims=True) < -_MODERATE
    _refuse_first(block, logits_TV, low_T1 & np.ones_like(logits_TV, bool), advice)
    return logits_TV


def masked_logits(block: TeacherBlock, *, limit: float, advice: str) -> FloatArray:
    """The block's logits `[T, V]`, float32 and C-contiguous, each of a magnitude of at most `limit`, or -inf.

    Args:
        block: What the teacher said.
        limit: The largest magnitude that the codec can hold.
        advice: What to do about a finite logit beyond it, as the end of a sentence.

    Raises:
        UsageError: A logit is beyond the limit or NaN, or all of a row are -inf; the message says which.
    """
    import numpy as np

    logits_TV = _as_array(block)
    if _within(logits_TV, limit):
        return logits_TV
    _refuse_first(block, logits_TV, ~((np.abs(logits_TV) <= limit) | np.isneginf(logits_TV)), advice)
    _check_rows(block, logits_TV)
    return logits_TV


def finite_logits(block: TeacherBlock, *, limit: float, advice: str, mask_advice: str) -> FloatArray:
    """The block's logits `[T, V]`, float32 and C-contiguous, each of a magnitude of at most `limit`.

    Args:
        block: What the teacher said.
        limit: The largest magnitude that the codec can hold.
        advice: What to do about a finite logit beyond it, as the end of a sentence.
        mask_advice: The same for one of -inf.

    Raises:
        UsageError: A logit is beyond the limit, infinite, or NaN; the message says which.
    """
    import numpy as np

    logits_TV = _as_array(block)
    if _within(logits_TV, limit):
        return logits_TV
    _refuse_first(block, logits_TV, np.isneginf(logits_TV), mask_advice)
    _refuse_first(block, logits_TV, ~(np.abs(logits_TV) <= limit), advice)
    return logits_TV


def _as_array(block: TeacherBlock) -> FloatArray:
    import numpy as np

    logits_TV = np.ascontiguousarray(block.logits_TV, dtype=np.float32)
    if logits_TV.ndim != 2 or logits_TV.shape[1] < 1:
        raise UsageError(
            f"the logits of example {block.id!r} have shape {logits_TV.shape}; it must be [tokens, vocabulary]"
        )
    return logits_TV


def _within(logits_TV: FloatArray, limit: float) -> bool:
    # A NaN makes both extremes NaN, and every comparison with NaN is false.
    return bool(logits_TV.size == 0 or (logits_TV.min() >= -limit and logits_TV.max() <= limit))


def _check_rows(block: TeacherBlock, logits_TV: FloatArray) -> None:
    import numpy as np

    empty_T = np.isneginf(logits_TV.max(axis=1))
    if empty_T.any():
        raise UsageError(
            f"every logit of target token {int(empty_T.argmax())} of example {block.id!r} is -inf, but a "
            "distribution needs one that is finite; check what the teacher masks there"
        )


def _refuse_first(block: TeacherBlock, logits_TV: FloatArray, bad_TV: npt.NDArray[np.bool_], advice: str) -> None:
    import numpy as np

    if not bad_TV.any():
        return
    token, entry = (int(i) for i in np.argwhere(bad_TV)[0])
    value = float(logits_TV[token, entry])
    if np.isnan(value) or value == np.inf:
        advice = "logits must be finite: check what the teacher computes there"
    raise UsageError(
        f"the logit of vocabulary entry {entry} at target token {token} of example {block.id!r} is {value:g}; {advice}"
    )


def each_temperature(_instance: object, _field: object, temperatures: tuple[float, ...]) -> None:
    """Refuse, as a validator of an option, temperatures out of range or named twice."""
    for temperature in temperatures:
        if not 0.01 <= temperature <= 100:
            raise ValueError(f"has the temperature {temperature:g}; temperatures must be from 0.01 to 100")
        if temperatures.count(temperature) > 1:
            raise ValueError(f"has the temperature {temperature:g} more than once")
