"""Codec `topk`. Letters: T target tokens, V vocabulary, K entries kept."""

from __future__ import annotations

import json
import math
import time
import tracemalloc
from pathlib import Path

import attrs
import hypothesis.extra.numpy as hnp
import numpy as np
import plain_sparse
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdkit.api.interfaces import BatchCodec, SparseCodec
from kdkit.api.values import DenseTargets, TeacherBlock
from kdkit.builtin.codecs.parts.integers import Reader, write_fields, write_integers
from kdkit.builtin.codecs.topk import DEEPEST, TopK
from kdkit.errors import DamagedData, UsageError
from kdkit.losses import distillation_loss
from kdkit.testing import check_codec, synthetic_block

FIXTURES = Path(__file__).parents[2] / "fixtures"
CODECS = [
    TopK(),
    TopK(k=1),
    TopK(k=5, temperatures=(0.5, 1.0, 2.0, 4.0)),
    TopK(k=40, step=0.25, temperatures=(3.0,)),
    TopK(k=100_000),
]


def block(logits_TV):
    return TeacherBlock(id="row 7", logits_TV=np.ascontiguousarray(logits_TV, np.float32))


def arrays(limit=1e38):
    limit = float(np.float32(limit))
    # Few values, so that ties are the rule; wide ones; and ordinary ones.
    elements = st.one_of(
        st.integers(-3, 3).map(float), st.floats(-limit, limit, width=32), st.floats(-30, 30, width=32)
    )
    return hnp.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 40)), elements=elements)


def likely(tokens, vocab_size, seed=0):
    """Logits as models give them: few likely ids, many of them the same from token to token."""
    random = np.random.default_rng(seed)
    common_V, own_TV = random.gumbel(size=vocab_size), random.gumbel(size=(tokens, vocab_size))
    return block(common_V * 1.5 + own_TV)


def log_softmax(logits, temperature):
    x = np.asarray(logits, np.float64) / temperature
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def targets_of(codec, given_block):
    tokens, vocab_size = given_block.logits_TV.shape
    return codec.targets([(codec.encode(given_block), tokens)], vocab_size=vocab_size, device="cpu")


@pytest.mark.parametrize("codec", CODECS, ids=repr)
def test_it_keeps_the_promises_of_the_protocol(codec):
    assert isinstance(codec, BatchCodec)
    assert isinstance(codec, SparseCodec)
    assert codec.exact_temperatures == codec.temperatures
    check_codec(codec)


@given(logits_TV=arrays(), k=st.integers(1, 45), step=st.sampled_from([2.0**-10, 2.0**-6, 0.3]))
@settings(max_examples=60, deadline=None)
def test_the_largest_are_kept_within_half_a_step_and_of_equals_the_first(logits_TV, k, step):
    targets = targets_of(TopK(k=k, step=step), block(logits_TV))
    for token, logits_V in enumerate(logits_TV):
        first = np.argsort(-logits_V.astype(np.float64), kind="stable")[:k]
        assert targets.ids_BTK[0, token].tolist() == sorted(first.tolist())
        below_K = logits_V.max() - logits_V[np.sort(first)].astype(np.float64)
        error_K = np.abs(-targets.values_BTK[0, token].numpy().astype(np.float64) - np.minimum(below_K, DEEPEST))
        assert error_K.max() <= step / 2 + (step if below_K.max() >= DEEPEST else 0) + 2.0**-17
        assert targets.values_BTK[0, token].max() == 0


@given(logits_TV=arrays(), k=st.integers(1, 45))
@settings(max_examples=60, deadline=None)
def test_the_others_mass_is_exact_at_each_temperature(logits_TV, k):
    codec = TopK(k=k, temperatures=(0.5, 1.0, 4.0))
    targets = targets_of(codec, block(logits_TV))
    for temperature in codec.temperatures:
        logp_TV = log_softmax(logits_TV, temperature)
        for token, logp_V in enumerate(logp_TV):
            others = np.delete(logp_V, targets.ids_BTK[0, token].numpy())
            found = float(targets.log_tail_BT[temperature][0, token])
            if not others.size:
                assert found == -math.inf
                continue
            exact = others.max() + np.log(np.exp(others - others.max()).sum())
            assert found == pytest.approx(max(exact, -700.0), rel=1e-6)
            assert found < 0


