"""Synthetic teacher blocks. Letters: T target tokens, V vocabulary, D hidden."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kdkit.api.values import OutputHead, StateBlock, TeacherBlock


def synthetic_block(tokens: int, vocab_size: int, *, seed: int = 0, spread: float = 3.0) -> TeacherBlock:
    """Logits with the look of a language model's: a bell around a low mean, and one clear winner a token.

    Args:
        tokens: Rows.
        vocab_size: Columns.
        seed: Equal seeds give equal blocks.
        spread: Standard deviation of the bell.
    """
    import numpy as np

    from kdkit.api.values import TeacherBlock

    random = np.random.default_rng([seed, tokens, vocab_size])
    logits_TV = random.normal(-2 * spread, spread, (tokens, vocab_size)).astype(np.float32)
    logits_TV[np.arange(tokens), random.integers(0, vocab_size, tokens)] = 4 * spread
    return TeacherBlock(id=f"synthetic-{seed}-{tokens}x{vocab_size}", logits_TV=logits_TV)


def flat_block(tokens: int, vocab_size: int, seed: int = 0, *, spread: float = 3.0) -> TeacherBlock:
    """Logits in a bell alone: of a teacher in doubt, whose largest logits are often near each other.

    Args:
        tokens: Rows.
        vocab_size: Columns.
        seed: Equal seeds give equal blocks.
        spread: Standard deviation of the bell.
    """
    import numpy as np

    from kdkit.api.values import TeacherBlock

    random = np.random.default_rng([seed, tokens, vocab_size, 1])
    logits_TV = random.normal(0, spread, (tokens, vocab_size)).astype(np.float32)
    return TeacherBlock(id=f"flat-{seed}-{tokens}x{vocab_size}", logits_TV=logits_TV)


def synthetic_head(vocab_size: int, hidden: int, *, seed: int = 0, spread: float = 3.0) -> OutputHead:
    """A linear output head without a bias.

    Args:
        vocab_size: Width of its logits.
        hidden: Width of its hidden states.
        seed: Equal seeds give equal heads.
        spread: Standard deviation of its logits for `synthetic_states`.
    """
    import numpy as np

    from kdkit.api.values import OutputHead

    random = np.random.default_rng([seed, vocab_size, hidden])
    return OutputHead(weight_VD=random.normal(0, spread / hidden**0.5, (vocab_size, hidden)).astype(np.float32))


def synthetic_states(tokens: int, hidden: int, *, seed: int = 0) -> StateBlock:
    """Hidden states whose dimensions vary by 1 about a mean of their own.

    Args:
        tokens: Rows.
        hidden: Columns.
        seed: Equal seeds give equal blocks.
    """
    import numpy as np

    from kdkit.api.values import StateBlock

    random = np.random.default_rng([seed, tokens, hidden])
    mean_D = np.cos(np.arange(hidden))
    states_TD = (mean_D + random.normal(0, 1, (tokens, hidden))).astype(np.float32)
    return StateBlock(id=f"synthetic-{seed}-{tokens}x{hidden}", states_TD=states_TD)


def head_block(head: OutputHead, states: StateBlock) -> TeacherBlock:
    """The logits that a head makes of hidden states."""
    from kdkit.api.values import TeacherBlock

    logits_TV = states.states_TD @ head.weight_VD.T
    if head.bias_V is not None:
        logits_TV += head.bias_V
    return TeacherBlock(id=states.id, logits_TV=logits_TV)
