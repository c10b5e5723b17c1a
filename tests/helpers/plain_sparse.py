"""A second reader of the payloads of `topk` and `sampled`, written from docs/cache-format.md alone, bit by bit.

It knows none of kdkit's code, and nothing but struct, math and NumPy.
"""

from __future__ import annotations

import math
import struct

import numpy as np


class Bits:
    """Reads bits from the highest of each byte down."""

    def __init__(self, payload):
        self.payload, self.at = payload, 0  # in bits

    def bit(self):
        bit = self.payload[self.at // 8] >> (7 - self.at % 8) & 1
        self.at += 1
        return bit

    def field(self, width):
        number = 0
        for _ in range(width):
            number = 2 * number + self.bit()
        return number

    def prefix(self):
        zeros = 0
        while not self.bit():
            zeros += 1
        return zeros

    def pad(self):
        while self.at % 8:
            assert self.bit() == 0

    def unpack(self, spec):
        self.pad()
        found = struct.unpack_from("<" + spec, self.payload, self.at // 8)
        self.at += 8 * struct.calcsize("<" + spec)
        return found

    def section(self, count):
        (code,) = self.unpack("B")
        b = code % 128
        prefixes = [self.prefix() for _ in range(count)]
        self.pad()
        if code < 128:
            numbers = [(prefix << b) + self.field(b) for prefix in prefixes]
        else:
            numbers = [self.field(prefix + b) + 2 ** (prefix + b) - 2**b for prefix in prefixes]
        self.pad()
        return numbers


def sets(bits, tokens):
    """The ids of each row."""
    rows = [[] for _ in range(tokens)]
    for first in range(0, tokens, 64):
        height = min(64, tokens - first)
        (size,) = bits.unpack("I")
        union = np.cumsum(np.array(bits.section(size)) + 1) - 1
        counts = [more + 1 for more in bits.section(size)] if height > 1 else [1] * size
        for token_id, count in zip(union, counts, strict=True):
            way = bits.field(math.ceil(math.log2(math.comb(height, count))))
            for left in range(count, 0, -1):
                row = max(r for r in range(height) if math.comb(r, left) <= way)
                way -= math.comb(row, left)
                rows[first + row].append(int(token_id))
        bits.pad()
    return rows


def read_topk(payload, *, k, temperatures, step):
    """Tails by temperature, and of each row its ids and values less their maximum."""
    bits = Bits(payload)
    tokens, vocab_size = bits.unpack("II")
    kept = min(k, vocab_size)
    tails = {each: [-math.inf] * tokens for each in temperatures}
    ids = [list(range(vocab_size))] * tokens
    if kept < vocab_size:
        tails = {each: list(bits.unpack(f"{tokens}f")) for each in temperatures}
        ids = sets(bits, tokens)
    above = np.array(bits.section(tokens * kept)).reshape(tokens, kept)
    assert bits.at == 8 * len(payload)
    masked = math.ceil(64 * max(temperatures) / step) + 1
    values = [
        [-math.inf if max(row) - number == masked else float(step * (number - max(row))) for number in row]
        for row in above.tolist()
    ]
    return tails, ids, values


def read_sampled(payload, *, draws):
    """Of each row its ids and their shares of the draws."""
    bits = Bits(payload)
    tokens, _ = bits.unpack("II")
    ids = sets(bits, tokens)
    times = iter(bits.section(sum(map(len, ids))))
    shares = [[(next(times) + 1) / draws for _ in row] for row in ids]
    assert bits.at == 8 * len(payload)
    return ids, shares
