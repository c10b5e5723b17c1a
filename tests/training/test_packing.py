"""Rows packed into sequences: the same loss and gradients, and batches that count what is padded."""

from __future__ import annotations

import contextlib

import attrs
import numpy as np
import pytest
import torch
from causal_kit import GEMMA2, GPT2, LLAMA, PAIRS, RWKV, batch, model
from hypothesis import given, settings
from hypothesis import strategies as st

from kdkit.api.options import Training
from kdkit.api.values import EncodedExample, TokenCounts
from kdkit.data.packing import bins_of, places_of
from kdkit.data.tokens import collate
from kdkit.errors import UsageError
from kdkit.losses import HardLoss
from kdkit.models import DecoderOnly, EncoderDecoder
from kdkit.models.joined import Sequences
from kdkit.models.packed import PackedSequences
from kdkit.training import Forward
from kdkit.training.batching import Lengths, epoch_order, padding_share

PACKED = Training(packing=True)
BLOOM = {"model_type": "bloom", "hidden_size": 16, "n_layer": 2, "n_head": 2}
MAMBA = {"model_type": "mamba", "hidden_size": 16, "num_hidden_layers": 2, "state_size": 4}
SLIDING = {**LLAMA, "model_type": "mistral", "sliding_window": 3}


def told(trained, rows) -> tuple[float, list[torch.Tensor]]:
    """The loss of a step, and the gradient of every weight."""
    trained.module.zero_grad()
    tokens = Forward.of(trained)(rows, None)
    parts = tokens.backward(HardLoss(), TokenCounts(hard=len(tokens.labels_N)))
    return float(parts.total), [each.grad.clone() for each in trained.module.parameters() if each.grad is not None]


@pytest.mark.parametrize("table", [LLAMA, GPT2, GEMMA2, SLIDING], ids=lambda table: table["model_type"])
def test_packed_rows_have_the_loss_and_the_gradients_that_they_have_apart(table):
    dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop"), 0.0) if table is GPT2 else {}
    trained, rows = model(table, **dropout), batch(*PAIRS, *PAIRS)
    seen = []
    trained.module.train()
    apart, gradients = told(trained, rows)
    hook = trained.module.register_forward_pre_hook(lambda _, __, named: seen.append(named), with_kwargs=True)
    with hook, trained.lean(PACKED):
        seen.clear()  # the probe's
        packed, others = told(trained, rows)
        trained.module.eval()
        told(trained, rows)
    _, in_training, _, measured = seen  # before each, the head is looked at
    assert "position_ids" in in_training
    assert "position_ids" not in measured
    shapes = [tuple(named["input_ids"].shape) for named in (in_training, measured)]
    assert shapes[0][0] < shapes[1][0] == len(rows.ids)
    assert shapes[1][1] <= shapes[0][1] <= 1.5 * shapes[1][1]
    assert packed == pytest.approx(apart, rel=1e-5)
    for one, other in zip(others, gradients, strict=True):
        assert torch.allclose(one, other, rtol=1e-3, atol=1e-4 * float(other.abs().max()) + 1e-7)


@pytest.mark.parametrize("lengths", [(1, 16, 3, 7, 2, 9, 5, 16), (2,) * 4 + (16,) * 4])
def test_the_same_rows_in_any_micro_batches_packed_or_not_give_one_loss_and_one_gradient(lengths):
    """8 x 1, 4 x 2, 2 x 4 and 1 x 8: a mean of the batches' means would weigh short completions more."""
    draw = np.random.default_rng(0)
    rows = [
        EncodedExample(
            id=str(i),
            source_ids=tuple(draw.integers(0, 260, 1 + i % 3).tolist()),
            target_ids=tuple(draw.integers(0, 260, length).tolist()),
        )
        for i, length in enumerate(lengths)
    ]
    trained, counts, found = model(), TokenCounts(hard=sum(lengths)), []
    trained.module.train()
    for size, options in ((8, Training()), (1, Training()), (2, Training()), (4, Training()), (8, PACKED), (4, PACKED)):
        with trained.lean(options) if options.packing else contextlib.nullcontext():
            trained.module.zero_grad()
            forward, total = Forward.of(trained), 0.0
            for start in range(0, 8, size):
                tokens = forward(collate(rows[start : start + size], pad_id=0), None)
                total += float(tokens.backward(HardLoss(), counts).total)
        found.append((total, torch.cat([each.grad.flatten() for each in trained.module.parameters()])))
    first, gradient = found[0]
    for total, other in found[1:]:
        assert total == pytest.approx(first, rel=1e-5)
        assert torch.nn.functional.cosine_similarity(other, gradient, dim=0) == pytest.approx(1, abs=1e-5)
        assert float(other.norm() / gradient.norm()) == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize("table", [BLOOM, MAMBA, RWKV], ids=lambda table: table["model_type"])
def test_models_that_do_not_keep_rows_apart_are_refused(table):
    trained = model(table)
    sentence = f"packing = true, but this {table['model_type']} model does not keep rows of one sequence apart"
    with pytest.raises(UsageError, match=sentence), trained.lean(PACKED):
        pass


