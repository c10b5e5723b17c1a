"""Which rows share a batch, in which order: a pure function of the rows' lengths, the options, the seed and the epoch.

Letters: N rows.
"""

from __future__ import annotations

import math
from itertools import chain
from typing import TYPE_CHECKING

import attrs
import numpy as np

from kdkit.data.encoded_rows import EncodedRows
from kdkit.data.packing import places_of
from kdkit.errors import UsageError
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import TypeAlias

    import numpy.typing as npt

    from kdkit.api.interfaces.models import ModelKind
    from kdkit.api.options import Training
    from kdkit.api.values import EncodedExample

    Indices: TypeAlias = npt.NDArray[np.int64]
    Batch: TypeAlias = Sequence[int]

POOL = 100
"""Batches whose rows are sorted together. With 50 the padding share of real data is a third more, with 200 a fifth
less; but the more rows are sorted, the less does chance say which of them meet.
"""


@attrs.frozen(kw_only=True, eq=False)
class Lengths:
    """How long each row is, made once for a training.

    Attributes:
        sources_N: Tokens of each source; of rows that are one sequence, of these.
        targets_N: Tokens of each target; 0 of rows that are one sequence.
        are_packed: Whether the rows of a batch are packed into sequences (see `kdkit.data.packing`).
    """

    sources_N: Indices
    targets_N: Indices
    are_packed: bool = False

    @classmethod
    def of(
        cls, rows: Sequence[EncodedExample], kind: ModelKind | None = None, options: Training | None = None
    ) -> Lengths:
        """Those of some rows, as a kind of model reads them in a training; by default sources and targets apart."""
        columns = EncodedRows.of(rows)
        sources_N, targets_N = columns.source_lengths, columns.target_lengths
        if kind is None or not kind.is_joined:
            return cls(sources_N=sources_N, targets_N=targets_N)
        read_N = sources_N + np.maximum(targets_N, 1) - 1  # the last label is not read
        packed = options is not None and options.packing
        return cls(sources_N=read_N, targets_N=np.zeros_like(read_N), are_packed=packed)

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.sources_N)

    def tokens(self, batches: Sequence[Batch]) -> int:
        """Tokens of the rows of some batches, sources and targets together."""
        order = _joined(batches)
        return int(self.sources_N[order].sum() + self.targets_N[order].sum())

    def positions(self, batches: Sequence[Batch]) -> int:
        """Their tokens when each batch is packed, or padded to its longest source and its longest target."""
        if self.are_packed:
            return sum(places_of(self.sources_N[list(batch)].tolist()) for batch in batches)
        sizes = np.array([len(batch) for batch in batches], np.int64)
        order, starts = _joined(batches), np.cumsum(sizes) - sizes
        longest = np.maximum.reduceat(self.sources_N[order], starts) + np.maximum.reduceat(
            self.targets_N[order], starts
        )
        return int((sizes * longest).sum())


def padding_share(lengths: Lengths, batches: Sequence[Batch]) -> float:
    """The share of padding in what some batches take, sources and targets together."""
    return 1 - lengths.tokens(batches) / lengths.positions(batches)


def epoch_order(lengths: Lengths, options: Training, *, seed: int, epoch: int) -> list[list[int]]:
    """The rows of each batch of an epoch.

    With `shuffle` the rows come in an order drawn again for each epoch. With `group_by_length` too, that order is dealt
    into pools of about 100 batches, at least two; the rows of a pool are sorted by length and cut into batches, and the
    batches of all pools come in random order. Which rows are in a pool is left to chance, so which rows share a batch
    differs from epoch to epoch.

    Args:
        lengths: How long each row is.
        options: How batches are made.
        seed: The recipe's.
        epoch: Which epoch, from 0.

    Raises:
        UsageError: Not one batch is full, and `drop_last` drops the rest.
    """
    generator = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    order = generator.permutation(len(lengths)) if options.shuffle else np.arange(len(lengths))
    # Rows are left out before they are sorted, or it would often be the longest.
    order = order[: _rows_taken(len(lengths), options)]
    grouped = options.shuffle and options.group_by_length
    if grouped:
        order = _by_length_in_pools(lengths, order, options)
    rows, stops = order.tolist(), _stops(lengths, order, options)
    batches = [rows[start:stop] for start, stop in zip([0, *stops], stops, strict=False)]
    return [batches[place] for place in generator.permutation(len(batches))] if grouped else batches