@pytest.mark.parametrize("k", [8, 3000])
def test_tokens_that_are_encoded_together_are_encoded_as_each_alone(k):
    logits_TV = np.random.default_rng(5).normal(0, 4, (23, 3000)).astype(np.float32)
    logits_TV[3] = np.round(logits_TV[3])  # ties
    logits_TV[7, 8:] = -np.inf
    codec = TopK(k=k, temperatures=(1.0, 2.0))
    together = targets_of(codec, block(logits_TV))
    for token in range(len(logits_TV)):
        alone = targets_of(codec, block(logits_TV[token : token + 1]))
        assert together.ids_BTK[0, token].equal(alone.ids_BTK[0, 0])
        assert together.values_BTK[0, token].equal(alone.values_BTK[0, 0])
        for temperature in codec.temperatures:
            assert together.log_tail_BT[temperature][0, token] == alone.log_tail_BT[temperature][0, 0]


@given(logits_TV=arrays(), k=st.integers(1, 45), temperature=st.sampled_from([0.5, 1.0, 4.0]))
@settings(max_examples=60, deadline=None)
def test_kept_probabilities_are_off_by_no_more_than_the_step_says(logits_TV, k, temperature):
    codec = TopK(k=k, temperatures=(temperature,))
    targets = targets_of(codec, block(logits_TV))
    share_T1 = -torch.special.expm1(targets.log_tail_BT[temperature][0].double())[:, None]
    found_TK = torch.log_softmax(targets.values_BTK[0].double() / temperature, dim=-1) + torch.log(share_T1)
    ids_TK = targets.ids_BTK[0].numpy()
    exact_TK = np.take_along_axis(log_softmax(logits_TV, temperature), ids_TK, axis=1)
    near_TK = np.take_along_axis(logits_TV.max(axis=1, keepdims=True) - logits_TV.astype(np.float64), ids_TK, 1) < DEEPEST / 2  # fmt: skip
    assert np.abs(found_TK.numpy() - exact_TK)[near_TK].max() <= codec.step / temperature + 2.0**-16


@given(logits_TV=arrays(), k=st.integers(1, 45), temperatures=st.sampled_from([(1.0,), (0.5, 2.0), (4.0, 1.0)]))
@settings(max_examples=50, deadline=None)
def test_dense_logits_agree_with_the_targets(logits_TV, k, temperatures):
    codec = TopK(k=k, temperatures=temperatures)
    payload = codec.encode(block(logits_TV))
    tokens, vocab_size = logits_TV.shape
    decoded_TV = codec.decode(payload, tokens=tokens, vocab_size=vocab_size)
    assert np.isfinite(decoded_TV).all()
    targets = targets_of(codec, block(logits_TV))
    logp_TV = log_softmax(decoded_TV, temperatures[0])
    for token in range(tokens):
        ids = targets.ids_BTK[0, token].numpy()
        assert (decoded_TV[token, ids] == targets.values_BTK[0, token].numpy()).all()
        others = np.delete(logp_TV[token], ids)
        if others.size:
            assert np.ptp(others) == 0
            tail = float(targets.log_tail_BT[temperatures[0]][0, token])
            assert others[0] + math.log(others.size) == pytest.approx(tail, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_with_the_whole_vocabulary_kept_the_loss_and_its_gradient_are_the_dense_ones(temperature):
    given_block = likely(6, 60)
    student_BTV = torch.randn(1, 6, 60, generator=torch.Generator().manual_seed(0))
    gradients = []
    for targets in (
        targets_of(TopK(k=60, step=2.0**-20, temperatures=(temperature,)), given_block),
        DenseTargets(logits_BTV=torch.from_numpy(given_block.logits_TV)[None], lengths_B=torch.tensor([6])),
    ):
        leaf = student_BTV.clone().requires_grad_()
        labels_BT = torch.zeros(1, 6, dtype=torch.long)
        distillation_loss(leaf, targets, labels_BT, alpha=1.0, temperature=temperature).total.backward()
        gradients.append(leaf.grad)
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-3, atol=1e-5)


