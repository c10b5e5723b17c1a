"""Tiny decoder-only models, and rows for them."""

from __future__ import annotations

import functools

SIZE = {
    "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2,
    "num_key_value_heads": 1,
}  # fmt: skip
LLAMA = {"model_type": "llama", **SIZE}
GPT2 = {"model_type": "gpt2", "n_embd": 16, "n_layer": 3, "n_head": 2, "n_positions": 64}
GEMMA2 = {"model_type": "gemma2", **SIZE, "head_dim": 8}
RWKV = {"model_type": "rwkv", "hidden_size": 16, "num_hidden_layers": 2, "attention_hidden_size": 16}


@functools.cache
def tokenizer():
    """A byte-level BPE that puts nothing around a text; shared, never changed."""
    import tiny

    from kdkit.models import train_bpe

    return train_bpe([text for pair in tiny.pairs(200) for text in pair], vocab_size=tiny.VOCAB, ends_texts=False)


def beginning_with_pad():
    """A tokenizer that puts `<pad>` before each text."""
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    from kdkit.models import train_bpe

    its = train_bpe(["max of 3 and 4"], vocab_size=270, ends_texts=False)
    backend = its.backend_tokenizer
    backend.post_processor = processors.TemplateProcessing(single="<pad> $A", special_tokens=[("<pad>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", bos_token="<pad>", eos_token="</s>")


def examples(*pairs):
    """Rows of prompts and completions."""
    from kdkit.api.values import Example

    return [Example(id=str(i), source=source, target=target) for i, (source, target) in enumerate(pairs)]


PAIRS = (("max of 3 and 4", " == 4"), ("x", "== 3 x x"), ("", "max of 1"), ("max of 1 and 2 x x x", " =="))


def encoded(pairs, **limits):
    """Rows as token ids."""
    from kdkit.api.options import TokenLimits
    from kdkit.data.sequences import encode_sequences

    most = {"max_source": 40, "max_target": 16} | limits
    return encode_sequences(examples(*pairs), tokenizer(), TokenLimits(**most))


def batch(*pairs):
    """Rows as a batch."""
    from kdkit.data.tokens import collate

    rows = encoded(pairs or PAIRS)
    return collate(rows, pad_id=tokenizer().pad_token_id)


def model(table=None, *, seed=1, **fields):
    """A new model whose weights are large enough to tell tokens apart."""
    from kdkit import models

    config = models.config_from({**(table or LLAMA), **fields}, tokenizer(), models.DecoderOnly().auto)
    module = models.new_model(config, seed=seed).eval()
    for weight in module.parameters():
        if weight.dim() > 1:
            weight.data.mul_(3)
    return models.causal_model(module, tokenizer())


@functools.cache
def chat_tokenizer(template, *, begins=False):
    """A byte-level BPE with tokens for roles and a chat template; shared, never changed."""
    import tiny

    from kdkit.models import train_bpe

    words = [text for pair in tiny.pairs(200) for text in pair]
    made = beginning_with_pad() if begins else train_bpe(words, vocab_size=tiny.VOCAB, ends_texts=False)
    made.add_special_tokens({"additional_special_tokens": ["<|system|>", "<|user|>", "<|assistant|>"]})
    made.chat_template = template
    return made
