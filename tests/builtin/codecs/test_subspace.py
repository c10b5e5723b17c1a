"""Codec `subspace`: what it stores, how well, what it refuses. Letters: T target tokens, V vocabulary, D hidden, R coordinates."""

from __future__ import annotations

import json
import time
import tracemalloc
from pathlib import Path

import attrs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from subspace_reader import read_logits, read_numbers

from kdkit import plugins
from kdkit.api.interfaces import BatchCodec, FittedCodec, HeadCodec, StateCodec
from kdkit.api.values import OutputHead, StateBlock, TeacherBlock
from kdkit.builtin.codecs.subspace import Subspace
from kdkit.builtin.codecs.subspace.coder import LARGEST, MOST_CLASS_FREQUENCY, TOTAL, Coder, whole_frequencies
from kdkit.builtin.codecs.subspace.fit import learn_axes, learn_coder, metric_length
from kdkit.builtin.codecs.subspace.layout import CLASSES, PLACES, TABLES
from kdkit.errors import DamagedData, UsageError
from kdkit.testing import check_codec, head_block, synthetic_block, synthetic_head, synthetic_states

FIXTURES = Path(__file__).parents[2] / "fixtures"
CODEC = Subspace()


def blocks_of(states, size=20):
    return [StateBlock(id=str(i), states_TD=states[i : i + size]) for i in range(0, len(states), size)]


def gaussian(tokens, hidden, seed=0):
    random = np.random.default_rng([seed, hidden])
    width_D = 2.0 ** -np.linspace(0, 5, hidden)
    return (2 + random.normal(0, 1, (tokens, hidden)) * width_D).astype(np.float32)


def bound_V(bound):
    """The stated bound of each logit, once each row's mean is off."""
    basis_RV = bound.state.basis_RV.astype(np.float64)
    basis_RV -= basis_RV.mean(axis=1, keepdims=True)
    return bound.state.step / 2 * np.abs(basis_RV).sum(axis=0)


def bound_of(bound):
    rounding = 2.0**-19
    return lambda logits_TV: bound_V(bound) + rounding * (1 + np.abs(logits_TV).max(axis=1, keepdims=True, initial=0))


def centred(logits_TV):
    return logits_TV - logits_TV.mean(axis=1, keepdims=True, dtype=np.float64)


def log_softmax(logits_TV, temperature=1.0):
    x_TV = logits_TV.astype(np.float64) / temperature
    x_TV -= x_TV.max(axis=1, keepdims=True)
    return x_TV - np.log(np.exp(x_TV).sum(axis=1, keepdims=True))


def divergence(teacher_TV, other_TV, temperature=1.0):
    p_TV, q_TV = log_softmax(teacher_TV, temperature), log_softmax(other_TV, temperature)
    return (np.exp(p_TV) * (p_TV - q_TV)).sum(axis=1)


def fitted(head, *, hidden=None, tokens=200, codec=CODEC):
    hidden = hidden or head.weight_VD.shape[1]
    return codec.bind(codec.fit_head(head, blocks_of(gaussian(tokens, hidden))))


@pytest.fixture(scope="module")
def head():
    return synthetic_head(300, 12)


@pytest.fixture(scope="module")
def bound(head):
    return fitted(head)


def test_it_is_found_by_its_name_and_is_what_it_says():
    component = plugins.load().get("codecs", "subspace").load()()
    assert isinstance(component, FittedCodec)
    assert isinstance(component, HeadCodec)
    assert component == CODEC


@pytest.mark.parametrize("step", [1e-4, 0.005, 0.3])
def test_it_keeps_the_promises_of_the_protocols(step):
    check_codec(Subspace(step=step), bound_of=bound_of, up_to_constant=True)


def test_the_conformance_kit_notices_a_codec_that_is_worse_than_it_says():
    with pytest.raises(AssertionError, match="misses its stated bound"):
        check_codec(CODEC, bound_of=lambda bound: lambda logits_TV: bound_V(bound) / 8, up_to_constant=True)
    with pytest.raises(AssertionError, match="misses its stated bound"):
        check_codec(CODEC, bound_of=bound_of)  # a constant of each row is not promised


