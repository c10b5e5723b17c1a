"""The memory and time of a capture by a codec that takes logits: with those of a whole batch, and row by row.

    python benchmarks/capture_memory.py

A new model of 49,152 tokens with a small body says the same rows to `topk` in both ways, each in a process of its own.
Printed are the memory above that of the open model, the time, and a digest of the records, which must be equal.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kdkit.api.values import EncodedExample, TeacherBlock
    from kdkit.builtin.teachers.asked_hf import OpenHFTeacher

VOCABULARY, HIDDEN = 49_152, 576
WAYS = ("batch", "rows")


def main() -> None:
    """Run both ways, or one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--way", choices=WAYS, help="one way only, in this process")
    parser.add_argument("--tokens", type=int, default=128, help="labels of the longest row")
    parser.add_argument("--batch", type=int, default=16, help="rows a batch")
    parser.add_argument("--batches", type=int, default=2, help="how many batches")
    parser.add_argument("--dtype", default="float32")
    options = parser.parse_args()
    if options.way:
        measure(options)
        return
    print(f"{options.batches} batches of {options.batch} rows of up to {options.tokens} labels, {options.dtype}")
    for way in WAYS:
        subprocess.run([sys.executable, __file__, *sys.argv[1:], "--way", way], check=True)


def measure(options: argparse.Namespace) -> None:
    """One way: print what it takes."""
    from kdkit.api.values import EncodedExample
    from kdkit.builtin.codecs.topk import TopK
    from kdkit.system.progress import Silent

    teacher = opened(options)
    rows = [
        EncodedExample(
            id=str(n),
            source_ids=tuple(5 + (n + i) % 1000 for i in range(32)),
            target_ids=tuple(7 + (n * i) % 1000 for i in range(options.tokens * (2 + n % 3) // 4)),
        )
        for n in range(options.batch * options.batches)
    ]
    codec, digest = TopK(), hashlib.sha256()
    blocks = teacher.logits if options.way == "rows" else lambda rows, _: of_batches(teacher, rows)
    for block in blocks(rows[:1], Silent()):  # what is made once
        codec.encode(block)
    before, began = peak(), time.process_time()
    for block in blocks(rows, Silent()):
        digest.update(codec.encode(block))
    seconds = time.process_time() - began
    print(
        f"{options.way:>6}: {peak() - before:7.0f} MB more, {seconds:6.2f} s of CPU, records {digest.hexdigest()[:16]}"
    )


def opened(options: argparse.Namespace) -> OpenHFTeacher:
    """The teacher."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from kdkit.builtin.teachers.asked_hf import OpenHFTeacher
    from kdkit.models import CausalModel, train_bpe

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=HIDDEN, intermediate_size=2 * HIDDEN, num_hidden_layers=2,
        num_attention_heads=9, tie_word_embeddings=True,
    )  # fmt: skip
    module: Any = LlamaForCausalLM(config).eval().to(getattr(torch, options.dtype))
    tokenizer = train_bpe(["a text"], vocab_size=270, ends_texts=False)
    return OpenHFTeacher(
        model=CausalModel(module=module, tokenizer=tokenizer), identity="", device="cpu", batch_size=options.batch
    )


def of_batches(teacher: OpenHFTeacher, rows: Sequence[EncodedExample]) -> Iterator[TeacherBlock]:
    """The other way: the logits of a batch at once."""
    import torch

    from kdkit.api.values import TeacherBlock
    from kdkit.data.tokens import collate, length_sorted

    for batch_rows in length_sorted(rows, teacher.batch_size):
        batch = collate(batch_rows, pad_id=teacher.tokenizer.pad_token_id)
        with torch.inference_mode():
            logits_BTV = teacher.model.logits(batch).float().cpu().numpy()
        for row, logits_TV in zip(batch_rows, logits_BTV, strict=True):
            yield TeacherBlock(id=row.id, logits_TV=logits_TV[: len(row.target_ids)])


def peak() -> float:
    """The most memory that this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e6 if sys.platform == "darwin" else 1e3)


if __name__ == "__main__":
    main()
