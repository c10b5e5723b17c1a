"""Codec `sampled`. Letters: T target tokens, V vocabulary, K entries kept."""

from __future__ import annotations

import math
from pathlib import Path

import attrs
import hypothesis.extra.numpy as hnp
import numpy as np
import plain_sparse
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdkit.api.interfaces import BatchCodec, SampledCodec
from kdkit.api.values import DenseTargets, TeacherBlock
from kdkit.builtin.codecs.sampled import Sampled
from kdkit.errors import DamagedData, UsageError
from kdkit.losses import distillation_loss
from kdkit.testing import check_codec, synthetic_block

FIXTURES = Path(__file__).parents[2] / "fixtures"
CODECS = [
    Sampled(),
    Sampled(draws=1),
    Sampled(draws=7, temperature=2.0, seed=3),
    Sampled(draw="independent"),
]
WAYS = ("systematic", "independent")


def block(logits_TV, name="row 7"):
    return TeacherBlock(id=name, logits_TV=np.ascontiguousarray(logits_TV, np.float32))


def likely(tokens, vocab_size, seed=0):
    """Logits as models give them: few likely ids, many of them the same from token to token."""
    random = np.random.default_rng(seed)
    common_V, own_TV = random.gumbel(size=vocab_size), random.gumbel(size=(tokens, vocab_size))
    return block((common_V + own_TV) * 2)


def doubtful(tokens, vocab_size):
    """Logits that give every id some chance: means of its count are then nearly normal."""
    return block(np.random.default_rng(0).uniform(-1.5, 1.5, (tokens, vocab_size)))


def softmax(logits, temperature):
    x = np.asarray(logits, np.float64) / temperature
    p = np.exp(x - x.max(axis=-1, keepdims=True))
    return p / p.sum(axis=-1, keepdims=True)


def targets_of(codec, given_block):
    tokens, vocab_size = given_block.logits_TV.shape
    return codec.targets([(codec.encode(given_block), tokens)], vocab_size=vocab_size, device="cpu")


def estimate(codec, given_block):
    """The decoded distribution `[T, V]`, from the targets."""
    targets = targets_of(codec, given_block)
    weight_TK = torch.softmax(targets.values_BTK[0].double() / codec.temperature, dim=-1).numpy()
    p_TV = np.zeros((len(weight_TK), given_block.logits_TV.shape[1] + 1))  # the last for the ids -1 of padding
    np.put_along_axis(p_TV, targets.ids_BTK[0].numpy(), weight_TK, axis=1)
    return p_TV[:, :-1]


def gradient(codec_targets, student_TV, temperature):
    """Of the forward KL, with respect to the student's logits."""
    leaf = torch.from_numpy(student_TV)[None].requires_grad_()
    labels_BT = torch.zeros(leaf.shape[:2], dtype=torch.long)
    distillation_loss(leaf, codec_targets, labels_BT, alpha=1.0, temperature=temperature).total.backward()
    return leaf.grad[0].numpy()


@pytest.mark.parametrize("codec", CODECS, ids=repr)
def test_it_keeps_the_promises_of_the_protocol(codec):
    assert isinstance(codec, BatchCodec)
    assert isinstance(codec, SampledCodec)
    assert codec.is_sample
    assert codec.exact_temperatures == (codec.temperature,)
    check_codec(codec)


@pytest.mark.parametrize("draw", WAYS)
@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_the_mean_over_seeds_is_the_distribution_and_so_is_the_gradients(draw, temperature):
    """Each entry's mean is within five standard errors of what it should be, as independent draws would have them."""
    seeds, draws, given_block = 600, 8, doubtful(5, 30)
    student_TV = np.random.default_rng(1).normal(size=(5, 30)).astype(np.float32)
    codecs = [Sampled(draws=draws, temperature=temperature, draw=draw, seed=seed) for seed in range(seeds)]
    p_TV = softmax(given_block.logits_TV, temperature)
    error_TV = np.sqrt(p_TV * (1 - p_TV) / (draws * seeds)) + 1e-6
    mean_TV = np.mean([estimate(codec, given_block) for codec in codecs], axis=0)
    assert (np.abs(mean_TV - p_TV) <= 5 * error_TV).all()
    dense = DenseTargets(logits_BTV=torch.from_numpy(given_block.logits_TV)[None], lengths_B=torch.tensor([5]))
    exact_TV = gradient(dense, student_TV, temperature)
    found_TV = np.mean(
        [gradient(targets_of(codec, given_block), student_TV, temperature) for codec in codecs[:200]], axis=0
    )
    # The loss is a mean over 5 tokens times T^2; its gradient has 1 / T.
    assert (np.abs(found_TV - exact_TV) <= 5 * temperature / 5 * error_TV * math.sqrt(3) + 1e-6).all()