def test_the_stated_bound_is_no_wider_than_it_must_be(head, bound):
    logits_TV = head_block(head, StateBlock(id="x", states_TD=gaussian(200, 12, seed=9))).logits_TV
    decoded_TV = bound.decode(bound.encode(TeacherBlock(id="x", logits_TV=logits_TV)), tokens=200, vocab_size=300)
    worst_V = np.abs(centred(decoded_TV) - centred(logits_TV)).max(axis=0)
    assert (worst_V <= bound_V(bound) + 1e-4).all()
    assert worst_V.max() > bound_V(bound).max() / 4


@given(
    tokens=st.integers(0, 9),
    vocab_size=st.integers(1, 40),
    hidden=st.integers(1, 60),
    rank=st.integers(1, 60),
    bias=st.booleans(),
    sample=st.integers(1, 30),
    step=st.sampled_from([1e-3, 0.02, 1.0]),
    seed=st.integers(0, 99),
)
@settings(max_examples=70, deadline=None)
def test_hidden_states_come_back_within_the_bound(tokens, vocab_size, hidden, rank, bias, sample, step, seed):
    random = np.random.default_rng(seed)
    # A head with a null space, and often more hidden dimensions than entries.
    weight_VD = random.normal(size=(vocab_size, rank)) @ random.normal(size=(rank, hidden)) / np.sqrt(rank * hidden)
    head = OutputHead(
        weight_VD=weight_VD.astype(np.float32),
        bias_V=random.normal(0, 3, vocab_size).astype(np.float32) if bias else None,
    )
    codec = Subspace(step=step)
    bound = codec.bind(codec.fit_head(head, [StateBlock(id="s", states_TD=gaussian(sample, hidden, seed))]))
    assert isinstance(bound, StateCodec)
    assert bound.state.rank <= min(vocab_size - 1, hidden, rank)
    states = StateBlock(id="x", states_TD=gaussian(tokens, hidden, seed + 1) * 3)
    logits_TV = head_block(head, states).logits_TV
    decoded_TV = bound.decode(bound.encode_states(states), tokens=tokens, vocab_size=vocab_size)
    error_TV = np.abs(centred(decoded_TV) - centred(logits_TV))
    assert (error_TV <= bound_of(bound)(logits_TV) + 1e-5).all()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 4.0])
def test_the_mean_divergence_is_about_the_stated_one_at_every_temperature(head, bound, temperature):
    states = StateBlock(id="x", states_TD=gaussian(2000, 12, seed=5))
    logits_TV = head_block(head, states).logits_TV
    decoded_TV = bound.decode(bound.encode_states(states), tokens=2000, vocab_size=300)
    stated = bound.state.step**2 * bound.state.rank / 24
    mean = divergence(logits_TV, decoded_TV, temperature).mean()
    assert 0 < mean <= 1.5 * stated * max(1, 1 / temperature**2)
    if temperature == 1:
        assert mean > stated / 10


def test_a_smaller_step_is_a_smaller_divergence_for_more_bytes(head):
    states = StateBlock(id="x", states_TD=gaussian(500, 12, seed=5))
    logits_TV = head_block(head, states).logits_TV
    sizes, losses = [], []
    for step in (0.002, 0.004, 0.016):
        bound = fitted(head, codec=Subspace(step=step))
        payload = bound.encode_states(states)
        sizes.append(len(payload))
        losses.append(divergence(logits_TV, bound.decode(payload, tokens=500, vocab_size=300)).mean())
    # One bit a coordinate for a factor of 2 in the step, and of 4 in the divergence.
    bits = 8 * (sizes[0] - sizes[1]) / (500 * 12)
    assert bits == pytest.approx(1, abs=0.05)
    assert losses[1] / losses[0] == pytest.approx(4, rel=0.2)
    assert losses[2] / losses[0] == pytest.approx(64, rel=0.2)


def test_directions_that_softmax_hardly_feels_take_hardly_a_bit():
    head = synthetic_head(300, 12)
    weight_VD = head.weight_VD.copy()
    weight_VD[:, 6:] *= 1e-5
    full, half = fitted(head), fitted(OutputHead(weight_VD=weight_VD))
    states = StateBlock(id="x", states_TD=gaussian(50, 12, seed=5))
    assert half.state.rank == 12
    coordinates_TR = half.state.coder.decode(half.encode_states(states), 50)
    assert (coordinates_TR[:, 6:] == 0).all()
    assert (coordinates_TR[:, :6] != 0).mean() > 0.9
    bits = 8 * (len(full.encode_states(states)) - len(half.encode_states(states))) / (50 * 6)
    assert bits > 3


