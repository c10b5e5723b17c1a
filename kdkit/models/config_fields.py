"""The fields of a new model's configuration: those that its tokenizer decides, and those that its type knows.

Some types keep encoder and decoder in configurations of their own, within the model's: T5Gemma, `encoder-decoder`.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from kdkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kdkit.api.interfaces import Tokenizer

VOCABULARIES = ("vocab_size", "src_vocab_size", "tgt_vocab_size")
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


def check_fields(table: Mapping[str, Any], known: Mapping[str, Any], model_type: str, place: str = "config") -> None:
    """Refuse fields that the type does not know.

    Raises:
        UsageError: Names them, and what the first was probably meant to be.
    """
    unknown = sorted(key for key in table if key != "model_type" and key not in known)
    if unknown:
        near = get_close_matches(unknown[0], known, n=1)
        hint = f'; did you mean "{near[0]}" for "{unknown[0]}"?' if near else ""
        raise UsageError(f"{place} has fields that a {model_type} model does not know: {', '.join(unknown)}{hint}")
    for name, part, part_known in _parts(table, known, place):
        check_fields(part, part_known, part_known["model_type"], f"{place}.{name}")


def with_tokens(table: Mapping[str, Any], known: Mapping[str, Any], tokenizer: Tokenizer) -> dict[str, Any]:
    """The table with vocabulary size and special token ids of the tokenizer where it does not give them."""
    fields = _filled(table, known, tokenizer)
    fields.setdefault("pad_token_id", tokenizer.pad_token_id)
    fields.setdefault("eos_token_id", tokenizer.eos_token_id)
    decoder = fields.get("decoder")
    # Types with parts do not see padding in what the decoder reads, so its start is another token. T5Gemma's model
    # calls it the decoder's bos_token_id.
    start = decoder.get("bos_token_id") if isinstance(decoder, dict) else tokenizer.pad_token_id
    fields.setdefault("decoder_start_token_id", start)
    if "forced_eos_token_id" in known:  # BART's default is the id in BART's own vocabulary
        fields.setdefault("forced_eos_token_id", tokenizer.eos_token_id)
    return fields


def check_vocabulary(config: Any, tokenizer: Tokenizer, place: str = "config") -> None:
    """Refuse a vocabulary that is smaller than the tokenizer.

    Raises:
        UsageError: One is.
    """
    for name in VOCABULARIES:
        size = getattr(config, name, None)
        if size is not None and size < len(tokenizer):
            raise UsageError(f"{place}.{name} is {size}, but the tokenizer has {len(tokenizer)} tokens; leave it out")
    for name in config.sub_configs:
        check_vocabulary(getattr(config, name), tokenizer, f"{place}.{name}")


def _filled(table: Mapping[str, Any], known: Mapping[str, Any], tokenizer: Tokenizer) -> dict[str, Any]:
    fields = dict(table)
    for name in VOCABULARIES:
        if name in known:
            fields.setdefault(name, len(tokenizer))
    for name, part, part_known in _parts(table, known):
        inner = _filled(part, part_known, tokenizer)
        ids = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
        for key, value in {**ids, "bos_token_id": fields.get("decoder_start_token_id", tokenizer.eos_token_id)}.items():
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