def test_a_batch_holds_its_records_with_padding_that_says_so():
    codec, blocks = TopK(k=4), [likely(3, 9, seed=1), likely(1, 9, seed=2)]
    targets = codec.targets([(codec.encode(each), len(each.logits_TV)) for each in blocks], vocab_size=9, device="cpu")
    assert targets.lengths_B.tolist() == [3, 1]
    assert targets.ids_BTK.shape == (2, 3, 4)
    assert (targets.ids_BTK[1, 1:] == -1).all()
    assert (targets.values_BTK[1, 1:] == -math.inf).all()
    for index, each in enumerate(blocks):
        alone = targets_of(codec, each)
        length = len(each.logits_TV)
        assert torch.equal(targets.ids_BTK[index, :length], alone.ids_BTK[0])
        assert torch.equal(targets.values_BTK[index, :length], alone.values_BTK[0])
        assert torch.equal(targets.log_tail_BT[1.0][index, :length], alone.log_tail_BT[1.0][0])


@pytest.mark.parametrize("tokens", [0, 1, 2, 63, 64, 65, 130])
def test_another_reader_finds_the_same(tokens):
    codec = TopK(k=7, temperatures=(1.0, 2.0))
    logits_TV = likely(tokens, 90, seed=tokens).logits_TV
    logits_TV[::3, 5:] = -np.inf  # in some rows fewer are left than are kept
    logits_TV[1::3, ::2] = -np.inf
    payload = codec.encode(block(logits_TV))
    tails, ids, values = plain_sparse.read_topk(payload, k=7, temperatures=(1.0, 2.0), step=codec.step)
    targets = codec.targets([(payload, tokens)], vocab_size=90, device="cpu")
    assert targets.ids_BTK[0].tolist() == ids
    assert targets.values_BTK[0].tolist() == values
    assert {each: tail_BT[0].tolist() for each, tail_BT in targets.log_tail_BT.items()} == tails


def test_another_reader_finds_the_same_where_everything_is_kept():
    codec = TopK(k=50)
    payload = codec.encode(synthetic_block(3, 50))
    _, ids, values = plain_sparse.read_topk(payload, k=50, temperatures=(1.0,), step=codec.step)
    assert ids == [list(range(50))] * 3
    np.testing.assert_array_equal(codec.decode(payload, tokens=3, vocab_size=50), np.float32(values))


@given(st.lists(st.one_of(st.integers(0, 9), st.integers(0, 2**40)), max_size=60))
@settings(max_examples=60, deadline=None)
def test_sections_of_numbers_come_back(numbers):
    payload = write_integers(np.array(numbers, np.int64))
    reader = Reader(payload)
    assert reader.integers(len(numbers), most=2**40).tolist() == numbers
    reader.end()
    assert plain_sparse.Bits(payload).section(len(numbers)) == numbers


@given(st.lists(st.integers(0, 62).flatmap(lambda w: st.tuples(st.just(w), st.integers(0, 2**w - 1))), max_size=40))
@settings(max_examples=60, deadline=None)
def test_fields_of_any_width_come_back(fields):
    widths, numbers = (np.array([field[i] for field in fields], np.int64) for i in (0, 1))
    reader = Reader(write_fields(numbers, widths))
    assert reader.fields(widths).tolist() == numbers.tolist()
    reader.end()


def test_it_takes_less_than_two_thirds_of_a_flat_coding():
    codec, given_block = TopK(), likely(40, 20_000)
    flat = 40 * codec.k * (math.ceil(math.log2(20_000)) + 16) / 8
    assert len(codec.encode(given_block)) <= flat * 2 / 3


def test_ids_that_tokens_share_are_named_once():
    codec = TopK(step=1.0)  # values of few bits: what is left are ids
    shared_TV = np.tile(likely(1, 5000).logits_TV, (40, 1))
    strangers_TV = np.random.default_rng(0).gumbel(size=(40, 5000))
    assert len(codec.encode(block(shared_TV))) < 0.4 * len(codec.encode(block(strangers_TV)))


@pytest.mark.parametrize(
    ("logits", "k"),
    [
        (np.zeros((3, 9)), 4),
        (np.zeros((3, 9)), 9),
        (np.zeros((3, 1)), 4),
        ([[1e38, -1e38, 0.0]], 1),
        ([[1e38, 0.0, -1e38]], 2),
        ([[0.0, -750.0, -750.0]], 1),
        ([[0.0, -709.0, -709.0]], 1),
        ([[-0.0, 0.0, -0.0]], 2),
    ],
)
def test_odd_rows_come_back(logits, k):
    given_block = block(logits)
    tokens, vocab_size = given_block.logits_TV.shape
    codec = TopK(k=k, temperatures=(1.0, 0.01, 100.0))
    payload = codec.encode(given_block)
    assert len(payload) <= tokens * codec.bytes_per_token(vocab_size)
    assert np.isfinite(codec.decode(payload, tokens=tokens, vocab_size=vocab_size)).all()
    assert targets_of(codec, given_block).ids_BTK[0].tolist() == [list(range(min(k, vocab_size)))] * tokens


