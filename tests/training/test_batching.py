from __future__ import annotations

import math
import time
from itertools import pairwise

import attrs
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdkit.api.options import Training
from kdkit.api.values import EncodedExample
from kdkit.errors import UsageError
from kdkit.training.batching import Lengths, epoch_order, padding_share, total_steps

seeds = st.integers(0, 2**32 - 1)
epochs = st.integers(0, 5)
pairs = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 9)), min_size=1, max_size=60)
trainings = st.builds(
    Training,
    epochs=st.integers(1, 4),
    max_steps=st.integers(0, 60),
    batch_size=st.integers(1, 9),
    batch_tokens=st.one_of(st.just(0), st.integers(1, 200)),
    accumulation=st.integers(1, 5),
    shuffle=st.booleans(),
    group_by_length=st.booleans(),
    drop_last=st.booleans(),
)


def lengths_of(pairs) -> Lengths:
    return Lengths.of(
        [
            EncodedExample(id=str(i), source_ids=(3,) * source, target_ids=(4,) * target)
            for i, (source, target) in enumerate(pairs)
        ]
    )


def mixed(seed: int, rows: int = 400) -> Lengths:
    """Sources of 1 to 199 tokens, targets of 1 to 29."""
    draw = np.random.default_rng(seed)
    return Lengths(sources_N=draw.integers(1, 200, rows), targets_N=draw.integers(1, 30, rows))


def taken(rows: int, options: Training) -> int:
    """Rows that an epoch takes."""
    return rows // options.batch_size * options.batch_size if options.drop_last and not options.batch_tokens else rows


def padded(pairs, batch) -> int:
    return len(batch) * (max(pairs[i][0] for i in batch) + max(pairs[i][1] for i in batch))


@given(pairs, trainings, seeds, epochs)
@settings(max_examples=150, deadline=None)
def test_an_epoch_takes_every_row_once_but_for_those_that_fill_no_batch(pairs, options, seed, epoch):
    lengths = lengths_of(pairs)
    if not taken(len(pairs), options):
        with pytest.raises(UsageError, match="not fill one batch"):
            epoch_order(lengths, options, seed=seed, epoch=epoch)
        return
    batches = epoch_order(lengths, options, seed=seed, epoch=epoch)
    flat = [row for batch in batches for row in batch]
    assert len(flat) == len(set(flat)) == taken(len(pairs), options)
    assert set(flat) <= set(range(len(pairs)))
    assert all(batches)
    if not options.batch_tokens:
        assert sorted(map(len, batches))[1:] == [options.batch_size] * (len(batches) - 1)
    if not options.shuffle:
        assert flat == list(range(len(flat)))


@given(pairs, trainings, seeds, epochs)
@settings(max_examples=50, deadline=None)
def test_an_order_depends_on_lengths_options_seed_and_epoch_alone(pairs, options, seed, epoch):
    options = attrs.evolve(options, drop_last=False)
    batches = epoch_order(lengths_of(pairs), options, seed=seed, epoch=epoch)
    np.random.seed(epoch)  # noqa: NPY002 - the global generator must not matter
    torch.manual_seed(epoch)
    assert batches == epoch_order(lengths_of(pairs), options, seed=seed, epoch=epoch)


@given(pairs, st.integers(1, 300), st.booleans(), st.booleans(), seeds)
@settings(max_examples=150, deadline=None)
def test_a_budget_is_kept_but_for_rows_that_are_longer(pairs, budget, shuffle, group, seed):
    options = Training(batch_tokens=budget, shuffle=shuffle, group_by_length=group)
    for batch in epoch_order(lengths_of(pairs), options, seed=seed, epoch=0):
        assert padded(pairs, batch) <= budget or len(batch) == 1


@given(pairs, st.integers(1, 300), st.booleans(), seeds)
@settings(max_examples=100, deadline=None)
def test_a_batch_takes_as_many_rows_of_the_order_as_fit(pairs, budget, shuffle, seed):
    options = Training(batch_tokens=budget, shuffle=shuffle, group_by_length=False)
    batches = epoch_order(lengths_of(pairs), options, seed=seed, epoch=0)
    for batch, following in pairwise(batches):
        assert padded(pairs, [*batch, following[0]]) > budget


@pytest.mark.parametrize("group", [False, True])
@pytest.mark.parametrize("budget", [0, 900])
def test_epochs_and_seeds_have_orders_of_their_own(group, budget):
    lengths = lengths_of([(5, 2), (9, 2)] * 50)
    options = Training(batch_size=4, batch_tokens=budget, group_by_length=group)
    orders = [epoch_order(lengths, options, seed=seed, epoch=epoch) for seed in (1, 2) for epoch in (0, 1, 2)]
    assert all(one != other for i, one in enumerate(orders) for other in orders[:i])


