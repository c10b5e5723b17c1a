"""Rounding of codec `subspace` for the divergence. Letters: T tokens, V vocabulary, D hidden or directions, R coordinates."""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import torch

from kdkit.api.values import StateBlock
from kdkit.builtin.codecs.subspace import Subspace
from kdkit.builtin.codecs.subspace.shaping import BLOCK, EVEN_SHARE, FURTHEST, directions, shaped
from kdkit.testing import check_codec, synthetic_head

STEP = 0.05


@pytest.fixture(scope="module")
def head():
    """A peaked head, of more coordinates than a block has."""
    return attrs.evolve(synthetic_head(400, 70), weight_VD=synthetic_head(400, 70).weight_VD * 6)


@pytest.fixture(scope="module")
def states():
    return np.random.default_rng(3).normal(0, 1, (240, 70)).astype(np.float32)


def blocks(states, size=20):
    return [StateBlock(id=str(i), states_TD=states[i : i + size]) for i in range(0, len(states), size)]


def bound(head, states, **options):
    codec = Subspace(step=STEP, **options)
    return codec.bind(codec.fit_head(head, blocks(states)))


@pytest.fixture(scope="module")
def both(head, states):
    return bound(head, states), bound(head, states, shaping=[1.0])


def log_softmax(logits_TV, temperature):
    return torch.log_softmax(torch.as_tensor(logits_TV, dtype=torch.float64) / temperature, dim=-1)


def divergence(codec, states, head, temperature=1.0):
    """The mean of forward KL, of states that the codec did not learn from."""
    found = []
    for block in blocks(states):
        payload = codec.encode_states(block)
        logits_TV = codec.decode(payload, tokens=len(block.states_TD), vocab_size=len(head.weight_VD))
        p_TV = log_softmax(block.states_TD @ head.weight_VD.T, temperature)
        found.append((p_TV.exp() * (p_TV - log_softmax(logits_TV, temperature))).sum(-1))
    return float(torch.cat(found).mean())


def reference(units_R, seen_DR):
    """One token in float64, by the Cholesky factor of its whole metric."""
    even = EVEN_SHARE * (seen_DR**2).sum() / len(units_R)
    factor_RR = np.linalg.cholesky(even * np.eye(len(units_R)) + seen_DR.T @ seen_DR)
    numbers_R, ties_R, owed_R = np.zeros_like(units_R), np.zeros_like(units_R), np.zeros_like(units_R)
    for place in range(len(units_R) - 1, -1, -1):
        target = units_R[place] - owed_R[place] / factor_RR[place, place]
        numbers_R[place] = np.rint(target)
        ties_R[place] = abs(abs(target - numbers_R[place]) - 0.5)
        owed_R[:place] += factor_RR[place, :place] * (numbers_R[place] - units_R[place])
    return numbers_R, ties_R


def test_blocks_round_as_the_cholesky_factor_of_the_whole_metric_does_up_to_the_first_near_tie():
    random = np.random.default_rng(1)
    rank = 3 * BLOCK + 5
    units_TR, seen_TDR = random.normal(0, 9, (12, rank)), random.normal(0, 1, (12, 20, rank)) ** 3
    numbers_TR = shaped(torch.from_numpy(units_TR).float(), torch.from_numpy(seen_TDR).float()).numpy()
    compared = 0
    for units_R, seen_DR, numbers_R in zip(units_TR, seen_TDR, numbers_TR, strict=True):
        expected_R, ties_R = reference(units_R, seen_DR)
        close = np.flatnonzero(ties_R < 1e-4)
        first = int(close[-1]) + 1 if len(close) else 0  # rounding goes from the last coordinate to the first
        assert (numbers_R[first:] == expected_R[first:]).all()
        compared += rank - first
    assert compared > 0.9 * numbers_TR.size


def test_the_directions_feel_what_a_divergence_does(head, states):
    logits_TV = torch.from_numpy(states[:20] @ head.weight_VD.T)
    columns_VR = torch.from_numpy(head.weight_VD)
    for temperature in (1.0, 2.0):
        seen_TDR = directions(logits_TV, columns_VR, (temperature,)).double()
        p_TV = log_softmax(logits_TV, temperature).exp()
        centred_TVR = columns_VR.double() - (p_TV @ columns_VR.double())[:, None]
        exact_TRR = torch.einsum("tvr,tv,tvs->trs", centred_TVR, p_TV, centred_TVR) / temperature**2
        share = (seen_TDR**2).sum() / exact_TRR.diagonal(dim1=1, dim2=2).sum()
        assert 0.9 < share < 1.1, temperature


