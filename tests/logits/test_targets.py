"""Teacher targets out of a cache, and those of several codec states in one batch.

Letters: B batch, T target tokens, V vocabulary, K entries kept, R coordinates.
"""

from __future__ import annotations

import attrs
import numpy as np
import pytest
import torch
from cache_kit import VOCAB, block, fill, identity, key
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from kdkit.api.values import DenseTargets, EncodedExample, FactoredTargets, QuantizedTargets
from kdkit.builtin.codecs.float_ import Float
from kdkit.builtin.codecs.sampled import Sampled
from kdkit.builtin.codecs.subspace import Subspace
from kdkit.builtin.codecs.topk import TopK
from kdkit.builtin.codecs.u8_lz4 import U8LZ4
from kdkit.data.tokens import collate
from kdkit.errors import DamagedData
from kdkit.logits.cache import CacheWriter, LogitCache
from kdkit.logits.join_targets import Joiner
from kdkit.logits.targets import CachedTargets
from kdkit.losses.alignment import all_rows
from kdkit.testing import head_block, synthetic_block, synthetic_head, synthetic_states

NUMBERS = (7, 2, 5, 3, 9)


@attrs.frozen(kw_only=True)
class OneByOne:
    """A codec that can do no more than it must: it has no `targets`."""

    inner: U8LZ4 = attrs.field(factory=U8LZ4)

    def encode(self, given_block):
        return self.inner.encode(given_block)

    def decode(self, payload, *, tokens, vocab_size):
        return self.inner.decode(payload, tokens=tokens, vocab_size=vocab_size)

    def bytes_per_token(self, vocab_size):
        return self.inner.bytes_per_token(vocab_size)


def opened(folder, codec):
    """A cache of some records."""
    fill(folder, range(10), codec=codec)
    return LogitCache.open(folder, identity(codec), codec=codec)


def batch_of(cache):
    """The targets of some of its records, and a batch of these, out of order."""
    rows = [EncodedExample(id=str(n), source_ids=(1,), target_ids=(2,) * max(n % 5, 1)) for n in NUMBERS]
    targets = CachedTargets(cache=cache, keys={row.id: key(int(row.id)) for row in rows}, device="cpu")
    return targets, collate(rows, pad_id=0)


@pytest.mark.parametrize(
    ("codec", "kind", "stored"),
    [
        (U8LZ4(), QuantizedTargets, torch.uint8),
        (U8LZ4(clip=3.0), QuantizedTargets, torch.uint8),
        (Float(), DenseTargets, torch.float32),
        (Float(dtype="fp16"), DenseTargets, torch.float16),
        (Float(dtype="bf16", compression="zstd", planes=True), DenseTargets, torch.bfloat16),
        (OneByOne(), DenseTargets, torch.float32),
    ],
    ids=repr,
)
def test_a_batch_holds_what_is_stored_and_its_logits_are_those_of_its_records(tmp_path, codec, kind, stored):
    cache = opened(tmp_path, codec)
    targets, batch = batch_of(cache)
    found = targets(batch)
    assert type(found) is kind
    assert found.lengths_B.tolist() == [n % 5 for n in NUMBERS]
    assert (found.codes_BTV if isinstance(found, QuantizedTargets) else found.logits_BTV).dtype == stored
    expected_NV = np.concatenate([cache.decode(key(n)) for n in NUMBERS])
    assert found.logits(all_rows(found)).numpy().tobytes() == expected_NV.tobytes()


@pytest.mark.parametrize("codec", [U8LZ4(), OneByOne()], ids=repr)
def test_what_a_codec_cannot_read_is_said_by_record_though_it_is_what_was_written(tmp_path, codec):
    with CacheWriter(tmp_path, identity(codec), Float(), 600) as writer:
        for number in range(10):
            writer.add_block(key(number), block(number))
        writer.finish()
    targets, batch = batch_of(LogitCache.open(tmp_path, identity(codec), codec=codec))
    with pytest.raises(DamagedData, match=r"shard-.*: record \d+ is damaged: .*LZ4 frame"):
        targets(batch)


