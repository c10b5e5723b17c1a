"""Synthetic teacher blocks. Letters: T target tokens, V vocabulary."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kdkit.values import TeacherBlock


def synthetic_block(tokens: int, vocab_size: int, *, seed: int = 0, spread: float = 3.0) -> TeacherBlock:
    """Logits with the look of a language model's: a bell around a low mean, and one clear winner a token.

    Args:
        tokens: Rows.
        vocab_size: Columns.
        seed: Equal seeds give equal blocks.
        spread: Standard deviation of the bell.
    """
    import numpy as np

    from kdkit.values import TeacherBlock

    random = np.random.default_rng([seed, tokens, vocab_size])
    logits_TV = random.normal(-2 * spread, spread, (tokens, vocab_size)).astype(np.float32)
    logits_TV[np.arange(tokens), random.integers(0, vocab_size, tokens)] = 4 * spread
    return TeacherBlock(id=f"synthetic-{seed}-{tokens}x{vocab_size}", logits_TV=logits_TV)
