"""Tiny tokenizers of translation models, made without the network: their languages, vocabularies and marks are real."""

from __future__ import annotations

from pathlib import Path

CHARACTERS = "▁abcdefghijklmnopqrstuvwxyz0123456789="
TINY = {
    "d_model": 16, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 64,
}  # fmt: skip
"""Fields of a configuration that BART and its kin share."""


def nllb(**languages):
    """Targets are marked at their beginning: `deu_Latn ... </s>`."""
    from transformers import NllbTokenizer

    vocabulary = {token: i for i, token in enumerate(["<s>", "<pad>", "</s>", "<unk>", *CHARACTERS])}
    codes = ["eng_Latn", "deu_Latn", "fra_Latn"]
    return NllbTokenizer(vocab=vocabulary, merges=[], extra_special_tokens=codes, **languages)


def mbart(**languages):
    """Targets are marked at their end: `... </s> de_DE`."""
    from transformers import MBartTokenizer

    vocabulary = [(token, 0.0) for token in ("<s>", "<pad>", "</s>", "<unk>")] + [(each, -2.0) for each in CHARACTERS]
    return MBartTokenizer(vocab=vocabulary, **languages)


def saved(tokenizer, folder: Path) -> str:
    """The tokenizer's folder, beside what transformers needs to know the tokenizer by."""
    tokenizer.save_pretrained(folder)
    return str(folder)