def test_a_rare_token_keeps_its_probability(head, bound):
    states = StateBlock(id="x", states_TD=gaussian(300, 12, seed=5))
    logits_TV = head_block(head, states).logits_TV
    decoded_TV = bound.decode(bound.encode_states(states), tokens=300, vocab_size=300)
    assert np.abs(log_softmax(decoded_TV) - log_softmax(logits_TV)).max() < 0.1


def test_logits_and_hidden_states_encode_to_the_same_numbers_but_at_a_rounding_boundary():
    random = np.random.default_rng(3)
    head = OutputHead(weight_VD=random.normal(0, 1, (900, 40)).astype(np.float32), bias_V=random.normal(0, 1, 900).astype(np.float32))  # fmt: skip
    bound = fitted(head)
    states = StateBlock(id="x", states_TD=gaussian(100, 40, seed=5))
    from_states_TR = bound.state.coder.decode(bound.encode_states(states), 100)
    from_logits_TR = bound.state.coder.decode(bound.encode(head_block(head, states)), 100)
    assert np.abs(from_states_TR - from_logits_TR).max() <= 1
    assert (from_states_TR != from_logits_TR).mean() < 0.01


def test_a_bias_takes_no_bytes_and_comes_back(head):
    bias_V = np.linspace(-9, 9, 300).astype(np.float32)
    states = StateBlock(id="x", states_TD=gaussian(20, 12, seed=5))
    with_bias = OutputHead(weight_VD=head.weight_VD, bias_V=bias_V)
    bound = fitted(with_bias)
    logits_TV = head_block(with_bias, states).logits_TV
    decoded_TV = bound.decode(bound.encode_states(states), tokens=20, vocab_size=300)
    assert divergence(logits_TV, decoded_TV).max() < 1e-3
    assert len(bound.encode_states(states)) < 1.1 * len(fitted(head).encode_states(states))


def test_a_row_that_is_shifted_as_a_whole_is_the_same_row(head, bound):
    block = head_block(head, StateBlock(id="x", states_TD=gaussian(5, 12, seed=5)))
    shifted = TeacherBlock(id="x", logits_TV=block.logits_TV + np.float32(64))
    once_TR = bound.state.coder.decode(bound.encode(block), 5)
    assert np.abs(bound.state.coder.decode(bound.encode(shifted), 5) - once_TR).max() <= 1


def test_equal_samples_give_equal_states_and_another_sample_another(head):
    states = gaussian(100, 12)
    one, same = (CODEC.fit_head(head, blocks_of(states)) for _ in range(2))
    other = CODEC.fit_head(head, blocks_of(gaussian(100, 12, seed=1)))
    assert all(one[name].tobytes() == same[name].tobytes() for name in one)
    assert one["projection"].tobytes() != other["projection"].tobytes()
    whole = CODEC.fit_head(head, blocks_of(states, size=100))
    assert all(one[name].tobytes() == whole[name].tobytes() for name in one)


def test_a_large_basis_is_kept_in_half_precision_which_costs_next_to_nothing():
    head = synthetic_head(30_000, 12)
    states = gaussian(200, 12)
    state = CODEC.fit_head(head, blocks_of(states))
    assert state["basis"].dtype == np.float16
    axes = learn_axes(head.weight_VD, None, states)
    full = CODEC.bind({**state, "basis": axes.basis_RV})
    half = CODEC.bind(state)
    new = StateBlock(id="x", states_TD=gaussian(40, 12, seed=5))
    logits_TV = head_block(head, new).logits_TV
    payload = half.encode_states(new)
    kl = [divergence(logits_TV, codec.decode(payload, tokens=40, vocab_size=30_000)).mean() for codec in (half, full)]
    assert kl[0] == pytest.approx(kl[1], rel=0.05)


def test_a_basis_that_half_precision_would_spoil_is_kept_whole():
    codec = Subspace(step=1e-5)
    assert codec.fit_head(synthetic_head(30_000, 12), blocks_of(gaussian(200, 12)))["basis"].dtype == np.float32


# Estimated from logits


def linear_blocks(head, tokens, seed=0):
    return [head_block(head, block) for block in blocks_of(gaussian(tokens, head.weight_VD.shape[1], seed))]


