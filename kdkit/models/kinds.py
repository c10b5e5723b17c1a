"""What the kind of a model decides: its task, its size, its positions, and how plain transformers opens it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from kdkit.data.sequences import completion_ids, encode_prompts, read_sequences
from kdkit.data.tokens import read, target_ids
from kdkit.errors import UsageError
from kdkit.models.auto import CAUSAL, SEQ2SEQ
from kdkit.models.config_fields import config_of_side
from kdkit.models.ends import stops_of
from kdkit.models.loading import load_tokenizer
from kdkit.models.making import size_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.options import Generation, TokenLimits
    from kdkit.api.values import EncodedExample, Example, ModelSize
    from kdkit.data.reading import Reading
    from kdkit.models.auto import AutoClass

# Of T5 and its kin, and of rotary models: they know distances, not positions, and so have no end.
DISTANCES = ("relative_attention_num_buckets", "rope_parameters")
# Of these the first token has the position after that of the padding (whose number is the padding's id).
AFTER_PADDING = frozenset(
    {
        "roberta",
        "xlm-roberta",
        "xlm-roberta-xl",
        "roberta-prelayernorm",
        "camembert",
        "data2vec-text",
        "xmod",
        "longformer",
        "mpnet",
    }
)
ENCODER = ("max_encoder_position_embeddings", "max_source_positions", "max_position_embeddings")
DECODER = ("max_decoder_position_embeddings", "max_target_positions", "max_position_embeddings")


class _Sized:
    """What kinds of models of transformers have in common."""

    def size_of(self, config: Any) -> ModelSize:
        """Parameters and vocabulary of a configuration; nothing is allocated.

        Raises:
            UsageError: The numbers do not make a model.
        """
        return size_of(config)


@attrs.frozen
class EncoderDecoder(_Sized):
    """Models whose encoder reads the source and whose decoder writes the target, such as T5 and BART."""

    @property
    def name(self) -> str:
        """What such a model is called."""
        return "encoder-decoder"

    @property
    def auto(self) -> AutoClass:
        """The class of transformers that opens such models."""
        return SEQ2SEQ

    @property
    def is_joined(self) -> bool:
        """They are not: the encoder reads the source."""
        return False

    def load_tokenizer(self, name: str) -> Tokenizer:
        """The tokenizer of a model's folder or hub name (see `kdkit.models.load_tokenizer`)."""
        return load_tokenizer(name)

    @property
    def pipeline_tag(self) -> str:
        """The Hugging Face hub's name for the task of such models."""
        return "text-generation"  # since transformers 5 the task of whatever writes text

    def encode(self, examples: Sequence[Example], tokenizer: Tokenizer, limits: TokenLimits) -> Reading:
        """Token ids of every example: the encoder's and the decoder's."""
        return read(examples, tokenizer, limits)

    def target_ids(self, texts: Sequence[str], tokenizer: Tokenizer) -> list[list[int]]:
        """The labels of whole targets."""
        return target_ids(tokenizer, texts)

    def prompts(
        self,
        encoded: Sequence[EncodedExample],
        examples: Sequence[Example],  # noqa: ARG002 - a source is read alone in training too
        tokenizer: Tokenizer,  # noqa: ARG002
        limits: TokenLimits,  # noqa: ARG002
    ) -> Sequence[EncodedExample]:
        """What is read where a text is to be written: the same sources."""
        return encoded

    def code(
        self,
        folder: str,
        generation: Generation,
        form: str = "pair",  # noqa: ARG002 - it reads no other
        *,
        ended: bool = False,  # noqa: ARG002 - a source ends where its text does
    ) -> str:
        """Python that opens a model of this kind with plain transformers, and writes a text as the recipe does."""
        return f"""\
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{folder}")
model = AutoModelForSeq2SeqLM.from_pretrained("{folder}")
ids = tokenizer("the source text", return_tensors="pt").input_ids
print(tokenizer.decode(model.generate(ids, max_length={generation.max_new_tokens + 1})[0], skip_special_tokens=True))"""

    def check_positions(
        self,
        config: Any,
        limits: TokenLimits,
        generation: Generation,
        form: str = "pair",  # noqa: ARG002 - such a model reads no other
    ) -> None:
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


