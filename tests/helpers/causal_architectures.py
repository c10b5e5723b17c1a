"""Decoder-only models that people use, tiny: `config` tables as a recipe has them, and what is tried with a type."""

from __future__ import annotations

import json
import warnings
from typing import TYPE_CHECKING, Any

import tiny
from architecture_runs import SAME, byte_level, merged, said, students, texts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

WIDE = {"hidden_size": 16, "num_hidden_layers": 2}
SIZE = {**WIDE, "intermediate_size": 32, "num_attention_heads": 2}
GROUPED = {**SIZE, "num_key_value_heads": 1}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
GEMMA = {**GROUPED, "head_dim": 8, "query_pre_attn_scalar": 8, "sliding_window": 4}
GPT2 = {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 64}
LATENT = {
    "q_lora_rank": 8, "kv_lora_rank": 8, "qk_rope_head_dim": 4, "qk_nope_head_dim": 4, "v_head_dim": 8,
    "num_key_value_heads": 2, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1, "n_shared_experts": 1,
    "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
}  # fmt: skip
MAMBA2 = {"state_size": 8, "num_heads": 4, "head_dim": 8, "n_groups": 1, "chunk_size": 4}
BAMBA = {"mamba_d_state": 8, "mamba_n_heads": 4, "mamba_d_head": 8, "mamba_n_groups": 1, "mamba_chunk_size": 4}
CONFIGS: dict[str, dict[str, Any]] = {
    "apertus": GROUPED,
    "arcee": GROUPED,
    "bamba": {**GROUPED, **BAMBA, "attn_layer_indices": [1]},
    "bloom": {"hidden_size": 16, "n_layer": 2, "n_head": 2},
    "codegen": {**GPT2, "n_ctx": 64, "n_head": 4, "rotary_dim": 4},
    "cohere": GROUPED,
    "cohere2": {**GROUPED, "sliding_window": 4},
    "deepseek_v2": {**SIZE, **LATENT, "topk_method": "greedy"},
    "deepseek_v3": {**SIZE, **LATENT},
    "ernie4_5": {**GROUPED, "head_dim": 8},
    "exaone4": {**GROUPED, "sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]},
    "falcon": {**WIDE, "num_attention_heads": 2},
    "falcon_h1": {**GROUPED, **BAMBA, "mamba_d_ssm": 32},
    "falcon_mamba": {**WIDE, "state_size": 8},
    "gemma": {**GROUPED, "head_dim": 8},
    "gemma2": GEMMA,
    "gemma3_text": GEMMA,
    "glm": {**GROUPED, "head_dim": 8},
    "glm4": {**GROUPED, "head_dim": 8},
    "glm4_moe": {**GROUPED, "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
                 "first_k_dense_replace": 1},
    "gpt2": GPT2,
    "gpt_bigcode": GPT2,
    "gpt_neo": {"hidden_size": 16, "num_layers": 2, "num_heads": 2, "attention_types": [[["global", "local"], 1]],
                "max_position_embeddings": 64, "window_size": 4},
    "gpt_neox": SIZE,
    "gpt_oss": {**GROUPED, "head_dim": 8, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 4},
    "gptj": {**GPT2, "rotary_dim": 4},
    "granite": {**GROUPED, "logits_scaling": 8.0},
    "granitemoe": {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2, "logits_scaling": 8.0},
    "helium": {**GROUPED, "head_dim": 8},
    "hunyuan_v1_dense": {**GROUPED, "head_dim": 8},
    "jamba": {**GROUPED, "mamba_d_state": 8, "num_experts": 2, "attn_layer_period": 2, "attn_layer_offset": 1,
              "use_mamba_kernels": False},
    "lfm2": {**GROUPED, "layer_types": ["conv", "full_attention"]},
    "llama": GROUPED,
    "mamba": {**WIDE, "state_size": 8},
    "mamba2": {**WIDE, **MAMBA2},
    "minimax": {**GROUPED, "head_dim": 8, "num_local_experts": 4, "block_size": 4,
                "layer_types": ["linear_attention", "full_attention"]},
    "ministral": {**GROUPED, "head_dim": 8, "sliding_window": 4},
    "mistral": GROUPED,
    "mixtral": {**GROUPED, "num_local_experts": 4},
    "mpt": {"d_model": 16, "n_heads": 2, "n_layers": 2, "max_seq_len": 64},
    "nemotron": {**GROUPED, "head_dim": 8},
    "olmo": GROUPED,
    "olmo2": GROUPED,
    "olmo3": {**GROUPED, "sliding_window": 4},
    "olmoe": {**GROUPED, "num_experts": 4, "num_experts_per_tok": 2},
    "opt": {**WIDE, "ffn_dim": 32, "num_attention_heads": 2, "word_embed_proj_dim": 16, "max_position_embeddings": 64},
    "persimmon": {**SIZE, "num_attention_heads": 2},
    "phi": GROUPED,
    "phi3": {**GROUPED, "pad_token_id": 0},
    "phimoe": {**GROUPED, "num_local_experts": 4},
    "qwen2": GROUPED,
    "qwen2_moe": {**GROUPED, **EXPERTS, "shared_expert_intermediate_size": 16},
    "qwen3": {**GROUPED, "head_dim": 8},
    "qwen3_moe": {**GROUPED, **EXPERTS},
    "qwen3_next": {**GROUPED, "head_dim": 8, **EXPERTS, "shared_expert_intermediate_size": 16,
                   "linear_num_key_heads": 2, "linear_num_value_heads": 2, "linear_key_head_dim": 8,
                   "linear_value_head_dim": 8, "layer_types": ["linear_attention", "full_attention"]},
    "recurrent_gemma": {**SIZE, "num_key_value_heads": 1, "lru_width": 16, "attention_window_size": 8,
                        "block_types": ["recurrent", "attention"]},
    "rwkv": {**WIDE, "num_hidden_layers": 3, "attention_hidden_size": 16},
    "seed_oss": {**GROUPED, "head_dim": 8},
    "smollm3": GROUPED,
    "stablelm": GROUPED,
    "starcoder2": GROUPED,
    "xglm": {"d_model": 16, "ffn_dim": 32, "num_layers": 2, "attention_heads": 2, "max_position_embeddings": 64},
}  # fmt: skip

GEMMA_TOKENS = merged("GemmaTokenizer", ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>"))
OWN: dict[str, Callable[[Path], Any]] = {
    "GPT2Tokenizer": byte_level("GPT2Tokenizer"),
    "GPTNeoXTokenizer": byte_level("GPTNeoXTokenizer"),
    "Qwen2Tokenizer": byte_level("Qwen2Tokenizer"),
    "CohereTokenizer": byte_level("CohereTokenizer"),
    "GemmaTokenizer": GEMMA_TOKENS,
    "LlamaTokenizer": merged("LlamaTokenizer", ("<unk>", "<s>", "</s>"), add_bos_token=True),
}
"""Tokenizers by the class that transformers has for a type; the rest have Llama's, which puts one token before a text."""


def own_tokenizer(model_type: str, folder: Path) -> Any:
    """A tokenizer of a type's own class."""
    from transformers.models.auto.tokenization_auto import TOKENIZER_MAPPING_NAMES

    return OWN.get(TOKENIZER_MAPPING_NAMES.get(model_type) or "", OWN["LlamaTokenizer"])(folder)


KEPT = {"bamba": [1], "jamba": [0, 1], "lfm2": [1], "qwen3_next": [1], "recurrent_gemma": [0, 1], "rwkv": [0, 1]}
"""The teacher's layers that a student keeps, where the first alone makes no model (RWKV divides by the number of layers
less one), or one without attention, whose texts are written without a cache."""


def table(model_type: str) -> dict[str, Any]:
    """The `config` table of a tiny model of that type."""
    return {"model_type": model_type, **CONFIGS[model_type]}


def tried_causal(model_type: str, folder: Path) -> dict[str, str]:
    """What was tried with a type, and that it works, or what was said instead."""
    return {name: said(step, folder) for name, step in _steps(model_type, folder)}


def _steps(model_type: str, folder: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    config = table(model_type)
    new = {"teacher__name": "hf-causal", "teacher__config": config}
    kept = {"student": {"name": "hf-causal", "from_teacher": {"layers": KEPT.get(model_type, [0])}}}
    yield "subspace", lambda: _run(folder, "subspace", **new, **kept, codec={"name": "subspace"})
    yield "from_teacher", lambda: _once(folder, "subspace", **new, **kept)
    yield (
        "folder",
        lambda: _run(folder, "folder", **_folder(model_type, folder), student={"name": "hf-causal", "config": config}),
    )
    yield "reopened", lambda: _reopened(folder)
    yield "hard_loss", lambda: _same_hard_loss(folder)


def _run(folder: Path, name: str, **changes: Any) -> None:
    fewer = {"training__epochs": 1, "generation": {"beams": 1, "max_new_tokens": 8, "batch_size": 3}}
    where = {"store": {"dir": str(folder / "store")}, "training__best_by": "loss"}
    tiny.run_here(folder, name, train=16, validation=3, **where, **fewer, **changes)


def _once(folder: Path, name: str, **changes: Any) -> None:
    """The same, unless a run of that name has ended: there the layers of the teacher were tried too."""
    if not (folder / "runs" / name / "report.html").is_file():
        _run(folder, "other codec", **changes)


def _folder(model_type: str, folder: Path) -> dict[str, Any]:
    """A teacher that is a folder with a tokenizer of the type's own."""
    from kdkit import models

    parts, kind = folder / "parts", models.DecoderOnly()
    parts.mkdir()
    own_tokenizer(model_type, parts).save_pretrained(folder / "tokenizer")
    tokenizer = kind.load_tokenizer(str(folder / "tokenizer"))
    config = models.config_from(table(model_type), tokenizer, kind.auto)
    models.causal_model(models.new_model(config, seed=0), tokenizer).save(folder / "teacher", texts={})
    return {"teacher": {"name": "hf-causal", "model": str(folder / "teacher")}}


def _reopened(folder: Path) -> None:
    """Plain transformers writes of the saved students what `kdkit predict` writes."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    for student in students(folder):
        model, tokenizer = AutoModelForCausalLM.from_pretrained(student), AutoTokenizer.from_pretrained(student)
        made = []
        for line in (folder / "validation.jsonl").read_text().splitlines():
            inputs = tokenizer(json.loads(line)["text"], return_tensors="pt", return_token_type_ids=False)
            ids = model.generate(**inputs)[0, inputs.input_ids.shape[1] :]
            made.append(tokenizer.decode(ids, skip_special_tokens=True))
        assert made == texts_of(folder, student), f"{student.parts[-3]}: plain transformers writes other texts"


def _same_hard_loss(folder: Path) -> None:
    """The loss that teachers and students report of labels is the one that kdkit trains them on."""
    from kdkit import models

    kind = models.DecoderOnly()
    for saved in [*students(folder), *folder.glob("runs/*/teacher"), *folder.glob("teacher")]:
        module = models.load_model(str(saved), kind.auto).eval()
        own, ours = hard_losses(models.causal_model(module, kind.load_tokenizer(str(saved))))
        assert abs(own - ours) <= SAME * own, f"{saved.relative_to(folder)}: its own is {own:.6f}, kdkit's {ours:.6f}"


def hard_losses(model: Any) -> tuple[float, float]:
    """Of some rows: the loss that a model itself reports for its labels, and the one that kdkit trains it on."""
    import torch

    from kdkit.api.options import TokenLimits
    from kdkit.api.values import IGNORED
    from kdkit.data.sequences import encode_sequences
    from kdkit.data.tokens import collate
    from kdkit.training.tokenloss import Forward

    limits = TokenLimits(max_source=24, max_target=8)
    rows = encode_sequences(tiny.encoded(5)[0], model.tokenizer, limits)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        total = tokens = 0.0
        for row in rows:
            labels = [IGNORED] * len(row.source_ids) + list(row.target_ids)
            ids = torch.tensor([[*row.source_ids, *row.target_ids]])
            own = model.module(input_ids=ids, labels=torch.tensor([labels]), use_cache=False).loss
            total, tokens = total + float(own) * len(row.target_ids), tokens + len(row.target_ids)
        batch = collate(rows, pad_id=model.tokenizer.pad_token_id)
        told = Forward.of(model)(batch, None)
        logits_NV = told.rows_NX if told.head is None else told.head(told.rows_NX)
        ours = torch.nn.functional.cross_entropy(logits_NV, told.labels_N)
    return total / tokens, float(ours)