def test_five_standard_errors_would_show_a_bias():
    """A guard of the test above: keeping the most likely ids instead of drawing lies far outside its bounds."""
    p_TV = softmax(doubtful(5, 30).logits_TV, 1.0)
    top_TV = np.where(p_TV >= np.sort(p_TV)[:, [-8]], p_TV, 0)
    top_TV /= top_TV.sum(axis=1, keepdims=True)
    error_TV = np.sqrt(p_TV * (1 - p_TV) / (8 * 600)) + 1e-6
    assert (np.abs(top_TV - p_TV) > 5 * error_TV).any(axis=1).all()


def test_systematic_draws_have_the_less_variance():
    given_block = likely(8, 200)
    p_TV = softmax(given_block.logits_TV, 1.0)

    def mean_square(draw):
        return np.mean([(estimate(Sampled(draw=draw, seed=seed), given_block) - p_TV) ** 2 for seed in range(40)])

    assert mean_square("systematic") < 0.6 * mean_square("independent")


@given(
    logits_TV=hnp.arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 30)), elements=st.floats(-9, 9, width=32)),
    draws=st.integers(1, 60),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_systematic_counts_are_the_expected_ones_rounded_down_or_up(logits_TV, draws):
    times_TV = estimate(Sampled(draws=draws), block(logits_TV)) * draws
    expected_TV = softmax(logits_TV, 1.0) * draws
    assert (np.abs(times_TV - np.rint(times_TV)) < 1e-3).all()
    assert (np.rint(times_TV) >= np.floor(expected_TV - 1e-6)).all()
    assert (np.rint(times_TV) <= np.ceil(expected_TV + 1e-6)).all()


def test_draws_depend_on_the_logits_and_the_seed_and_on_nothing_else():
    given_block = likely(8, 500)
    payload = Sampled().encode(given_block)
    assert Sampled().encode(attrs.evolve(given_block, id="another")) == payload
    assert Sampled(seed=1).encode(given_block) != payload
    nudged = given_block.logits_TV.copy()
    nudged[0, 0] = np.nextafter(nudged[0, 0], np.float32(99))
    rows = [estimate(Sampled(), each) for each in (given_block, block(nudged))]
    assert (rows[0][1:] != rows[1][1:]).any()


def test_tokens_of_one_record_are_drawn_independently():
    same = estimate(Sampled(draws=3), block(np.zeros((200, 1000))))
    assert len({tuple(np.flatnonzero(row)) for row in same}) > 150


@pytest.mark.parametrize("tokens", [0, 1, 2, 63, 64, 65, 130])
@pytest.mark.parametrize("draw", WAYS)
def test_another_reader_finds_the_same(tokens, draw):
    codec = Sampled(draws=9, draw=draw)
    payload = codec.encode(likely(tokens, 90, seed=tokens))
    ids, shares = plain_sparse.read_sampled(payload, draws=9)
    targets = codec.targets([(payload, tokens)], vocab_size=90, device="cpu")
    for token in range(tokens):
        kept = targets.ids_BTK[0, token] >= 0
        assert targets.ids_BTK[0, token][kept].tolist() == ids[token]
        np.testing.assert_allclose(targets.values_BTK[0, token][kept].exp(), shares[token], rtol=1e-6)
        assert (targets.values_BTK[0, token][~kept] == -math.inf).all()
        assert sum(shares[token]) == pytest.approx(1.0)
    assert (targets.log_tail_BT[1.0] == -math.inf).all()


def test_dense_logits_agree_with_the_targets():
    codec, given_block = Sampled(temperature=2.0), likely(6, 80)
    decoded_TV = codec.decode(codec.encode(given_block), tokens=6, vocab_size=80)
    np.testing.assert_allclose(softmax(decoded_TV, 2.0), estimate(codec, given_block), rtol=1e-5, atol=1e-12)