@given(seeds, st.sampled_from([0, 600, 2400]))
@settings(max_examples=20, deadline=None)
def test_batches_of_like_length_pad_less_and_still_differ_between_epochs(seed, budget):
    lengths, plain = mixed(seed), Training(batch_size=8, batch_tokens=budget, group_by_length=False)
    grouped = attrs.evolve(plain, group_by_length=True)
    alike = epoch_order(lengths, grouped, seed=seed, epoch=0)
    later = epoch_order(lengths, grouped, seed=seed, epoch=1)
    assert padding_share(lengths, alike) < padding_share(lengths, epoch_order(lengths, plain, seed=seed, epoch=0)) / 2
    assert {frozenset(batch) for batch in alike} != {frozenset(batch) for batch in later}


def test_sources_and_targets_are_both_of_like_length():
    """Where one says nothing of the other, sorting by source leaves targets of all lengths in a batch, and by sum too."""
    lengths = mixed(0, rows=6400)
    options = Training(batch_size=8, group_by_length=True)
    batches = epoch_order(lengths, options, seed=0, epoch=0)
    total = lengths.sources_N + lengths.targets_N
    by_source, by_sum = (np.argsort(key, kind="stable").reshape(-1, 8).tolist() for key in (lengths.sources_N, total))
    assert padding_share(lengths, batches) < min(padding_share(lengths, by_source), padding_share(lengths, by_sum))


def test_batches_of_like_length_come_in_no_order_of_length():
    lengths = lengths_of([(length, 1) for length in range(1, 201)])
    batches = epoch_order(lengths, Training(batch_size=4, group_by_length=True), seed=1, epoch=0)
    first = [batch[0] for batch in batches]
    assert first != sorted(first)


def test_rows_that_are_left_out_are_not_always_the_longest():
    lengths = lengths_of([(length, 1) for length in range(1, 11)])
    options = Training(batch_size=4, group_by_length=True, drop_last=True)
    out = set()
    for epoch in range(20):
        out |= set(range(10)) - {row for batch in epoch_order(lengths, options, seed=0, epoch=epoch) for row in batch}
    assert len(out) > 8


def test_fewer_rows_than_a_batch_are_refused_with_what_to_do():
    with pytest.raises(UsageError, match=r"3 training rows do not fill one batch of 4; .*batch_size.*drop_last"):
        epoch_order(lengths_of([(1, 1), (2, 1), (3, 1)]), Training(batch_size=4, drop_last=True), seed=0, epoch=0)


@given(pairs, trainings, seeds)
@settings(max_examples=100, deadline=None)
def test_steps_are_known_before_the_first(pairs, options, seed):
    lengths = lengths_of(pairs)
    if not taken(len(pairs), options):
        with pytest.raises(UsageError, match="not fill one batch"):
            total_steps(lengths, options, seed=seed)
        return
    steps: list[int] = []
    for epoch in range(options.epochs):
        batches = epoch_order(lengths, options, seed=seed, epoch=epoch)
        whole = math.ceil(len(batches) / options.accumulation)
        left = options.max_steps - sum(steps) if options.max_steps else whole
        steps += [min(whole, left)] if left else []
    assert total_steps(lengths, options, seed=seed) == sum(steps)


@pytest.mark.parametrize("budget", [0, 12])
def test_an_estimate_of_very_many_epochs_takes_no_longer_than_one_of_few(budget):
    lengths = lengths_of([(number % 5 + 1, 2) for number in range(40)])
    options = Training(epochs=10**9, batch_size=4, batch_tokens=budget)
    few = total_steps(lengths, attrs.evolve(options, epochs=20), seed=0)
    assert total_steps(lengths, options, seed=0, tried=20) == few * (10**9 // 20)


@given(pairs, st.integers(1, 9))
@settings(max_examples=50, deadline=None)
def test_padding_is_what_is_no_token(pairs, size):
    lengths = lengths_of(pairs)
    batches = [list(range(len(pairs)))[start : start + size] for start in range(0, len(pairs), size)]
    tokens, positions = sum(map(sum, pairs)), sum(padded(pairs, batch) for batch in batches)
    assert (lengths.tokens(batches), lengths.positions(batches)) == (tokens, positions)
    assert padding_share(lengths, batches) == pytest.approx(1 - tokens / positions)
    assert padding_share(lengths, [[0]]) == 0


def test_twenty_times_the_rows_take_about_twenty_times_the_time():
    """Up to four times as much is allowed: rows are sorted, and times are noisy. A square would be twenty times."""
    options = Training(batch_tokens=2000, group_by_length=True)

    def seconds(rows: int) -> float:
        lengths, found = mixed(0, rows), []
        for epoch in range(3):
            began = time.process_time()
            epoch_order(lengths, options, seed=0, epoch=epoch)
            found.append(time.process_time() - began)
        return min(found)

    assert seconds(100_000) < 80 * seconds(5_000)
