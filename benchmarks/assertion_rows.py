"""What the benchmarks train on and with: rows as long as real test assertions, and models of CodeT5's shapes.

Weights are random. Rows are either those of a folder of Java test methods, through a tokenizer, or random ids of
lengths from the same distribution.
"""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path

import numpy as np

from kdkit import models
from kdkit.api.options import TokenLimits
from kdkit.api.values import EncodedExample, Example
from kdkit.data.tokens import encode

VOCAB = 32_100
LIMITS = TokenLimits(max_source=1024, max_target=512)
# As the two models are published; both with dropout 0.1, the default of T5.
SMALL = {"d_model": 512, "num_layers": 6, "num_heads": 8, "d_ff": 2048, "d_kv": 64}
BASE = {"d_model": 768, "num_layers": 12, "num_heads": 12, "d_ff": 3072, "d_kv": 64}
TINY = {"d_model": 16, "num_layers": 2, "num_heads": 2, "d_ff": 32, "d_kv": 8}
# Lengths in tokens, at each twentieth of the rows, of 14,653 Java test methods of eleven open-source projects with
# their assertions masked: prompt ("FOCAL CODE: ... TEST METHOD: ...", cut at 1,024) and assertions, both by CodeT5's
# tokenizer with its special tokens. Means are 259 and 39; their ranks correlate by 0.10, which is taken for nothing.
SOURCE_LENGTHS = (
    47, 87, 104, 120, 133, 144, 157, 170, 181, 194, 209, 227, 246, 270, 296, 324, 359, 410, 480, 596, 1024,
)  # fmt: skip
TARGET_LENGTHS = (7, 10, 13, 15, 17, 19, 21, 23, 25, 27, 29, 32, 36, 39, 44, 50, 56, 65, 76, 96, 256)


def add_arguments(parser) -> None:
    """Those that say where rows come from."""
    parser.add_argument(
        "--data", type=Path, help="folder with a train.jsonl.gz of rows with focal_code, test_masked, assertions, id"
    )
    parser.add_argument("--tokenizer", help="tokenizer of these rows; random ids where both are left out")


def check_arguments(parser, options) -> None:
    """Refuse half of them."""
    if (options.data is None) != (options.tokenizer is None):
        parser.error("--data and --tokenizer belong together")


def make_tokenizer(name: str | None, vocab_size: int = VOCAB):
    """The named one; else one of as many words, which is all that random ids need."""
    if name is not None:
        return models.load_tokenizer(name)
    from tokenizers import Tokenizer, pre_tokenizers
    from tokenizers import models as tokenizer_models
    from transformers import PreTrainedTokenizerFast

    special = ["<pad>", "<s>", "</s>", "<unk>"]
    words = [*special, *(f"w{number}" for number in range(len(special), vocab_size))]
    inner = Tokenizer(
        tokenizer_models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="<unk>")
    )
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token="<pad>", bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


def make_rows(count: int, *, seed: int, data: Path | None, tokenizer, scale: float = 1.0) -> list[EncodedExample]:
    """Rows in random order whose sources are spread evenly over the distribution's ranks, whatever their number.

    Args:
        count: How many.
        seed: Of order, ids and which target goes with which source.
        data: See `add_arguments`; None for random ids.
        tokenizer: What encodes rows of data, or whose ids are drawn from.
        scale: Multiplies the lengths of rows that are drawn.
    """
    draw = random.Random(seed)
    ranks = [(number + draw.random()) / count for number in range(count)]
    rows = _drawn(ranks, draw, tokenizer, scale) if data is None else _read(ranks, data, tokenizer)
    draw.shuffle(rows)
    return rows


def _drawn(ranks, draw, tokenizer, scale) -> list[EncodedExample]:
    twentieths = np.linspace(0, 1, len(SOURCE_LENGTHS))
    sources = np.interp(ranks, twentieths, SOURCE_LENGTHS) * scale
    targets = np.interp(draw.sample(ranks, len(ranks)), twentieths, TARGET_LENGTHS) * scale
    ends = tokenizer.bos_token_id, tokenizer.eos_token_id

    def ids(length: float) -> tuple[int, ...]:
        return (ends[0], *(draw.randrange(4, len(tokenizer)) for _ in range(max(round(length) - 2, 1))), ends[1])

    return [
        EncodedExample(id=f"row{number}", source_ids=ids(source), target_ids=ids(target))
        for number, (source, target) in enumerate(zip(sources, targets, strict=True))
    ]


def _read(ranks, data, tokenizer) -> list[EncodedExample]:
    with gzip.open(data / "train.jsonl.gz", "rt", encoding="utf-8") as lines:
        rows = sorted(map(json.loads, lines), key=lambda row: len(row["focal_code"]) + len(row["test_masked"]))
    chosen = [rows[int(rank * len(rows))] for rank in ranks]
    examples = [
        Example(
            id=row["id"],
            source=f"FOCAL CODE:\n{row['focal_code']}\n\nTEST METHOD:\n{row['test_masked']}",
            target="\n".join(row["assertions"]),
        )
        for row in chosen
    ]
    return encode(examples, tokenizer, LIMITS)


def make_model(shape: dict, tokenizer, *, seed: int, dropout: float = 0.1) -> models.Seq2SeqModel:
    """A T5 of a shape with random weights."""
    table = {"model_type": "t5", "dropout_rate": dropout, **shape}
    module = models.new_model(models.config_from(table, tokenizer), seed=seed).eval()
    return models.Seq2SeqModel(module=module, tokenizer=tokenizer)


def forward_flops(shape: dict, vocab_size: int, sources: list[int], targets: list[int], head_tokens: int) -> float:
    """Floating-point operations of the matrix products in a forward pass.

    Args:
        shape: The model's.
        vocab_size: Width of its logits.
        sources: Source tokens of each row, padding included.
        targets: Target tokens of each row, padding included.
        head_tokens: Tokens that logits are made of.
    """
    width, inner = shape["d_model"], shape["num_heads"] * shape["d_kv"]
    projection, feed_forward = width * inner, 2 * width * shape["d_ff"]
    products = 0.0
    for source, target in zip(sources, targets, strict=True):
        encoder = source * (4 * projection + feed_forward) + 2 * source * source * inner
        # Self-attention, queries and output of the attention to the source, and that attention's keys and values.
        decoder = target * (6 * projection + feed_forward) + source * 2 * projection
        decoder += 2 * target * (target + source) * inner
        products += shape["num_layers"] * (encoder + decoder)
    return 2 * (products + head_tokens * width * vocab_size)
