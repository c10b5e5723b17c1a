"""Codec `u4-lz4`: the full vocabulary at 4 bits, two logits a byte, in one LZ4 frame a record."""

from __future__ import annotations

from typing import ClassVar

import attrs

from kdkit.builtin.codecs.parts.uniform_lz4 import UniformGridLZ4


@attrs.frozen(kw_only=True)
class U4LZ4(UniformGridLZ4):
    """Four bits a logit on an even grid, then LZ4: sixteen values are too few for most logits, unless with `clip`."""

    bits: ClassVar[int] = 4
    # Half of what eight bits have, since a step is 18 times as wide; exp(-64) is not seen up to a temperature of 4.
    deepest: ClassVar[float] = 64.0
