"""The kit's checks of how a model reads rows and writes texts: what ships passes, and each mistake is named."""

from __future__ import annotations

import attrs
import pytest
import torch
from causal_kit import LLAMA, PAIRS, examples, model, tokenizer

from kdkit import models
from kdkit.api.options import Generation, TokenLimits
from kdkit.data.tokens import collate
from kdkit.models.causal import CausalModel
from kdkit.testing.sequences import check_greedy, check_masks, check_own_loss

KIND = models.DecoderOnly()
GREEDY = Generation(beams=1, max_new_tokens=6)
ROWS = KIND.encode(examples(*PAIRS), tokenizer(), TokenLimits(max_source=40, max_target=16))


@pytest.fixture(scope="module")
def causal():
    return model(LLAMA)


def batch():
    return collate(ROWS, pad_id=tokenizer().pad_token_id)


def faulty(causal, **methods):
    """The same module behind methods with a fault."""
    kind = attrs.frozen(kw_only=True, eq=False)(type("Faulty", (CausalModel,), methods))
    return kind(module=causal.module, tokenizer=causal.tokenizer)


def test_what_ships_passes(causal):
    check_masks("it", causal, batch())
    check_own_loss("it", KIND, causal, list(ROWS), batch())
    check_greedy("it", KIND, causal, batch(), GREEDY)


def test_padding_that_is_read_is_found(causal):
    def logits(self, batch):
        return CausalModel.logits(self, batch) + batch.source_ids_BS.sum() * 1e-2

    with pytest.raises(AssertionError, match="change with the ids of padding"):
        check_masks("it", faulty(causal, logits=logits), batch())


@pytest.mark.parametrize(
    "logits",
    [
        lambda self, batch: CausalModel.logits(self, batch).roll(1, dims=1),
        lambda self, batch: CausalModel.logits(self, batch) * 1.5,
    ],
    ids=["a place late", "a scale of its own"],
)
def test_logits_that_do_not_give_the_module_s_own_loss_are_found(causal, logits):
    with pytest.raises(AssertionError, match=r"and its module reports .* for the same labels"):
        check_own_loss("it", KIND, faulty(causal, logits=logits), list(ROWS), batch())


def test_texts_after_padding_on_the_right_are_found(causal, monkeypatch):
    monkeypatch.setattr("kdkit.models.causal.padded_left", lambda ids_BS, mask_BS: (ids_BS, torch.ones_like(mask_BS)))
    with pytest.raises(AssertionError, match=r"and its module alone writes .* it must not see padding"):
        check_greedy("it", KIND, causal, batch(), GREEDY)


def test_texts_that_the_logits_do_not_rank_first_are_found(causal):
    def logits(self, batch):
        return -CausalModel.logits(self, batch)

    with pytest.raises(AssertionError, match="that its logits of the labels do not rank first"):
        check_greedy("it", KIND, faulty(causal, logits=logits), batch(), GREEDY)


def test_a_text_that_ends_at_one_stop_token_of_several_is_found(causal):
    def adopt(self, options):
        CausalModel.adopt(self, options)
        self.module.generation_config.eos_token_id = self.tokenizer.eos_token_id

    with pytest.raises(AssertionError, match="must end at the first of several tokens that end texts"):
        check_greedy("it", KIND, faulty(causal, adopt=adopt), batch(), GREEDY)