def test_a_space_is_estimated_from_logits_alone(head):
    bound = CODEC.bind(CODEC.fit(linear_blocks(head, 200)))
    assert not isinstance(bound, StateCodec)
    assert isinstance(bound, BatchCodec)
    assert bound.state.rank == 12
    block = linear_blocks(head, 20, seed=5)[0]
    decoded_TV = bound.decode(bound.encode(block), tokens=20, vocab_size=300)
    assert (np.abs(centred(decoded_TV) - centred(block.logits_TV)) <= bound_of(bound)(block.logits_TV)).all()
    of_head = fitted(head)
    assert len(bound.encode(block)) < 1.05 * len(of_head.encode(block))


def test_an_estimated_space_has_no_more_dimensions_than_the_step_needs(head):
    weight_VD = head.weight_VD.copy()
    weight_VD[:, 6:] *= 1e-5
    bound = CODEC.bind(CODEC.fit(linear_blocks(OutputHead(weight_VD=weight_VD), 200)))
    assert bound.state.rank == 6


def heavy_tailed(tokens, seed, *, decades, degrees, hidden=24, vocab_size=600):
    """Logits exactly linear in states whose spreads fall over so many decades, drawn from Student's t."""
    weight_VD = np.random.default_rng(0).normal(size=(vocab_size, hidden)) * 3
    spread_D = 10.0 ** (-decades * np.arange(hidden) / (hidden - 1))
    states_TD = (
        np.random.default_rng(seed).standard_t(degrees, (tokens, hidden)) * spread_D / np.sqrt((spread_D**2).sum())
    )
    return TeacherBlock(id=f"heavy {seed}", logits_TV=(states_TD @ weight_VD.T).astype(np.float32))


@pytest.mark.parametrize("decades", [2, 3, 4])
@pytest.mark.parametrize("degrees", [2, 5])
def test_what_is_taken_at_fit_is_not_refused_later_though_some_rows_are_far_wider(decades, degrees):
    """The rank was chosen by a mean: of three decades 45 % of the records were refused in the middle of a capture."""
    bound = CODEC.bind(CODEC.fit([heavy_tailed(400, 1, decades=decades, degrees=degrees)]))
    later = heavy_tailed(4000, 2, decades=decades, degrees=degrees)
    decoded_TV = bound.decode(bound.encode(later), tokens=4000, vocab_size=600)
    assert divergence(later.logits_TV, decoded_TV).mean() < 1e-4


def test_heavy_tails_outside_of_the_space_are_refused_at_fit():
    """A few tokens that no linear function gives: later ones may lie anywhere."""
    block = heavy_tailed(400, 1, decades=1, degrees=5)
    random = np.random.default_rng(3)
    noise_TV = random.normal(size=block.logits_TV.shape) * random.standard_t(1.5, (400, 1)) * 1e-4
    with pytest.raises(
        UsageError, match=r"misses one of 100 others by [\d.]+, but with an average of [\d.]+ only [\d.]+ is"
    ):
        CODEC.fit([TeacherBlock(id="x", logits_TV=block.logits_TV + noise_TV.astype(np.float32))])


@pytest.mark.parametrize("mask", [-100.0, -1e4])
def test_masks_that_float32_can_hold_are_kept(head, mask):
    def masked(block):
        block.logits_TV[:, ::20] = mask
        return block

    bound = CODEC.bind(CODEC.fit([masked(block) for block in linear_blocks(head, 200)]))
    block = masked(linear_blocks(head, 20, seed=5)[0])
    decoded_TV = bound.decode(bound.encode(block), tokens=20, vocab_size=300)
    assert divergence(block.logits_TV, decoded_TV).mean() < 1e-4


@pytest.mark.parametrize("mask", [-1e7, -1e9, np.finfo(np.float32).min, -np.inf])
def test_masks_are_refused_at_fit_and_in_a_record_and_the_codecs_that_keep_them_named(head, bound, mask):
    """Their rounding was allowed for, in which all other entries were lost."""
    block = linear_blocks(head, 20, seed=5)[0]
    block.logits_TV[3, 7] = mask
    for encode in (lambda: CODEC.fit([block]), lambda: bound.encode(block)):
        with pytest.raises(UsageError, match=r"entry 7 at target token 3 of example .* is -.*u8-lz4"):
            encode()