def total_steps(lengths: Lengths, options: Training, *, seed: int, tried: int | None = None) -> int:
    """Optimizer steps of a training, known before its first.

    Args:
        lengths: The rows' lengths.
        options: How batches are made, and how long.
        seed: The training's.
        tried: How many epochs are tried at most where batches are budgets of tokens, which come out differently in each
            epoch: the others are taken to be like these, for an estimate. By default each epoch is, and the steps are
            exact.
    """
    differ = options.batch_tokens and options.shuffle
    counted = min(options.epochs, tried or options.epochs) if differ else 1
    steps = epochs = 0
    while epochs < counted and not (options.max_steps and steps >= options.max_steps):
        if options.batch_tokens:
            batches = len(epoch_order(lengths, options, seed=seed, epoch=epochs))
        else:
            batches = -(-_rows_taken(len(lengths), options) // options.batch_size)
        steps += -(-batches // options.accumulation)
        epochs += 1
    total = steps * options.epochs // epochs
    return min(total, options.max_steps) if options.max_steps else total


def _rows_taken(rows: int, options: Training) -> int:
    """How many of so many rows an epoch takes."""
    fills = options.batch_tokens or not options.drop_last
    taken = rows if fills else rows // options.batch_size * options.batch_size
    if not taken:
        raise UsageError(
            f"{plural(rows, 'training row')} {'does' if rows == 1 else 'do'} not fill one batch of "
            f"{options.batch_size}; lower training.batch_size or set training.drop_last = false"
        )
    return taken


def _joined(batches: Sequence[Batch]) -> Indices:
    return np.fromiter(chain.from_iterable(batches), np.int64)


def _by_length_in_pools(lengths: Lengths, order: Indices, options: Training) -> Indices:
    """The rows sorted by length within pools, so that neighbours pad each other little.

    A pool is sorted by source, cut into bands, and each band sorted by target. Every second band and pool is turned
    round: a batch that reaches from one into the next finds rows of like length there too.
    """
    count = len(order)
    sources_N, targets_N = lengths.sources_N[order], lengths.targets_N[order]
    a_batch = options.batch_size
    if options.batch_tokens:
        a_batch = max(1, options.batch_tokens * count // int((sources_N + targets_N).sum()))
    pools = max(2, -(-count // (POOL * a_batch)))
    # Of B bands and P batches a pool, sources differ in a batch by about their span / B, targets by theirs * B / P.
    # Whole numbers alone: all machines must find the same order.
    batches = max(1, count // (pools * a_batch))
    bands = min(batches, max(1, math.isqrt(batches * _span(sources_N) // _span(targets_N))))
    place_N = np.arange(count)
    pool_N = place_N * pools // count
    by_source_N = _sorted_within(pool_N, sources_N)  # pools stay where they are
    band_N = (place_N - -(-pool_N * count // pools)) * bands * pools // count
    targets_N = np.where((pool_N + band_N) % 2, -1, 1) * targets_N[by_source_N]
    band_N = np.where(pool_N % 2, bands - 1 - band_N, band_N)
    chosen: Indices = order[by_source_N[_sorted_within(pool_N * bands + band_N, targets_N)]]
    return chosen


def _sorted_within(groups_N: Indices, values_N: Indices) -> Indices:
    """Where to find the rows group by group, and by value within a group; equal ones stay in their order."""
    lowest = int(values_N.min())
    return np.argsort(groups_N * (int(values_N.max()) - lowest + 1) + values_N - lowest, kind="stable")


def _span(lengths_N: Indices) -> int:
    """How far apart lengths are, but for the longest and shortest tenth; at least 1."""
    tenth = len(lengths_N) // 10
    ordered = np.partition(lengths_N, (tenth, len(lengths_N) - 1 - tenth))
    return max(1, int(ordered[len(lengths_N) - 1 - tenth] - ordered[tenth]))


def _stops(lengths: Lengths, order: Indices, options: Training) -> list[int]:
    """Where each batch ends, of rows in their order."""
    if not options.batch_tokens:
        return [*range(options.batch_size, len(order), options.batch_size), len(order)]
    if lengths.are_packed:
        return _packed_stops(lengths.sources_N[order].tolist(), options.batch_tokens)
    stops, start, source, target = [], 0, 0, 0
    sizes = zip(lengths.sources_N[order].tolist(), lengths.targets_N[order].tolist(), strict=True)
    for place, (own_source, own_target) in enumerate(sizes):
        source = own_source if own_source > source else source  # noqa: FURB136 - thrice as fast as `max`
        target = own_target if own_target > target else target  # noqa: FURB136
        if (place + 1 - start) * (source + target) > options.batch_tokens and place > start:
            stops.append(place)
            start, source, target = place, own_source, own_target
    return [*stops, len(order)]


def _packed_stops(lengths: Sequence[int], most: int) -> list[int]:
    """Where each batch ends: as many rows as would fit without padding, less those that do not fit with it."""
    stops: list[int] = []
    start = 0
    while start < len(lengths):
        stop, tokens = start + 1, lengths[start]
        while stop < len(lengths) and tokens + lengths[stop] <= most:
            tokens += lengths[stop]
            stop += 1
        while stop > start + 1 and places_of(lengths[start:stop]) > most:
            stop -= 1
        stops.append(stop)
        start = stop
    return stops
