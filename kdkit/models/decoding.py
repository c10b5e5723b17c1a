"""What a decoder reads and how texts are searched: special tokens come from the model, all else from the recipe."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

from kdkit.errors import UsageError
from kdkit.losses.alignment import label_mask
from kdkit.models.tokenizers import end_id

if TYPE_CHECKING:
    import torch

    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.options import Generation

# The ids that a model was trained to begin and end texts with. A multilingual one has its language forced first.
MODEL_TOKENS = ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id", "forced_bos_token_id")


def generation_config(module: Any, tokenizer: Tokenizer, options: Generation) -> Any:
    """A transformers `GenerationConfig` of the model's special tokens and the recipe's search, and nothing else.

    What else a model's folder asks for (`num_beams`, `length_penalty`, ...) would make a text depend on more than the
    recipe says; `[generation]` has options for it.
    """
    from transformers import GenerationConfig

    tokens = {name: model_token(module, name) for name in MODEL_TOKENS}
    for name, id_ in (("pad_token_id", tokenizer.pad_token_id), ("eos_token_id", end_id(tokenizer))):
        if tokens[name] is None:
            tokens[name] = id_
    return GenerationConfig(
        **tokens,
        bad_words_ids=never_written(module.generation_config, tokens["pad_token_id"]),
        # The start token counts here. Whoever opens a saved student may give another max_length, which transformers
        # would ignore beside a max_new_tokens that was saved.
        max_length=options.max_new_tokens + 1,
        num_beams=options.beams,
        early_stopping=options.early_stopping if options.beams > 1 else False,
        **_sampling(options),
        # None is transformers' own default, of which it says nothing in what is saved.
        min_length=options.min_new_tokens + 1 if options.min_new_tokens else None,  # the start token counts here too
        length_penalty=options.length_penalty if options.length_penalty != 1 else None,
        no_repeat_ngram_size=options.no_repeat_ngram_size or None,
        # Plain transformers, which opens what is saved, can do without a cache. `own_cache` is faster.
        use_cache=not outgrows_cache(module),
    )


def causal_generation_config(module: Any, tokenizer: Tokenizer, options: Generation) -> Any:
    """The same of a decoder-only model: limits count what it writes after the prompt, and several tokens may end it."""
    from transformers import GenerationConfig

    ends = model_token(module, "eos_token_id")
    return GenerationConfig(
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=model_token(module, "bos_token_id"),
        eos_token_id=end_id(tokenizer) if ends is None else ends,
        max_new_tokens=options.max_new_tokens,
        num_beams=options.beams,
        early_stopping=options.early_stopping if options.beams > 1 else False,
        **_sampling(options),
        min_new_tokens=options.min_new_tokens or None,
        length_penalty=options.length_penalty if options.length_penalty != 1 else None,
        no_repeat_ngram_size=options.no_repeat_ngram_size or None,
        use_cache=has_cache(module),
    )


def _sampling(options: Generation) -> dict[str, Any]:
    """How transformers draws texts, if it does; what it would do by default where nothing is said (top_k = 50) too."""
    if not options.temperature:
        return {"do_sample": False}
    return {
        "do_sample": True,
        "temperature": options.temperature,
        "top_p": options.top_p,
        "top_k": options.top_k,
    }


def outgrows_cache(module: Any) -> bool:
    """Whether a decoder has more layers than transformers makes a cache for, so that generating with it fails.

    T5 and its kin call the number of the encoder's layers `num_hidden_layers`, which is what a cache is made by.
    """
    config = module.config
    layers = getattr(config, "num_decoder_layers", None)
    return isinstance(layers, int) and layers > config.get_text_config(decoder=True).num_hidden_layers


def own_cache(module: Any) -> dict[str, Any]:
    """Arguments of `generate` that give such a decoder a cache which grows; none for others."""
    from transformers import DynamicCache, EncoderDecoderCache

    if not outgrows_cache(module):
        return {}
    return {"past_key_values": EncoderDecoderCache(DynamicCache(), DynamicCache()), "use_cache": True}


def has_cache(module: Any) -> bool:
    """Whether transformers can generate with a cache of a decoder-only model.

    It asks the cache how many tokens it has seen, and only layers of attention know: of a hybrid model's layers that
    are all recurrent no cache can say. Without one every token reads the whole text again.
    """
    from transformers import DynamicCache

    if "past_key_values" not in inspect.signature(module.forward).parameters:
        return True  # it has a cache of its own, as Mamba and RWKV
    try:
        DynamicCache(config=module.config).get_seq_length()
    except ValueError:
        return False
    return True


def decoder_inputs(module: Any, labels_BT: torch.Tensor) -> torch.Tensor:
    """What the decoder reads under teacher forcing: the model's own shift where it has one (mBART's is peculiar).

    Raises:
        UsageError: The model says neither how to shift nor what its decoder starts from.
    """
    if hasattr(module, "prepare_decoder_input_ids_from_labels"):
        try:
            own_BT: torch.Tensor = module.prepare_decoder_input_ids_from_labels(labels=labels_BT.clone())  # FSMT writes
        except (AttributeError, ValueError, TypeError, AssertionError):
            for name in ("decoder_start_token_id", "pad_token_id"):
                _refuse_without(module, name, getattr(module.config, name, None))
            raise
        return own_BT
    start, pad = (model_token(module, name) for name in ("decoder_start_token_id", "pad_token_id"))
    _refuse_without(module, "decoder_start_token_id", start)
    _refuse_without(module, "pad_token_id", pad)
    return shift_right(labels_BT, start=start, pad=pad)


def attend_as_configured(module: Any) -> None:
    """Make an encoder attend as its configuration says, whatever batches it has seen.

    At the first short batch BigBird turns to full attention for good; what a batch gives would depend on the others.
    """
    encoder = module.get_encoder()
    if hasattr(encoder, "set_attention_type"):
        encoder.set_attention_type(module.config.attention_type)


def _refuse_without(module: Any, name: str, token_id: int | None) -> None:
    if token_id is None:
        raise UsageError(
            f"the configuration of this {module.config.model_type} model lacks {name}; add it to its config.json"
        )


def shift_right(labels_BT: torch.Tensor, *, start: int, pad: int) -> torch.Tensor:
    """Each row begins with the start token and loses its last label; -100 becomes padding."""
    shifted_BT = labels_BT.masked_fill(~label_mask(labels_BT), pad).roll(1, dims=1)
    shifted_BT[:, 0] = start
    return shifted_BT


def never_written(generation: Any, pad_id: int | None) -> list[list[int]] | None:
    """Padding as a word that is never written, if a generation configuration says so, as Marian's do.

    There padding is the token that the decoder starts from, whose logit is 0 and may be the largest.
    """
    return [[pad_id]] if pad_id is not None and [pad_id] in (generation.bad_words_ids or []) else None


def text_rules(module: Any) -> str:
    """What else a model's texts depend on, beside weights, tokenizer and recipe; "" if nothing is unusual."""
    start, forced, end, pad = (
        model_token(module, f"{name}_token_id") for name in ("decoder_start", "forced_bos", "eos", "pad")
    )
    rules = [
        *([f"begins after {start}"] if start != getattr(module.config, "decoder_start_token_id", None) else []),
        *([f"begins with {forced}"] if forced is not None else []),
        *(["no padding"] if never_written(module.generation_config, pad) else []),
        *([f"ends with {end}"] if end != getattr(module.config, "eos_token_id", None) else []),
        *([f"padded with {pad}"] if pad != getattr(module.config, "pad_token_id", None) else []),
    ]
    return ", ".join(rules)


def model_token(module: Any, name: str) -> Any:
    """An id (or several ids of ends) from the model's generation configuration, else from its configuration."""
    own = getattr(module.generation_config, name, None)
    return own if own is not None else getattr(module.config, name, None)