def test_a_bias_that_masks_entries_leaves_the_others_as_they_are(head):
    bias_V = np.zeros(300, np.float32)
    bias_V[::20] = -1e9
    masking = attrs.evolve(head, bias_V=bias_V)
    states = StateBlock(id="x", states_TD=gaussian(40, 12, seed=9))
    plain, masked = (CODEC.bind(CODEC.fit_head(each, [synthetic_states(200, 12, seed=1)])) for each in (head, masking))
    decoded_TV = masked.decode(masked.encode_states(states), tokens=40, vocab_size=300)
    assert divergence(head_block(masking, states).logits_TV, decoded_TV).mean() < 1e-4
    assert (decoded_TV[:, ::20] < -1e8).all()
    assert np.abs(decoded_TV[:, 1::20]).max() < 100
    assert plain.state.rank == masked.state.rank
    with pytest.raises(UsageError, match=r"its bias .* not finite; .*u8-lz4"):
        CODEC.fit_head(attrs.evolve(head, bias_V=np.where(bias_V < 0, -np.inf, bias_V)), [synthetic_states(9, 12)])


def soft_capped(block):
    return TeacherBlock(id=block.id, logits_TV=5 * np.tanh(block.logits_TV / 5))


def test_soft_capped_logits_are_refused_with_the_reason(head):
    with pytest.raises(UsageError, match=r"not a linear function .* misses one of 50 others by .* soft-capped"):
        CODEC.fit([soft_capped(head_block(head, synthetic_states(20, 12, seed=seed))) for seed in range(10)])


def test_a_sample_smaller_than_the_space_is_refused(head):
    with pytest.raises(
        UsageError, match=r"learnt from 8 tokens, misses one of 2 others by .* step = 0\.005 allows .* use more tokens"
    ):
        CODEC.fit(linear_blocks(head, 10))


@pytest.mark.parametrize("tokens", [0, 1])
def test_no_sample_to_speak_of_is_refused(head, tokens):
    with pytest.raises(UsageError, match=r"no target token|at least 2 tokens"):
        CODEC.fit([synthetic_block(tokens, 50)] if tokens else [])
    if not tokens:
        with pytest.raises(UsageError, match="no target token"):
            CODEC.fit_head(head, [])


def test_logits_outside_of_the_space_are_refused_with_example_and_distance(head, bound):
    logits_TV = linear_blocks(head, 20, seed=5)[0].logits_TV
    wrong_TV = logits_TV.copy()
    wrong_TV[7] = 5 * np.tanh(logits_TV[7] / 5)
    with pytest.raises(UsageError, match=r"target token 7 of example 'row 3' lie [0-9.e-]+ outside .* at most 0\.0"):
        bound.encode(TeacherBlock(id="row 3", logits_TV=wrong_TV))


def test_logits_a_little_outside_of_the_space_are_taken(head, bound):
    logits_TV = linear_blocks(head, 20, seed=5)[0].logits_TV
    noise_TV = np.random.default_rng(0).normal(0, 1e-3, logits_TV.shape).astype(np.float32)
    decoded_TV = bound.decode(bound.encode(TeacherBlock(id="x", logits_TV=logits_TV + noise_TV)), tokens=20, vocab_size=300)  # fmt: skip
    assert divergence(logits_TV, decoded_TV).mean() < 1e-4


# Refusals


def test_blocks_that_do_not_fit_the_state_are_refused(bound):
    with pytest.raises(UsageError, match=r"299 wide, but the codec learnt from logits 300 wide"):
        bound.encode(synthetic_block(2, 299))
    with pytest.raises(UsageError, match=r"shape \[2, 11\]; it must be \[tokens, 12\]"):
        bound.encode_states(synthetic_states(2, 11))
    with pytest.raises(UsageError, match="not finite"):
        bound.encode_states(StateBlock(id="x", states_TD=np.full((1, 12), np.nan, np.float32)))
    with pytest.raises(UsageError, match="logits must be finite"):
        bound.encode(TeacherBlock(id="x", logits_TV=np.full((1, 300), np.inf, np.float32)))
    with pytest.raises(UsageError, match="larger step"):
        bound.encode_states(StateBlock(id="x", states_TD=np.full((1, 12), 1e12, np.float32)))