@given(logits_TV=arrays(), k=st.integers(1, 45), times=st.integers(1, 15))
@settings(max_examples=50, deadline=None)
def test_no_record_is_larger_than_promised(logits_TV, k, times):
    codec = TopK(k=k)
    many_TV = np.tile(logits_TV, (times, 1))
    assert len(codec.encode(block(many_TV))) <= len(many_TV) * codec.bytes_per_token(many_TV.shape[1])


@pytest.mark.parametrize("kind", ["flip", "cut", "noise"])
def test_damage_is_noticed_or_harmless(kind):
    """A flipped bit may give other numbers, never other errors, ids out of range or ids twice."""
    codec = TopK(k=6, temperatures=(1.0, 2.0))
    payload = codec.encode(likely(70, 40))
    random = np.random.default_rng(0)
    kept = 0
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
        kept += 1
        assert targets.ids_BTK.shape == (1, 70, 6)
        assert torch.isfinite(targets.values_BTK).all()
        assert ((targets.ids_BTK >= 0) & (targets.ids_BTK < 40)).all()
        assert (targets.ids_BTK.diff(dim=-1) > 0).all()
        assert all(bool((tail_BT < 0).all()) for tail_BT in targets.log_tail_BT.values())
        assert np.isfinite(codec.decode(bytes(damaged), tokens=70, vocab_size=40)).all()
    assert kept == 0 or kind != "cut"


@pytest.mark.parametrize("filler", [b"\0", b"\xff", b"\x7f\xff\xff\xff"])
def test_a_forged_payload_is_refused_in_little_memory_and_time(filler):
    """Numbers of any size, prefixes without end, and unions as large as the vocabulary."""
    codec = TopK()
    tokens, vocab_size = 60, 2**31 - 1
    payload = codec.encode(likely(tokens, 200))[8 : 8 + 4 * tokens]
    payload = np.array([tokens, vocab_size], "<u4").tobytes() + payload + (filler * 30_000)[:30_000]
    tracemalloc.start()
    start = time.perf_counter()
    try:
        with pytest.raises(DamagedData):
            codec.targets([(payload, tokens)], vocab_size=vocab_size, device="cpu")
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
        assert time.perf_counter() - start < 1
    finally:
        tracemalloc.stop()


def test_a_tail_that_no_encoder_writes_is_damage():
    payload = bytearray(TopK(k=3).encode(synthetic_block(1, 50)))
    for tail in (0.0, 1.0, float("nan"), float("inf"), -701.0):
        payload[8:12] = np.float32(tail).tobytes()
        with pytest.raises(DamagedData, match="mass"):
            TopK(k=3).decode(bytes(payload), tokens=1, vocab_size=50)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"k": 0}, "k"),
        ({"temperatures": ()}, "has no temperature; give at least one"),
        ({"temperatures": (1.0, 0.0)}, "has the temperature 0; temperatures must be from 0.01 to 100"),
        ({"temperatures": (float("nan"),)}, "has the temperature nan"),
        ({"temperatures": (1.0, 2.0, 1.0)}, "has the temperature 1 more than once"),
        ({"step": 0.0}, "step"),
        ({"step": float("nan")}, "step"),
    ],
)
def test_options_out_of_range_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        TopK(**options)


def test_options_out_of_a_caches_json_make_an_equal_codec():
    codec = TopK(temperatures=(1.0, 2.0))
    again = TopK(**json.loads(json.dumps(attrs.asdict(codec))))
    assert again == codec
    assert hash(again) == hash(codec)


def test_encoding_gives_the_bytes_that_it_always_gave():
    numbers = np.arange(150) * 7919 % 1009
    golden = block(((numbers - 504) / 64).reshape(3, 50))
    assert TopK(k=8, temperatures=(1.0, 2.0)).encode(golden) == (FIXTURES / "topk-8.bin").read_bytes()


def test_logits_beyond_its_range_are_refused_with_advice():
    with pytest.raises(UsageError, match='use the codec "float"'):
        TopK().encode(block([[0.0, 3e38]]))
