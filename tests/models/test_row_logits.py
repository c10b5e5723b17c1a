"""A teacher's logits are made some tokens at a time, and are those of the whole batch to the bit."""

from __future__ import annotations

import causal_kit
import numpy as np
import pytest
import tiny
import torch
from causal_kit import GEMMA2, GPT2, LLAMA, RWKV, SIZE

from kdkit.api.values import EncodedExample
from kdkit.builtin.teachers.asked_hf import OpenHFTeacher
from kdkit.data.tokens import collate, length_sorted
from kdkit.models import row_logits
from kdkit.system.progress import Silent

ROWS = [
    EncodedExample(id=str(n), source_ids=tuple(range(5, 7 + n % 4)), target_ids=tuple(range(8, 9 + 7 * n % 23)))
    for n in range(21)
]
GRANITE = {"model_type": "granite", **SIZE, "logits_scaling": 7.0}
COHERE = {"model_type": "cohere", **SIZE}
MADE = {
    "llama": lambda: causal_kit.model(LLAMA), "gpt2": lambda: causal_kit.model(GPT2),
    "capped": lambda: causal_kit.model(GEMMA2, final_logit_softcapping=3.0),
    "scaled": lambda: causal_kit.model(GRANITE), "other scale": lambda: causal_kit.model(COHERE),
    "recurrent": lambda: causal_kit.model(RWKV), "t5": lambda: tiny.model(tiny.T5), "bart": lambda: tiny.model(tiny.BART),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "dtype"),
    [*((name, torch.float32) for name in MADE), *((name, torch.bfloat16) for name in ("capped", "scaled", "bart"))],
)
def test_no_more_than_some_tokens_are_in_the_head_and_nothing_shows_of_it(name, dtype, monkeypatch):
    made = MADE[name]()
    made.module.eval().to(dtype)
    if name == "bart":
        made.module.final_logits_bias += torch.randn(made.vocab_size).to(dtype)
    monkeypatch.setattr(row_logits, "CHUNK_BYTES", 17 * 4 * made.vocab_size)
    sizes = []
    made.module.get_output_embeddings().register_forward_hook(
        lambda _, __, logits: sizes.append(logits[..., 0].numel())
    )
    batches = length_sorted(ROWS, 8)
    whole = {}
    for rows in batches:
        with torch.inference_mode():
            logits_BTV = made.logits(collate(rows, pad_id=made.tokenizer.pad_token_id)).float().numpy()
        whole |= {row.id: logits_TV[: len(row.target_ids)] for row, logits_TV in zip(rows, logits_BTV, strict=True)}
    assert max(sizes) > 80
    sizes.clear()
    asked = OpenHFTeacher(model=made, identity="", device="cpu", batch_size=8)
    for done in (set(), {"3", "4", "5", "20"}):
        blocks = {block.id: block.logits_TV for block in asked.logits(ROWS, Silent(), done=done)}
        assert blocks.keys() == whole.keys() - done
        for id_, logits_TV in blocks.items():
            np.testing.assert_array_equal(logits_TV, whole[id_])
    assert max(sizes) <= 17


def test_a_model_that_does_more_than_its_states_tell_is_asked_for_whole_batches():
    """Here with what follows the head depending on the place of a token."""
    made = tiny.model(tiny.T5)
    own = made.module.forward

    def placed(**options):
        output = own(**options)
        output.logits = output.logits * torch.arange(1, output.logits.shape[1] + 1)[None, :, None]
        return output

    made.module.forward = placed
    made.module.eval()
    assert made.logits_of_states() is None
    asked = OpenHFTeacher(model=made, identity="", device="cpu", batch_size=8)
    (first, *_) = length_sorted(ROWS, 8)
    with torch.inference_mode():
        logits_BTV = made.logits(collate(first, pad_id=made.tokenizer.pad_token_id)).numpy()
    for block, logits_TV in zip(asked.logits(ROWS, Silent()), logits_BTV, strict=False):
        np.testing.assert_array_equal(block.logits_TV, logits_TV[: len(block.logits_TV)])
