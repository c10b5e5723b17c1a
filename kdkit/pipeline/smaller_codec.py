"""What a cache would take with the codec `subspace`, for those who took the default."""

from __future__ import annotations

from typing import Any

DEFAULT = "u8-lz4"
BYTES_A_DIMENSION = 0.7
"""Bytes of a token for each hidden dimension, at the default step: 0.65 were measured (docs/codecs.md)."""
ENTRIES, TOKENS = 4, 8
"""So many times a teacher's hidden dimensions its vocabulary is, and the rows' tokens are, where `subspace` pays."""


def subspace_bytes(config: Any, *, vocabulary: int, tokens: float) -> float | None:
    """How many bytes `subspace` takes for a token, about.

    Args:
        config: The teacher's configuration; None of a teacher that is not a model.
        vocabulary: How many logits a token has.
        tokens: Of how many tokens.

    Returns:
        The bytes; None where there is no linear head that it could learn from, or too little to learn and to gain.
    """
    config = config.get_text_config() if config is not None else None
    hidden = int(getattr(config, "hidden_size", None) or getattr(config, "d_model", None) or 0)
    if not hidden or vocabulary < ENTRIES * hidden or tokens < TOKENS * hidden:
        return None
    return None if getattr(config, "final_logit_softcapping", None) else BYTES_A_DIMENSION * hidden