class Computed(TorchDispatchMode):
    """What torch is asked to compute in this thread."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.add(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_decoding_a_batch_computes_nothing_in_torch():
    """It is done in a thread beside the training, and torch would start a pool of threads of its own for that one."""
    states = [synthetic_states(tokens, 6, seed=tokens) for tokens in (40, 70, 3)]
    head = synthetic_head(900, 6)
    subspace = Subspace()
    of_head = subspace.bind(subspace.fit_head(head, [synthetic_states(50, 6, seed=1)]))
    for codec in (U8LZ4(), U8LZ4(clip=3.0), Float(dtype="bf16"), Float(), TopK(), Sampled(), of_head):
        records = [(codec.encode(head_block(head, each)), len(each.states_TD)) for each in states]
        codec.targets(records, vocab_size=900, device="cpu")  # a state goes to its device once
        with Computed() as computed:
            codec.targets(records, vocab_size=900, device="cpu")
        assert computed.names <= {"lift_fresh", "detach_", "detach", "view", "alias"}, codec


def as_batch(codec, blocks):
    records = [(codec.encode(each), len(each.logits_TV)) for each in blocks]
    return codec.targets(records, vocab_size=VOCAB, device="cpu")


CODECS = [
    U8LZ4(), U8LZ4(clip=3.0), Float(dtype="bf16"), Float(),
    TopK(k=5, temperatures=(1.0, 2.0)), Sampled(draws=8),
]  # fmt: skip


@pytest.mark.parametrize("codec", CODECS, ids=repr)
@given(lengths=st.lists(st.integers(0, 4), min_size=2, max_size=6), data=st.data())
@settings(max_examples=25, deadline=None)
def test_targets_of_parts_of_a_batch_are_joined_to_those_of_the_batch(codec, lengths, data):
    blocks = [synthetic_block(tokens, VOCAB, seed=place) for place, tokens in enumerate(lengths)]
    part_of = data.draw(st.lists(st.integers(0, 2), min_size=len(blocks), max_size=len(blocks)))
    groups = [[place for place, part in enumerate(part_of) if part == each] for each in dict.fromkeys(part_of)]
    parts = [(places, as_batch(codec, [blocks[place] for place in places])) for places in groups]
    joined, whole = Joiner()(parts), as_batch(codec, blocks)
    assert type(joined) is type(whole)
    assert joined.lengths_B.tolist() == lengths
    for name, expected in attrs.asdict(whole, recurse=False).items():
        found = getattr(joined, name)
        tensors = {name: (found, expected)} if isinstance(expected, torch.Tensor) else {}
        if name == "log_tail_BT":
            assert found.keys() == expected.keys()
            tensors = {f"{name} at {each}": (found[each], expected[each]) for each in expected}
        for what, (one, other) in tensors.items():
            assert one.dtype == other.dtype, what
            assert one.tolist() == other.tolist(), what


def test_targets_that_do_not_go_together_are_not_joined():
    blocks = [synthetic_block(2, VOCAB)]
    dense, codes = (as_batch(codec, blocks) for codec in (Float(), U8LZ4()))
    cool, warm = (as_batch(TopK(k=5, temperatures=(t,)), blocks) for t in (1.0, 2.0))
    for one, other in ((dense, codes), (cool, warm), (codes, cool)):
        assert Joiner()([([0], one), ([1], other)]) is None


def test_codes_of_records_with_and_without_masked_logits_are_joined():
    masked = synthetic_block(3, VOCAB)
    masked.logits_TV[1:, ::7] = -np.inf
    blocks = [synthetic_block(2, VOCAB), masked]
    plain, tailed = (as_batch(U8LZ4(), [each]) for each in blocks)
    joined, whole = Joiner()([([0], plain), ([1], tailed)]), as_batch(U8LZ4(), blocks)
    assert (plain.tail_BT, plain.logits(all_rows(plain)).isinf().any()) == (None, False)
    expected_NV = torch.cat([each.logits(all_rows(each)) for each in (plain, tailed)])
    for each in (joined, whole):
        assert torch.equal(each.logits(all_rows(each)), expected_NV)
    assert torch.equal(expected_NV[2:].isneginf(), torch.from_numpy(np.isneginf(masked.logits_TV)))


def test_half_and_single_precision_are_joined_in_the_wider():
    narrow, wide = (as_batch(Float(dtype=kind), [synthetic_block(3, VOCAB)]) for kind in ("fp16", "fp32"))
    joined = Joiner()([([1], narrow), ([0], wide)])
    assert isinstance(joined, DenseTargets)
    assert joined.logits_BTV.dtype == torch.float32
    assert joined.logits_BTV.tolist() == [wide.logits_BTV[0].tolist(), narrow.logits_BTV[0].tolist()]


@given(seed=st.integers(0, 99), lengths=st.lists(st.integers(0, 3), min_size=3, max_size=5))
@settings(max_examples=25, deadline=None)
def test_coordinates_over_several_bases_give_the_logits_of_each(seed, lengths):
    draw = torch.Generator().manual_seed(seed)
    parts, expected = [], {}
    for number, rank in enumerate((2, 3)):
        places = [place for place in range(len(lengths)) if place % 2 == number]
        own_B = torch.tensor([lengths[place] for place in places])
        part = FactoredTargets(
            coordinates_BTR=torch.randn(len(places), int(own_B.max()), rank, generator=draw),
            basis_RV=torch.randn(rank, 7, generator=draw),
            offset_V=torch.randn(7, generator=draw),
            lengths_B=own_B,
        )
        parts.append((places, part))
        logits_BTV = part.coordinates_BTR @ part.basis_RV + part.offset_V
        expected |= {p: row_TV[: lengths[p]] for p, row_TV in zip(places, logits_BTV, strict=True)}
    join = Joiner()
    joined = join(parts)
    assert joined.lengths_B.tolist() == lengths
    expected_NV = torch.cat([expected[place] for place in range(len(lengths))])
    torch.testing.assert_close(joined.logits(all_rows(joined)), expected_NV, atol=1e-5, rtol=1e-5)
    assert join(parts).basis_RV is joined.basis_RV
