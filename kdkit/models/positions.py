"""How many tokens a model has positions for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kdkit.errors import UsageError

if TYPE_CHECKING:
    from kdkit.api.options import Generation, TokenLimits

# Of T5 and its kin, and of rotary models: they know distances, not positions, and so have no end.
DISTANCES = ("relative_attention_num_buckets", "rope_parameters")
ENCODER = ("max_encoder_position_embeddings", "max_source_positions", "max_position_embeddings")
DECODER = ("max_decoder_position_embeddings", "max_target_positions", "max_position_embeddings")


def check_positions(config: Any, limits: TokenLimits, generation: Generation) -> None:
    """Refuse limits beyond a model's positions.

    Raises:
        UsageError: Names the limit and the greatest value that the model takes.
    """
    if any(getattr(config, field, None) is not None for field in DISTANCES):
        return
    for fields, name, limit, spare in (
        (ENCODER, "tokens.max_source", limits.max_source, 0),
        (DECODER, "tokens.max_target", limits.max_target, 0),
        (DECODER, "generation.max_tokens", generation.max_tokens, 1),  # the last token is written, not read
    ):
        positions = next((value for field in fields if isinstance(value := getattr(config, field, None), int)), None)
        if positions is not None and limit > positions + spare:
            raise UsageError(
                f"{name} is {limit}, but a {config.model_type} model of this size has positions for {positions}; "
                f"set it to {positions + spare} or less"
            )
