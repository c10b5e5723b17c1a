"""Hugging Face models and tokenizers, as kdkit uses them."""

from __future__ import annotations

from kdkit.models.adapters import add_adapters, check_lora, count_adapters
from kdkit.models.causal import CausalModel, causal_model
from kdkit.models.ends import end_ids, stops_of
from kdkit.models.kinds import DecoderOnly, EncoderDecoder, HFKind
from kdkit.models.languages import adopt_languages, set_languages
from kdkit.models.last_layers import parameters_of_last_layers, train_last_layers
from kdkit.models.layers import config_with_layers, keep_layers, layer_counts
from kdkit.models.layout import (
    begin_alike,
    check_beginning,
    generation_of,
    logits_digest,
    new_config,
    rules_beside,
    write_like,
)
from kdkit.models.loading import (
    config_from,
    load_config,
    load_tokenizer,
    read_config,
)
from kdkit.models.making import looked_at, new_model, size_of
from kdkit.models.open_model import count_parameters, device_of
from kdkit.models.opening import Spread, load_model
from kdkit.models.places import find_folder, name_for_others
from kdkit.models.ranking import measure_importance
from kdkit.models.reopening import check_reopens
from kdkit.models.seq2seq import Seq2SeqModel
from kdkit.models.tokenizers import (
    check_same_tokenizer,
    decoding_digest,
    ends_texts,
    same_tokens,
    source_size,
    target_size,
    tokenizer_digest,
    train_bpe,
)
from kdkit.models.vocabulary import check_trimmable
from kdkit.models.weights import check_weights, unchanged, weight_files, weights_digest
from kdkit.models.width import choose_width, config_of_width, keep_width

__all__ = [
    "CausalModel",
    "DecoderOnly",
    "EncoderDecoder",
    "HFKind",
    "Seq2SeqModel",
    "Spread",
    "add_adapters",
    "adopt_languages",
    "begin_alike",
    "causal_model",
    "check_beginning",
    "check_lora",
    "check_reopens",
    "check_same_tokenizer",
    "check_trimmable",
    "check_weights",
    "choose_width",
    "config_from",
    "config_of_width",
    "config_with_layers",
    "count_adapters",
    "count_parameters",
    "decoding_digest",
    "device_of",
    "end_ids",
    "ends_texts",
    "find_folder",
    "generation_of",
    "keep_layers",
    "keep_width",
    "layer_counts",
    "load_config",
    "load_model",
    "load_tokenizer",
    "logits_digest",
    "looked_at",
    "measure_importance",
    "name_for_others",
    "new_config",
    "new_model",
    "parameters_of_last_layers",
    "read_config",
    "rules_beside",
    "same_tokens",
    "set_languages",
    "size_of",
    "source_size",
    "stops_of",
    "target_size",
    "tokenizer_digest",
    "train_bpe",
    "train_last_layers",
    "unchanged",
    "weight_files",
    "weights_digest",
    "write_like",
]
