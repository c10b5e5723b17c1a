"""Small caches whose codec has learnt a state."""

from __future__ import annotations

import attrs
from cache_kit import block, identity, key
from fitted_codec import MeanCodec

from kdkit.logits.cache import CacheWriter

IDENTITY = attrs.evolve(identity(MeanCodec()), codec="mean")


def fill(folder, numbers, *, seed=0, note=None):
    options = {} if note is None else {"note": note}
    with CacheWriter(folder, IDENTITY, MeanCodec(), 600, **options) as writer:
        if writer.needs_state:
            writer.learn(MeanCodec().fit([block(seed + 3), block(seed + 4)]))
        for number in numbers:
            writer.add_block(key(number), block(number))
        writer.finish()


def states(folder):
    return sorted(folder.glob("state-*.safetensors"))
