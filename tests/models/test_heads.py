"""What a model's head gives is what its logits are, or its own logits are taken."""

from __future__ import annotations

import pytest
import tiny
import torch
from architectures import GEMMA, batch, hard_losses, table

from kdkit.api.values import EncodedExample
from kdkit.data.tokens import collate
from kdkit.models.heads import head_layer
from kdkit.training.tokenloss import Forward


def gemma(cap: float | None):
    return tiny.model(table("t5gemma", decoder={**GEMMA, "final_logit_softcapping": cap}))


def train(model, *, weight: float) -> None:
    """Far from where it began: logits of some dozens."""
    with torch.no_grad():
        for parameter in model.module.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)), alpha=weight)


@pytest.mark.parametrize("grown", [False, True], ids=["new", "trained"])
@pytest.mark.parametrize("cap", [30.0, None])
def test_a_soft_cap_is_seen_on_a_new_model_too_whose_logits_are_far_below_it(cap, grown):
    model = gemma(cap)
    assert (model.head_function() is None) == (model.head() is None) == (cap is not None)
    if grown:
        train(model, weight=0.5)
        assert (model.head_function() is None) == (cap is not None)
    assert_own_loss(model)
    assert_trained_on_own_logits(model)


def assert_own_loss(model):
    """Training, validation and scores go through the same forward pass."""
    own, ours = hard_losses(model)
    assert ours == pytest.approx(own, rel=1e-6)


def assert_trained_on_own_logits(model):
    rows = batch()
    with torch.no_grad():
        tokens = Forward.of(model)(rows, None)
        made_NV = tokens.rows_NX if tokens.head is None else tokens.head(tokens.rows_NX)
        own_BTV = model.logits(rows)
    torch.testing.assert_close(made_NV, own_BTV[rows.labels_BT != -100], rtol=1e-5, atol=1e-6)


AFTER = {
    "capped at 1000": lambda logits: 1000 * torch.tanh(logits / 1000),
    "log-probabilities": lambda logits: logits.log_softmax(-1),
    "one entry masked": lambda logits: torch.where(torch.arange(logits.shape[-1]) == 3, -1e4, logits),
    "cut": lambda logits: logits[..., :-1],
}


FOLDED = {"scaled by a thousandth": lambda logits: logits * 1.001, "divided": lambda logits: logits / 7}


@pytest.mark.parametrize("after", [*AFTER.values(), *FOLDED.values()], ids=[*AFTER, *FOLDED])
def test_whatever_follows_a_head_but_a_fixed_scale_has_the_models_own_logits_taken(after):
    model = tiny.model(tiny.T5)
    own = model.module.forward

    def forward(**options):
        output = own(**options)
        output.logits = after(output.logits)
        return output

    assert model.head_function() is not None
    model.module.forward = forward
    is_folded = after in FOLDED.values()
    assert (model.head_function() is not None) == (model.head() is not None) == is_folded
    assert_trained_on_own_logits(model)


@pytest.mark.parametrize("tied", [True, False])
def test_a_head_for_which_the_model_names_its_embeddings_is_found(tied):
    model = tiny.model(table("fsmt", src_vocab_size=300, tie_word_embeddings=tied))
    assert head_layer(model.module) is model.module.model.decoder.output_projection
    assert model.head() is not None
    assert model.vocab_size == tiny.VOCAB
    assert_trained_on_own_logits(model)


def test_a_head_that_gives_several_streams_has_the_models_own_logits_taken():
    model = tiny.model(table("prophetnet", disable_ngram_loss=True))
    assert model.head_function() is None
    assert_own_loss(model)
    assert_trained_on_own_logits(model)


def test_looking_at_the_head_leaves_the_generator_and_the_mode_alone():
    model = tiny.model(tiny.T5)
    model.module.train()
    before = torch.get_rng_state()
    model.head_function()
    assert torch.equal(torch.get_rng_state(), before)
    assert model.module.training
    assert all(parameter.grad is None for parameter in model.module.parameters())


def test_a_shift_that_writes_into_its_labels_leaves_the_batchs_alone():
    rows = batch()
    before = rows.labels_BT.clone()
    tiny.model(table("fsmt")).logits(rows)
    assert torch.equal(rows.labels_BT, before)


def test_what_a_batch_gives_does_not_depend_on_batches_before_it():
    """BigBird turns to full attention for good at a short batch, of which a look at the head is one."""
    sparse = {"attention_type": "block_sparse", "block_size": 2, "num_random_blocks": 1}
    model = tiny.model(table("bigbird_pegasus", **sparse))
    long = collate([EncodedExample(id="a", source_ids=(*range(5, 37), 1), target_ids=(5, 1))], pad_id=0)
    before = model.logits(long)
    model.head_function()
    assert torch.equal(model.logits(long), before)
    full = tiny.model(table("bigbird_pegasus"))
    full.module.load_state_dict(model.module.state_dict())
    assert not torch.allclose(full.logits(long), before, atol=1e-5)