def test_rounding_for_a_temperature_has_a_fraction_of_the_divergence_there(both, head, states):
    nearest, shaping = both
    fresh = np.random.default_rng(4).normal(0, 1, (100, 70)).astype(np.float32)
    assert divergence(shaping, fresh, head) < 0.5 * divergence(nearest, fresh, head)


def test_no_token_is_worse_by_its_measure_than_rounding_to_nearest_nor_moved_further_than_stated(both, head, states):
    shaping = both[1].shaping
    units_TR = torch.from_numpy(both[1].encoder.coordinates(states)) / STEP
    errors_TR = torch.from_numpy(shaping.whole(units_TR.numpy())) - units_TR
    logits_TV = units_TR @ shaping.columns_VR.T + shaping.offset_V
    seen_TDR = directions(logits_TV, shaping.columns_VR, shaping.temperatures)

    def felt(errors_TR):
        return (seen_TDR @ errors_TR[:, :, None]).square().sum(dim=(1, 2))

    assert (felt(errors_TR) <= felt(units_TR.round() - units_TR) * (1 + 1e-4)).all()
    assert errors_TR.abs().max() <= FURTHEST
    assert errors_TR.abs().max() > 0.51


def test_a_token_that_would_be_moved_too_far_is_rounded_to_nearest():
    units_TR = torch.full((1, 2000), 0.4)
    seen_TDR = torch.zeros(1, 1, 2000)
    seen_TDR[..., 0], seen_TDR[..., 1999] = 10.0, 1000.0  # the first would have to make up for the last
    assert (shaped(units_TR, seen_TDR) == units_TR.round()).all()


def test_numbers_beyond_the_whole_ones_of_float32_are_rounded_no_further(both):
    units_TR = 2.0**29 + np.random.default_rng(5).uniform(0, 1000, (3, 70)).round(3)
    assert np.abs(both[1].shaping.whole(units_TR) - units_TR).max() <= FURTHEST


def test_a_token_of_which_nothing_is_felt_is_rounded_to_nearest():
    units_TR = torch.randn(3, 40, generator=torch.Generator().manual_seed(1)) * 5
    assert (shaped(units_TR, torch.zeros(3, 8, 40)) == units_TR.round()).all()


def test_one_record_is_the_same_bytes_whatever_else_is_encoded_and_whatever_the_threads(both, states):
    codec, block = both[1], blocks(states)[2]
    alone, threads = codec.encode_states(block), torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert [codec.encode_states(each) for each in blocks(states)[1:4]][1] == alone
    finally:
        torch.set_num_threads(threads)


def test_logits_without_a_head_are_rounded_as_well(head, states):
    from kdkit.api.values import TeacherBlock

    logits = [TeacherBlock(id=b.id, logits_TV=b.states_TD @ head.weight_VD.T) for b in blocks(states)]
    kl = {}
    for shaping in ((), (1.0,)):
        codec = Subspace(step=STEP, shaping=shaping)
        ready = codec.bind(codec.fit(logits[:10]))
        block = logits[11]
        decoded_TV = ready.decode(ready.encode(block), tokens=20, vocab_size=400)
        p_TV = log_softmax(block.logits_TV, 1.0)
        kl[shaping] = float((p_TV.exp() * (p_TV - log_softmax(decoded_TV, 1.0))).sum())
    assert kl[(1.0,)] < 0.5 * kl[()]


def test_temperatures_out_of_range_and_twice_are_refused():
    with pytest.raises(ValueError, match=r"temperature 0; temperatures must be from 0\.01 to 100"):
        Subspace(shaping=[0.0])
    with pytest.raises(ValueError, match="temperature 1 more than once"):
        Subspace(shaping=[1, 1.0])


def test_it_keeps_the_promises_of_the_protocols():
    def bound_of(codec):
        reach_V = FURTHEST * STEP * np.abs(codec.state.basis_RV.astype(np.float64)).sum(axis=0)
        return lambda logits_TV: 2 * reach_V + 2.0**-19 * np.abs(logits_TV).max(initial=1)

    check_codec(Subspace(step=STEP, shaping=[1.0]), bound_of=bound_of, up_to_constant=True)