def test_a_head_or_sample_that_is_not_finite_is_refused(head):
    for value in (np.nan, np.inf):
        with pytest.raises(UsageError, match="weights hold a number that is not finite"):
            CODEC.fit_head(OutputHead(weight_VD=np.full((5, 2), value, np.float32)), [synthetic_states(3, 2)])
        with pytest.raises(UsageError, match="the sample hold"):
            CODEC.fit_head(head, [StateBlock(id="x", states_TD=np.full((3, 12), value, np.float32))])
    with pytest.raises(UsageError, match=r"shape \[3, 11\]"):
        CODEC.fit_head(head, [synthetic_states(3, 11)])


@pytest.mark.parametrize("step", [0.0, -1.0, float("nan"), float("inf")])
def test_a_step_that_is_none_is_refused(step):
    with pytest.raises(ValueError, match="step"):
        Subspace(step=step)


def _with_entry(array, place, value):
    changed = array.copy()
    changed[place] = value
    return changed


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("frequencies", lambda a: _with_entry(a, 0, a[0] + 1)),
        ("frequencies", lambda a: _with_entry(_with_entry(a, 1, a[1] + a[0]), 0, 0)),
        ("frequencies", lambda a: a[:-1]),
        ("frequencies", lambda a: a.astype(np.int64)),
        ("radii", lambda a: _with_entry(a, 3, a[3] + 1)),
        ("radii", lambda a: _with_entry(a, 3, 65535)),
        ("radii", lambda a: a[:-1]),
        ("scales", lambda a: _with_entry(a, 0, PLACES)),
        ("scales", lambda a: a[:-1]),
        ("class_frequencies", lambda a: np.full(CLASSES, TOTAL // CLASSES + 1, np.uint32)),
        ("class_frequencies", lambda a: _with_entry(np.full(CLASSES, 1, np.uint32), 64, TOTAL - CLASSES + 1)),
        ("class_frequencies", lambda a: a[:-1]),
        ("step", lambda a: a * 0),
        ("step", lambda a: a * 2),
        ("step", lambda a: -a),
        ("basis", lambda a: a[:, :0]),
        ("basis", lambda a: a.T),
        ("basis", lambda a: a.astype(np.float64)),
        ("offset", lambda a: a[:-1]),
        ("projection", lambda a: a[:-1]),
        ("center", lambda a: a.astype(np.float16)),
    ],
)
def test_a_damaged_state_is_damage(head, name, damage):
    state = dict(CODEC.fit_head(head, blocks_of(gaussian(60, 12))))
    CODEC.bind(state)
    with pytest.raises(DamagedData, match=r"in the state|step = "):
        CODEC.bind({**state, name: damage(state[name])})


def test_half_an_encoder_in_a_state_is_damage(head):
    state = dict(CODEC.fit_head(head, blocks_of(gaussian(60, 12))))
    del state["center"]
    with pytest.raises(DamagedData, match="the state has the arrays"):
        CODEC.bind(state)


def test_finite_arrays_that_make_infinite_logits_are_damage(head, bound):
    basis_RV = np.full_like(bound.state.basis_RV, 3e38)
    huge = attrs.evolve(bound, state=attrs.evolve(bound.state, basis_RV=basis_RV, step=1e3))
    payload = bound.encode_states(StateBlock(id="x", states_TD=gaussian(3, 12)))
    with pytest.raises(DamagedData, match="not finite"):
        huge.decode(payload, tokens=3, vocab_size=300)


# Payloads


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_damage_or_finite_logits(bound, data):
    payload = data.draw(st.binary(max_size=200))
    tokens = data.draw(st.integers(0, 5))
    try:
        decoded_TV = bound.decode(payload, tokens=tokens, vocab_size=300)
    except DamagedData:
        return
    assert decoded_TV.shape == (tokens, 300)
    assert np.isfinite(decoded_TV).all()


def test_a_cut_record_is_damage_and_a_flipped_one_at_worst_other_finite_logits(bound):
    payload = bound.encode_states(StateBlock(id="x", states_TD=gaussian(30, 12, seed=5)))
    random = np.random.default_rng(0)
    noticed = 0
    for _ in range(300):
        damaged = bytearray(payload)
        damaged[random.integers(len(payload))] ^= 1 << random.integers(8)
        try:
            assert np.isfinite(bound.decode(bytes(damaged), tokens=30, vocab_size=300)).all()
        except DamagedData:
            noticed += 1
    assert noticed > 150
    for cut in range(len(payload)):
        with pytest.raises(DamagedData):
            bound.decode(payload[:cut], tokens=30, vocab_size=300)