@attrs.frozen
class DecoderOnly(_Sized):
    """Models that continue a text, such as Llama and GPT-2: they read the prompt and write the completion after it."""

    @property
    def name(self) -> str:
        """What such a model is called."""
        return "decoder-only"

    @property
    def auto(self) -> AutoClass:
        """The class of transformers that opens such models."""
        return CAUSAL

    @property
    def is_joined(self) -> bool:
        """They are: the target continues the source."""
        return True

    def load_tokenizer(self, name: str) -> Tokenizer:
        """The tokenizer of a model's folder or hub name; where it has no padding, the token that ends texts pads.

        Padding is masked by its place, never by its id.
        """
        return load_tokenizer(name, pads_with_end=True)

    @property
    def pipeline_tag(self) -> str:
        """What the Hugging Face hub calls the task of such models."""
        return "text-generation"

    def encode(self, examples: Sequence[Example], tokenizer: Tokenizer, limits: TokenLimits) -> Reading:
        """Token ids of every example, or of its parts: what is read first, and the labels that follow it."""
        return read_sequences(examples, tokenizer, limits, stops=stops_of(tokenizer))

    def target_ids(self, texts: Sequence[str], tokenizer: Tokenizer) -> list[list[int]]:
        """The labels of whole completions that follow nothing."""
        return completion_ids(texts, tokenizer)

    def prompts(
        self,
        encoded: Sequence[EncodedExample],  # noqa: ARG002 - here the last token of a prompt may be left out
        examples: Sequence[Example],
        tokenizer: Tokenizer,
        limits: TokenLimits,
    ) -> Sequence[EncodedExample]:
        """What is read where a text is to be written: the prompts alone, as whoever uses the model has them."""
        return encode_prompts(examples, tokenizer, limits)

    def code(self, folder: str, generation: Generation, form: str = "pair", *, ended: bool = False) -> str:
        """Python that opens a model of this kind with plain transformers, and writes a text as the recipe does."""
        asked, rest = 'tokenizer("the prompt", return_tensors="pt")', ""
        if ended:
            rest = (
                "\ninputs = {name: each[:, :-1] for name, each in inputs.items()}  # without the end: the text goes on"
            )
        if form == "chat":
            asked = """tokenizer.apply_chat_template(
    [{"role": "user", "content": "the prompt"}], add_generation_prompt=True, return_dict=True, return_tensors="pt"
)"""
            rest = ""  # a template puts its own ends
        return f"""\
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("{folder}")
model = AutoModelForCausalLM.from_pretrained("{folder}")
inputs = {asked}{rest}
ids = model.generate(**inputs, max_new_tokens={generation.max_new_tokens})
print(tokenizer.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True))"""

    def check_positions(self, config: Any, limits: TokenLimits, generation: Generation, form: str = "pair") -> None:
        """Refuse limits beyond a model's positions: prompt and completion share them, and a block of a text has them.

        Raises:
            UsageError: Names the limits and the number of positions.
        """
        positions = _positions(config.get_text_config(), ("max_position_embeddings", "max_seq_len"))
        if form == "text":
            if positions is not None and limits.max_length > positions + 1:  # the last is not read
                raise UsageError(
                    f"tokens.max_length is {limits.max_length}, but a {config.model_type} model of this size has "
                    f"positions for {positions}; set it to {positions} or less"
                )
            return
        for name, written in (
            ("tokens.max_target", limits.max_target),
            ("generation.max_new_tokens", generation.max_new_tokens),
        ):
            if positions is not None and limits.max_source + written > positions + 1:  # the last is not read
                raise UsageError(
                    f"tokens.max_source is {limits.max_source} and {name} is {written}, but a {config.model_type} "
                    f"model of this size has positions for {positions} tokens of both together; lower one of them"
                )


HFKind: TypeAlias = EncoderDecoder | DecoderOnly
"""A kind of models of transformers."""


def _positions(config: Any, fields: tuple[str, ...]) -> int | None:
    """How many positions an encoder or a decoder has for tokens; None if there is no limit.

    RoBERTa and its kin number positions from the one after the padding's: those up to it have no token.
    """
    if any(getattr(config, field, None) is not None for field in DISTANCES):
        return None
    found = next((value for field in fields if isinstance(value := getattr(config, field, None), int)), None)
    if found is None or config.model_type not in AFTER_PADDING:
        return found
    return found - (config.pad_token_id or 0) - 1
