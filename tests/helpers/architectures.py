"""Every encoder-decoder of transformers that reads and writes text, tiny: `config` tables as a recipe has them."""

from __future__ import annotations

import warnings
from typing import Any

import tiny

WIDE = {"d_model": 16, "max_position_embeddings": 64}
SIDES = {
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 2,
    "decoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
}
T5 = {"d_model": 16, "d_ff": 32, "d_kv": 8, "num_layers": 2, "num_decoder_layers": 2, "num_heads": 2}
BERT = {
    "model_type": "bert",
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 64,
}
GEMMA = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 8,
    "query_pre_attn_scalar": 8,
    "sliding_window": 4,
}
VISION = {  # which T5Gemma2 has beside its text encoder
    "hidden_size": 8,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 1,
    "image_size": 28,
    "patch_size": 14,
}
PROPHETNET = {
    "hidden_size": 16,
    "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
    "num_encoder_layers": 2,
    "num_decoder_layers": 2,
    "num_encoder_attention_heads": 2,
    "num_decoder_attention_heads": 2,
    "max_position_embeddings": 64,
}
SEAMLESS = {  # the speech parts are not made for text
    "hidden_size": 16,
    "max_position_embeddings": 64,
    **SIDES,
}

CONFIGS: dict[str, dict[str, Any]] = {
    "bart": {**WIDE, **SIDES},
    "bigbird_pegasus": {**WIDE, **SIDES, "attention_type": "original_full"},
    "blenderbot": {**WIDE, **SIDES},
    "blenderbot-small": {**WIDE, **SIDES},
    "encoder-decoder": {"encoder": BERT, "decoder": BERT},
    "fsmt": {**WIDE, **SIDES},
    "led": {
        "d_model": 16,
        "max_encoder_position_embeddings": 64,
        "max_decoder_position_embeddings": 64,
        "attention_window": [4, 8],
        **SIDES,
    },
    "longt5": {**T5, "local_radius": 4},
    "m2m_100": {**WIDE, **SIDES},
    "marian": {**WIDE, **SIDES},
    "mbart": {**WIDE, **SIDES},
    "mt5": T5,
    "mvp": {**WIDE, **SIDES},
    "nllb-moe": {
        **WIDE,
        **SIDES,
        "num_experts": 2,
        "expert_capacity": 8,
        "encoder_sparse_step": 2,
        "decoder_sparse_step": 2,
    },
    "pegasus": {**WIDE, **SIDES},
    "pegasus_x": {**WIDE, **SIDES, "block_size": 4, "num_global_tokens": 4},
    "plbart": {**WIDE, **SIDES},
    "prophetnet": PROPHETNET,
    "seamless_m4t": SEAMLESS,
    "seamless_m4t_v2": SEAMLESS,
    "switch_transformers": {
        **T5,
        "num_experts": 2,
        "expert_capacity": 8,
        "num_sparse_encoder_layers": 1,
        "num_sparse_decoder_layers": 1,
    },
    "t5": T5,
    "t5gemma": {"encoder": GEMMA, "decoder": GEMMA},
    "t5gemma2": {"encoder": {"text_config": GEMMA, "vision_config": VISION}, "decoder": GEMMA},
    "umt5": T5,
}


def table(model_type: str, **fields: Any) -> dict[str, Any]:
    """The `config` table of a tiny model of that type."""
    return {"model_type": model_type, **CONFIGS[model_type], **fields}


def batch(tokenizer=None):
    """Some rows."""
    from kdkit.api.options import TokenLimits
    from kdkit.data.tokens import collate, encode

    tokenizer = tokenizer if tokenizer is not None else tiny.tokenizer()
    rows = encode(tiny.encoded(5)[0], tokenizer, TokenLimits(max_source=24, max_target=8))
    return collate(rows, pad_id=tokenizer.pad_token_id)


def hard_losses(model) -> tuple[float, float]:
    """Of some rows: the loss that a model itself reports for its labels, and the one that kdkit trains it on."""
    import torch

    from kdkit.models.decoding import decoder_inputs
    from kdkit.training.tokenloss import Forward

    rows, more = batch(model.tokenizer), {}
    if model.module.config.model_type == "fsmt":  # which makes no decoder inputs of its labels
        more = {"decoder_input_ids": decoder_inputs(model.module, rows.labels_BT)}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=FutureWarning)  # of encoder-decoder, about older releases
        own = model.module(
            input_ids=rows.source_ids_BS, attention_mask=rows.source_mask_BS, labels=rows.labels_BT, **more
        ).loss
        tokens = Forward.of(model)(rows, None)
        logits_NV = tokens.rows_NX if tokens.head is None else tokens.head(tokens.rows_NX)
        ours = torch.nn.functional.cross_entropy(logits_NV, tokens.labels_N)
    return float(own), float(ours)