def test_a_short_payload_cannot_claim_many_tokens(bound):
    payload = bound.encode_states(StateBlock(id="x", states_TD=gaussian(3, 12)))
    tracemalloc.start()
    start = time.perf_counter()
    try:
        for tokens in (2**20, 2**31 - 1, 2**62):
            with pytest.raises(DamagedData, match="cannot be"):
                bound.decode(payload, tokens=tokens, vocab_size=300)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - start < 1


def test_a_long_payload_cannot_claim_more_tokens_than_it_holds_either(bound):
    payload = bound.encode_states(StateBlock(id="x", states_TD=gaussian(3000, 12)))
    tracemalloc.start()
    try:
        for tokens in (6000, 3 * len(payload)):
            with pytest.raises(DamagedData, match="cannot hold"):
                bound.decode(payload, tokens=tokens, vocab_size=300)
        assert tracemalloc.get_traced_memory()[1] < 2**22
    finally:
        tracemalloc.stop()


def test_a_vocabulary_that_is_not_the_states_is_damage(bound):
    payload = bound.encode_states(StateBlock(id="x", states_TD=gaussian(3, 12)))
    with pytest.raises(DamagedData, match="300 wide by the state, but 301"):
        bound.decode(payload, tokens=3, vocab_size=301)
    with pytest.raises(DamagedData, match="300 wide by the state, but 301"):
        bound.targets([(payload, 3)], vocab_size=301, device="cpu")


# The coder


def plain_coder(columns, seed=0):
    random = np.random.default_rng(seed)
    state = learn_coder(random.normal(0, 1, (64, columns)).astype(np.float32), 0.1)
    return attrs.evolve(state, scales_R=random.integers(0, PLACES, columns).astype(np.uint8))


@given(
    columns=st.integers(0, 30),
    rows=st.integers(0, 12),
    spread=st.sampled_from([0.1, 3.0, 1e3, 1e9]),
    seed=st.integers(0, 999),
)
@settings(max_examples=70, deadline=None)
def test_all_whole_numbers_come_back_whatever_the_scales_and_an_independent_reader_agrees(columns, rows, spread, seed):
    coder = plain_coder(columns, seed % 7)
    random = np.random.default_rng(seed)
    numbers_TR = np.clip(np.rint(random.standard_cauchy((rows, columns)) * spread), -LARGEST, LARGEST).astype(np.int64)
    payload = coder.encode(numbers_TR)
    assert (coder.decode(payload, rows) == numbers_TR).all()
    state = {"scales": coder.scales_R, "radii": coder.radii, "frequencies": coder.frequencies, "class_frequencies": coder.class_frequencies_C}  # fmt: skip
    assert (read_numbers(state, payload, rows) == numbers_TR).all()


def test_numbers_of_the_expected_spread_take_the_expected_bits():
    random = np.random.default_rng(0)
    numbers_TR = random.normal(0, 1, (400, 64)) * 2.0 ** np.sort(random.uniform(-4, 12, 64))[::-1]
    coder = learn_coder(numbers_TR.astype(np.float32), 1.0)
    payload = coder.encode(np.rint(numbers_TR).astype(np.int64))
    assert 8 * len(payload) / 400 == pytest.approx(coder.bits_per_row(), rel=0.03)
    sigma_R = numbers_TR.std(axis=0)
    least = np.maximum(np.log2(sigma_R * np.sqrt(2 * np.pi * np.e)), 0).sum()
    assert 8 * len(payload) / 400 < 1.03 * least + 8


def test_a_row_that_is_wider_than_the_sample_costs_what_its_width_costs():
    random = np.random.default_rng(0)
    numbers_TR = random.normal(0, 30, (200, 64))
    coder = learn_coder(numbers_TR.astype(np.float32), 1.0)
    sizes = [len(coder.encode(np.rint(numbers_TR * factor).astype(np.int64))) for factor in (1, 16)]
    assert 8 * (sizes[1] - sizes[0]) / numbers_TR.size == pytest.approx(4, abs=0.25)


