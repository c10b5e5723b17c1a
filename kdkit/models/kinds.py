"""What the kind of a model decides: its task, its size, its positions, and how plain transformers opens it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit.errors import UsageError
from kdkit.models.config_fields import config_of_side
from kdkit.models.making import size_of

if TYPE_CHECKING:
    from kdkit.api.options import Generation, TokenLimits
    from kdkit.api.values import ModelSize

# Of T5 and its kin, and of rotary models: they know distances, not positions, and so have no end.
DISTANCES = ("relative_attention_num_buckets", "rope_parameters")
ENCODER = ("max_encoder_position_embeddings", "max_source_positions", "max_position_embeddings")
DECODER = ("max_decoder_position_embeddings", "max_target_positions", "max_position_embeddings")


@attrs.frozen
class EncoderDecoder:
    """Models whose encoder reads the source and whose decoder writes the target, such as T5 and BART."""

    @property
    def pipeline_tag(self) -> str:
        """The Hugging Face hub's name for the task of such models."""
        return "text2text-generation"

    def code(self, folder: str, generation: Generation) -> str:
        """Python that opens a model of this kind with plain transformers, and writes a text as the recipe does."""
        return f"""\
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{folder}")
model = AutoModelForSeq2SeqLM.from_pretrained("{folder}")
ids = tokenizer("the source text", return_tensors="pt").input_ids
print(tokenizer.decode(model.generate(ids, max_length={generation.max_new_tokens + 1})[0], skip_special_tokens=True))"""

    def size_of(self, config: Any) -> ModelSize:
        """Parameters and vocabulary of a configuration; nothing is allocated.

        Raises:
            UsageError: There is no model of such numbers.
        """
        return size_of(config)

    def check_positions(self, config: Any, limits: TokenLimits, generation: Generation) -> None:
        """Refuse limits that exceed a model's positions.

        Raises:
            UsageError: Names the limit and the greatest value that the model takes.
        """
        for side, fields, name, limit in (
            ("encoder", ENCODER, "tokens.max_source", limits.max_source),
            ("decoder", DECODER, "tokens.max_target", limits.max_target),
            ("decoder", DECODER, "generation.max_new_tokens", generation.max_new_tokens),  # the last is not read
        ):
            positions = _positions(config_of_side(config, side), fields)
            if positions is not None and limit > positions:
                raise UsageError(
                    f"{name} is {limit}, but a {config.model_type} model of this size has positions for {positions}; "
                    f"set it to {positions} or less"
                )


def _positions(config: Any, fields: tuple[str, ...]) -> int | None:
    """How many positions an encoder or a decoder has; None if there is no limit."""
    if any(getattr(config, field, None) is not None for field in DISTANCES):
        return None
    return next((value for field in fields if isinstance(value := getattr(config, field, None), int)), None)