def test_every_label_of_packed_neighbours_is_judged_by_the_place_before_it():
    """One-hot logits: the loss is 0 for the right place alone, for prompts of one token and completions of one."""
    rows = [((1,), (2,)), ((3, 4), (5, 6, 7)), ((8, 9, 1), (2, 3, 4, 5)), ((6,), (7, 8)), ((2, 2), (9,))]
    tokens = collate([EncodedExample(id=str(i), source_ids=s, target_ids=t) for i, (s, t) in enumerate(rows)], pad_id=0)
    packed = PackedSequences.of(Sequences.of(tokens, pad_id=0), pad_id=0)
    shape = packed.ids_PQ.shape
    assert shape == (2, 8), "five rows that read 6, 4, 2, 2 and 1 tokens: a place is left over"
    flat = [token for row in packed.ids_PQ.tolist() for token in row]
    following = torch.full((len(flat),), -1)
    for source, target in rows:  # where each row went is found by its tokens
        read = [*source, *target[:-1]]
        starts = [
            i
            for i in range(len(flat))
            if flat[i : i + len(read)] == read
            and packed.position_PQ.view(-1)[i : i + len(read)].tolist() == list(range(len(read)))
            and (i + len(read) == len(flat) or packed.position_PQ.view(-1)[i + len(read)] == 0)
        ]
        assert len(starts) == 1, (source, target)
        labels = [*source[1:], *target]
        following[starts[0] : starts[0] + len(read)] = torch.tensor(labels)
    one_hot = torch.nn.functional.one_hot(following.clamp(min=0), 10).float().view(*shape, 10) * 50
    judged = tokens.places.pick(packed.judging(one_hot))
    labels_N = tokens.places.pick(tokens.labels_BT)
    assert torch.nn.functional.cross_entropy(judged, labels_N) < 1e-6
    for shift in (-1, 1):
        wrong = tokens.places.pick(packed.judging(one_hot.view(-1, 10).roll(shift, 0).view(*shape, 10)))
        assert torch.nn.functional.cross_entropy(wrong, labels_N) > 1


def test_flash_attention_gets_all_rows_in_one_sequence():
    tokens = batch()
    apart = Sequences.of(tokens, pad_id=0)
    packed = PackedSequences.of(apart, pad_id=0, in_one=True)
    assert packed.ids_PQ.shape == (1, int(apart.read_B.sum()))
    rows = torch.arange(packed.ids_PQ.numel())[None, :, None]
    assert torch.equal(
        packed.ids_PQ[0][packed.judging(rows)[..., 0]][tokens.places.example_N, tokens.places.position_N],
        apart.judging(apart.ids_BW[..., None])[..., 0][tokens.places.example_N, tokens.places.position_N],
    )


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=40))
def test_bins_hold_each_row_once_and_are_hardly_wider_than_the_longest(lengths):
    bins = bins_of(lengths)
    assert sorted(row for rows in bins for row in rows) == list(range(len(lengths)))
    widest = max(sum(lengths[row] for row in rows) for rows in bins)
    assert max(lengths) <= widest <= 1.5 * max(lengths)
    assert sum(lengths) <= places_of(lengths) == len(bins) * widest <= len(lengths) * max(lengths)


def rows_of(pairs):
    return [
        EncodedExample(id=str(i), source_ids=(1,) * source, target_ids=(1,) * target)
        for i, (source, target) in enumerate(pairs)
    ]


def test_a_joined_batch_is_as_long_as_its_longest_row_and_not_as_source_and_target_apart():
    rows = rows_of([(10, 1), (1, 10)])
    joined = Lengths.of(rows, DecoderOnly())
    assert joined.positions([[0, 1]]) == 2 * (11 - 1), "the last label of each is not read"
    assert padding_share(joined, [[0, 1]]) == 0
    assert Lengths.of(rows, EncoderDecoder()).positions([[0, 1]]) == 2 * (10 + 10)
    # So 20 tokens hold both rows.
    options = Training(batch_tokens=20, shuffle=False)
    assert epoch_order(joined, options, seed=0, epoch=0) == [[0, 1]]
    assert epoch_order(Lengths.of(rows), options, seed=0, epoch=0) == [[0], [1]]


def test_batches_of_packed_rows_fill_their_tokens_and_pad_little():
    draw = np.random.default_rng(0)
    rows = rows_of(
        [(int(s), int(t)) for s, t in zip(draw.integers(5, 400, 300), draw.integers(5, 100, 300), strict=True)]
    )
    options = Training(batch_tokens=2048, packing=True)
    drawn = attrs.evolve(options, packing=False, group_by_length=False)
    packed, plain = Lengths.of(rows, DecoderOnly(), options), Lengths.of(rows, DecoderOnly())
    batches = epoch_order(packed, options, seed=0, epoch=0)
    assert sorted(row for each in batches for row in each) == list(range(300))
    assert all(packed.positions([each]) <= 2048 for each in batches)
    assert padding_share(packed, batches) < 0.1 < padding_share(plain, epoch_order(plain, drawn, seed=0, epoch=0))
    (alone,) = epoch_order(
        Lengths.of(rows[:1], DecoderOnly(), options), Training(batch_tokens=2, packing=True), seed=0, epoch=0
    )
    assert alone == [0], "a row that is longer gets a batch of its own"