@given(weights=st.lists(st.floats(1e-12, 1e6), min_size=1, max_size=200), most=st.booleans())
@settings(max_examples=100, deadline=None)
def test_frequencies_are_whole_positive_and_full(weights, most):
    limit = MOST_CLASS_FREQUENCY if most and len(weights) >= 5 else TOTAL
    frequencies = whole_frequencies(np.array(weights), most=limit)
    assert frequencies.sum(dtype=np.int64) == TOTAL
    assert 1 <= frequencies.min() <= frequencies.max() <= limit


def test_the_tables_know_nothing_of_the_sample():
    one, other = plain_coder(5, seed=0), plain_coder(9, seed=1)
    assert one.frequencies.tobytes() == other.frequencies.tobytes()
    assert len(one.radii) == TABLES
    assert isinstance(one, Coder)


def test_the_metric_is_twice_the_divergence():
    random = np.random.default_rng(0)
    logits_NV = random.normal(0, 2, (50, 200)).astype(np.float32)
    errors_NV = random.normal(0, 1e-2, (50, 200)).astype(np.float32)
    felt = metric_length(errors_NV, logits_NV) ** 2 - 0.25 * errors_NV.var(axis=1)
    twice = sum(2 * divergence(logits_NV, logits_NV + errors_NV, temperature) for temperature in (1.0, 2.0))
    assert felt == pytest.approx(twice, rel=0.05)


# Targets and released bytes


def test_targets_are_what_decode_gives(bound):
    torch = pytest.importorskip("torch")
    lengths = [3, 0, 7]
    payloads = [bound.encode_states(StateBlock(id="x", states_TD=gaussian(n, 12, seed=n))) for n in lengths]
    targets = bound.targets(list(zip(payloads, lengths, strict=True)), vocab_size=300, device="cpu")
    assert targets.lengths_B.tolist() == lengths
    assert targets.coordinates_BTR.shape == (3, 7, bound.state.rank)
    logits_BTV = targets.coordinates_BTR @ targets.basis_RV + targets.offset_V
    for row_TV, payload, length in zip(logits_BTV, payloads, lengths, strict=True):
        decoded_TV = torch.from_numpy(bound.decode(payload, tokens=length, vocab_size=300))
        torch.testing.assert_close(row_TV[:length], decoded_TV, rtol=1e-5, atol=1e-5)
    again = bound.targets([(payloads[0], 3)], vocab_size=300, device="cpu")
    assert again.basis_RV.data_ptr() == targets.basis_RV.data_ptr()
    assert bound.targets([], vocab_size=300, device="cpu").coordinates_BTR.shape == (0, 0, bound.state.rank)


@pytest.mark.parametrize("from_logits", [False, True])
def test_an_independent_reader_agrees(head, from_logits):
    sample = blocks_of(gaussian(80, 12))
    state = CODEC.fit([head_block(head, block) for block in sample]) if from_logits else CODEC.fit_head(head, sample)
    bound = CODEC.bind(state)
    # Some rows far wider than the sample, so that low bits and escapes are in it.
    states = StateBlock(id="x", states_TD=gaussian(6, 12, seed=5) * np.array([[1], [1], [40], [1], [0.1], [900]], np.float32))  # fmt: skip
    payload = bound.encode(head_block(head, states))
    expected_TV = bound.decode(payload, tokens=6, vocab_size=300)
    np.testing.assert_allclose(read_logits(state, payload, 6), expected_TV, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", json.loads((FIXTURES / "fitted-codecs.json").read_text()))
def test_bytes_and_states_of_released_formats_decode_for_ever(name):
    facts = json.loads((FIXTURES / "fitted-codecs.json").read_text())[name]
    codec = plugins.load().get("codecs", facts["codec"]).load()(**facts["options"])
    state = load_file(FIXTURES / f"{name}.safetensors")
    payload = (FIXTURES / f"{name}.bin").read_bytes()
    tokens, vocab_size = facts["tokens"], facts["vocab_size"]
    released_TV = np.frombuffer((FIXTURES / f"{name}.f32").read_bytes(), "<f4").reshape(tokens, vocab_size)
    # The numbers are exact; only the order in which a machine sums their products with the basis may differ.
    decoded_TV = codec.bind(state).decode(payload, tokens=tokens, vocab_size=vocab_size)
    np.testing.assert_allclose(decoded_TV, released_TV, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(read_logits(state, payload, tokens), released_TV, rtol=1e-5, atol=1e-5)
