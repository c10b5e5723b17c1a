"""Codec `u8-lz4`: the full vocabulary at 8 bits, in one LZ4 frame a record."""

from __future__ import annotations

from typing import ClassVar

import attrs

from kdkit.builtin.codecs.parts.uniform_lz4 import UniformGridLZ4


@attrs.frozen(kw_only=True)
class U8LZ4(UniformGridLZ4):
    """Eight bits a logit on an even grid, then LZ4."""

    bits: ClassVar[int] = 8
    # A step of half a nat then: divergence of at most 0.01, and no temperature that is used sees exp(-128).
    deepest: ClassVar[float] = 128.0
