"""Codec `subspace`: logits as coordinates in the output head's row space.

codec     the component: its options, and what it learns
fit       which coordinates, from an output head and a sample of hidden states
estimate  the head, where there are logits alone
state     what it learnt, as arrays
bound     the codec with its state: encodes and decodes
shaping   whole numbers for coordinates, rounded for the divergence
coder     whole numbers to bytes: the entropy coder
"""

from __future__ import annotations

from kdkit.builtin.codecs.subspace.codec import Subspace

__all__ = ["Subspace"]
