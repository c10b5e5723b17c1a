"""The fields of a new model's configuration: which its tokenizer decides, and which its type knows.

Some types keep encoder and decoder in configurations of their own, within the model's: T5Gemma, `encoder-decoder`.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from kdkit.errors import UsageError
from kdkit.models.tokenizers import end_id, has_target_vocabulary, source_size, target_size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kdkit.api.interfaces import Tokenizer

SPECIAL_TOKENS = ("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id")
"""Fields that a configuration of any type takes, though few types declare them all."""
LARGEST = {"layer": 10_000, "block": 10_000, "expert": 10_000, "position": 10_000_000}
"""Parts of names of fields, and the largest value of such a field: a larger model could not be counted in a day."""
FOR_A_DECODER = ("is_decoder", "add_cross_attention")
"""Without these a decoder that is a model of its own, such as BERT, would not look at the encoder."""


def default_fields(model_type: str, place: str = "config") -> dict[str, Any]:
    """The fields of a model type, with their defaults.

    Raises:
        UsageError: There is no such type.
    """
    from transformers import CONFIG_MAPPING, AutoConfig

    if model_type not in CONFIG_MAPPING:
        near = get_close_matches(model_type, CONFIG_MAPPING.keys(), n=1)
        hint = f'; did you mean "{near[0]}"?' if near else ', such as "t5" or "bart"'
        raise UsageError(f'{place}.model_type "{model_type}" is not a model type of transformers{hint}')
    fields: dict[str, Any] = AutoConfig.for_model(model_type).to_dict()
    return fields


def config_of_side(config: Any, side: str) -> Any:
    """The configuration that describes an encoder or a decoder: one within the model's, or the model's own."""
    inner = getattr(config, side, None)
    return inner.get_text_config() if inner is not None else config


def check_fields(table: Mapping[str, Any], known: Mapping[str, Any], model_type: str, place: str = "config") -> None:
    """Refuse fields that the type does not know.

    Raises:
        UsageError: Names them, and what the first was probably meant to be.
    """
    taken = {*known, *SPECIAL_TOKENS, *_other_names(model_type), "model_type"}
    unknown = sorted(key for key in table if key not in taken)
    if unknown:
        near = get_close_matches(unknown[0], known, n=1)
        hint = f'; did you mean "{near[0]}" for "{unknown[0]}"?' if near else ""
        raise UsageError(f"{place} has fields that a {model_type} model does not have: {', '.join(unknown)}{hint}")
    for name, part, part_known in _parts(table, known, place):
        check_fields(part, part_known, part_known["model_type"], f"{place}.{name}")


def _other_names(model_type: str) -> set[str]:
    """Names that fields of a type have in other types, and may have in this one too."""
    from transformers import CONFIG_MAPPING

    return set(CONFIG_MAPPING[model_type].attribute_map) if model_type in CONFIG_MAPPING else set()


def check_sizes(table: Mapping[str, Any], place: str) -> None:
    """Refuse numbers of layers, experts or positions for which making the model would never end.

    Raises:
        UsageError: Names the field.
    """
    for key, value in table.items():
        if isinstance(value, dict):
            check_sizes(value, f"{place}.{key}")
        elif isinstance(value, int):
            most = next((most for name, most in LARGEST.items() if name in key), None)
            if most is not None and value > most:
                raise UsageError(f"{place}.{key} is {value:,}; kdkit opens models of at most {most:,}")


def check_token_ids(table: Mapping[str, Any], config: Any, place: str) -> None:
    """Refuse ids of special tokens that no vocabulary of a model has: the first batch would fail in its embedding.

    Args:
        table: Where the ids are: a configuration or a generation configuration.
        config: The model's configuration.
        place: What the table is called in the message.

    Raises:
        UsageError: Names the field.
    """
    size = max(_sizes(config), default=0)
    for key in (*SPECIAL_TOKENS, "forced_bos_token_id", "forced_eos_token_id"):
        ids = table.get(key)
        for each in ids if isinstance(ids, list) else [ids]:
            if isinstance(each, int) and each >= size > 0 and key != "bos_token_id":  # which few models look at
                raise UsageError(
                    f"{place}.{key} is {each}, but the largest id of the vocabulary is {size - 1}; correct it"
                )


def _sizes(config: Any) -> Iterator[int]:
    """The vocabularies of a configuration and of those within it."""
    for name in ("vocab_size", "src_vocab_size", "tgt_vocab_size", "decoder_vocab_size"):
        size = getattr(config, name, None)
        if isinstance(size, int):
            yield size
    for name in config.sub_configs:
        yield from _sizes(getattr(config, name))


def with_tokens(table: Mapping[str, Any], known: Mapping[str, Any], tokenizer: Tokenizer) -> dict[str, Any]:
    """The table with vocabulary size and special token ids of the tokenizer where it does not give them.

    Raises:
        UsageError: Models of this type cannot have the tokenizer's vocabularies.
    """
    fields = _filled(table, known, tokenizer, source_size(tokenizer))
    fields.setdefault("pad_token_id", tokenizer.pad_token_id)
    fields.setdefault("eos_token_id", end_id(tokenizer))
    if not known.get("is_encoder_decoder"):
        # Defaults are ids in the vocabulary of some model of the type, not in this one.
        fields.setdefault("bos_token_id", getattr(tokenizer, "bos_token_id", None))
        return fields
    decoder = fields.get("decoder")
    # Types with parts do not see padding in what the decoder reads, so its start is another token. T5Gemma's model
    # calls it the decoder's bos_token_id.
    start = decoder.get("bos_token_id") if isinstance(decoder, dict) else tokenizer.pad_token_id
    fields.setdefault("decoder_start_token_id", start)
    if "forced_eos_token_id" in known:  # BART's default is the id in BART's own vocabulary
        fields.setdefault("forced_eos_token_id", end_id(tokenizer))
    if has_target_vocabulary(tokenizer):
        if "decoder_vocab_size" in known:
            fields.setdefault("share_encoder_decoder_embeddings", False)
        elif "tgt_vocab_size" not in known and not isinstance(decoder, dict):
            raise UsageError(
                "the tokenizer has a vocabulary of its own for targets, but models of this type have one for "
                'sources and targets; set config.model_type = "marian" or "fsmt"'
            )
    return fields


def check_vocabulary(config: Any, tokenizer: Tokenizer) -> None:
    """Refuse a vocabulary that is smaller than the tokenizer.

    Raises:
        UsageError: One is.
    """
    _check(config, source_size(tokenizer), target_size(tokenizer), "config")


def _check(config: Any, source: int, target: int, place: str) -> None:
    for name, least in _vocabularies(source, target).items():
        size = None if name in config.attribute_map else getattr(config, name, None)  # FSMT's vocab_size is another's
        if size is not None and size < least:
            raise UsageError(f"{place}.{name} is {size}, but the tokenizer has {least} tokens; leave it out")
    for name in config.sub_configs:
        _check(getattr(config, name), target if name == "decoder" else source, target, f"{place}.{name}")


def _vocabularies(source: int, target: int) -> dict[str, int]:
    """The fields with the size of a vocabulary: FSMT and Marian may have another vocabulary for targets."""
    own = {"decoder_vocab_size": target} if target != source else {}
    return {"vocab_size": source, "src_vocab_size": source, "tgt_vocab_size": target, **own}


def _filled(table: Mapping[str, Any], known: Mapping[str, Any], tokenizer: Tokenizer, size: int) -> dict[str, Any]:
    fields, target = dict(table), target_size(tokenizer)
    for name, least in _vocabularies(size, target).items():
        if name in known:
            fields.setdefault(name, least)
    for name, part, part_known in _parts(table, known):
        inner = _filled(part, part_known, tokenizer, target if name == "decoder" else size)
        ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": end_id(tokenizer)}
        for key, value in {**ids, "bos_token_id": fields.get("decoder_start_token_id", end_id(tokenizer))}.items():
            if key in part_known:
                inner.setdefault(key, value)
        for key in FOR_A_DECODER:
            if known[name].get(key) and key in part_known:
                inner.setdefault(key, True)
        fields[name] = inner
    return fields


def _parts(
    table: Mapping[str, Any], known: Mapping[str, Any], place: str = "config"
) -> Iterator[tuple[str, Mapping[str, Any], dict[str, Any]]]:
    """The configurations within a configuration: a name, what the table gives of it, and what its type knows."""
    for name, default in known.items():
        if not (isinstance(default, dict) and "model_type" in default):
            continue
        given = table.get(name, {})
        if not isinstance(given, dict):
            raise UsageError(f"{place}.{name} must be a table")
        model_type = str(given.get("model_type", default["model_type"]))
        yield (
            name,
            given,
            default if model_type == default["model_type"] else default_fields(model_type, f"{place}.{name}"),
        )