def test_a_batch_holds_its_records_with_padding_that_says_so():
    codec, blocks = Sampled(), [likely(3, 70, seed=1), block(np.eye(1, 70) * 99)]
    targets = codec.targets([(codec.encode(each), len(each.logits_TV)) for each in blocks], vocab_size=70, device="cpu")
    assert targets.lengths_B.tolist() == [3, 1]
    assert targets.ids_BTK[1, 0].tolist() == [0] + [-1] * (targets.ids_BTK.shape[-1] - 1)
    assert float(targets.values_BTK[1, 0, 0]) == 0
    alone = targets_of(codec, blocks[0])
    assert torch.equal(targets.ids_BTK[0, :, : alone.ids_BTK.shape[-1]], alone.ids_BTK[0])


@pytest.mark.parametrize(
    "logits",
    [np.zeros((3, 9)), np.zeros((3, 1)), [[1e38, -1e38, 0.0]], [[0.0, -750.0, -1e9]], np.zeros((2, 5000))],
)
@pytest.mark.parametrize("codec", [*CODECS, Sampled(temperature=0.01), Sampled(temperature=100.0)], ids=repr)
def test_odd_rows_come_back(codec, logits):
    given_block = block(logits)
    tokens, vocab_size = given_block.logits_TV.shape
    payload = codec.encode(given_block)
    assert len(payload) <= tokens * codec.bytes_per_token(vocab_size)
    assert np.isfinite(codec.decode(payload, tokens=tokens, vocab_size=vocab_size)).all()
    p_TV = softmax(given_block.logits_TV, codec.temperature)
    assert (p_TV[estimate(codec, given_block) > 0] > 0).all()


def test_fifty_draws_take_less_than_fifty_bytes_of_likely_logits():
    assert len(Sampled().encode(likely(40, 20_000))) < 50 * 40


@pytest.mark.parametrize("kind", ["flip", "cut", "noise"])
def test_damage_is_noticed_or_harmless(kind):
    codec = Sampled(draws=12)
    payload = codec.encode(likely(70, 40))
    random = np.random.default_rng(0)
    for _ in range(300):
        damaged = bytearray(payload)
        if kind == "flip":
            damaged[random.integers(len(damaged))] ^= 1 << random.integers(8)
        elif kind == "cut":
            del damaged[random.integers(len(damaged)) :]
        else:
            start = 8 + random.integers(len(damaged) - 8)
            damaged[start:] = random.bytes(len(damaged) - start)
        try:
            targets = codec.targets([(bytes(damaged), 70)], vocab_size=40, device="cpu")
        except DamagedData:
            continue
        assert kind != "cut"
        for ids_K, values_K in zip(targets.ids_BTK[0], targets.values_BTK[0], strict=True):
            ids = ids_K[ids_K >= 0]
            assert ((ids < 40) & (ids.diff(prepend=torch.tensor([-1])) > 0)).all()
            assert torch.isfinite(values_K[: len(ids)]).all()
            assert float(values_K.exp().sum()) == pytest.approx(1.0, abs=1e-5)
        assert np.isfinite(codec.decode(bytes(damaged), tokens=70, vocab_size=40)).all()


def test_draws_that_do_not_add_up_are_damage():
    payload = Sampled(draws=10).encode(synthetic_block(3, 50))
    for draws in (9, 11):
        with pytest.raises(DamagedData):
            Sampled(draws=draws).decode(payload, tokens=3, vocab_size=50)


@pytest.mark.parametrize(
    "options", [{"draws": 0}, {"temperature": 0.0}, {"temperature": float("nan")}, {"draw": "sorted"}, {"seed": -1}]
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        Sampled(**options)


def test_encoding_gives_the_bytes_that_it_always_gave():
    numbers = np.arange(150) * 7919 % 1009
    golden = block(((numbers - 504) / 64).reshape(3, 50))
    assert Sampled().encode(golden) == (FIXTURES / "sampled.bin").read_bytes()


def test_logits_beyond_its_range_are_refused_with_advice():
    with pytest.raises(UsageError, match='use the codec "float"'):
        Sampled().encode(block([[0.0, 3e38]]))
