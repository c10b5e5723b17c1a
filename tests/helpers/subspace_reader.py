"""A reader of `subspace` payloads made from docs/cache-format.md alone, with struct and NumPy."""

from __future__ import annotations

import struct

import numpy as np

TOTAL_BITS = 24


class _Words:
    """The decoder: a state of 64 bits that takes a word, from the last to the first, when it falls below 2^32."""

    def __init__(self, payload):
        self.words = list(struct.unpack(f"<{len(payload) // 4}I", payload))
        self.state = 0
        while self.words and self.state < 2**32:
            self.state = self.state << 32 | self.words.pop()

    def _advance(self, start, frequency):
        self.state = (self.state >> TOTAL_BITS) * frequency + (self.state & (2**TOTAL_BITS - 1)) - start
        if self.state < 2**32 and self.words:
            self.state = self.state << 32 | self.words.pop()

    def symbol(self, ends):
        place = int(np.searchsorted(ends, self.state & (2**TOTAL_BITS - 1), side="right"))
        start = int(ends[place - 1]) if place else 0
        self._advance(start, int(ends[place]) - start)
        return place

    def bits(self, count):
        value = (self.state & (2**TOTAL_BITS - 1)) >> (TOTAL_BITS - count)
        self._advance(value << (TOTAL_BITS - count), 1 << (TOTAL_BITS - count))
        return value


def read_numbers(state, payload, tokens):
    """The whole numbers [tokens, R]."""
    if tokens == 0:
        assert payload == b""
        return np.zeros((0, len(state["scales"])), np.int64)
    words = _Words(payload)
    class_ends = np.cumsum(state["class_frequencies"].astype(np.int64))
    classes = [words.symbol(class_ends) for _ in range(tokens)]
    widths = 2 * state["radii"].astype(np.int64) + 2
    tables = [np.cumsum(part) for part in np.split(state["frequencies"].astype(np.int64), np.cumsum(widths)[:-1])]
    cells = []
    for token in range(tokens):
        for coordinate, scale in enumerate(state["scales"]):
            place = min(max(int(scale) + classes[token] - 64, 0), 124)
            low = max(place - 25, 0) // 4
            cells.append((place - 4 * low, low, token, coordinate))
    high, lows = {}, {}
    by_table = sorted(cells, key=lambda cell: (cell[0], cell[2], cell[3]))
    for table, _, token, coordinate in by_table:
        high[token, coordinate] = words.symbol(tables[table]) - int(state["radii"][table])
    for _, low, token, coordinate in sorted(cells, key=lambda cell: (cell[1], cell[2], cell[3])):
        lows[token, coordinate] = words.bits(low) if low else 0
    escaped = [(t, c) for table, _, t, c in by_table if high[t, c] > int(state["radii"][table])]
    upper = [words.bits(16) for _ in escaped]
    for cell, value in zip(escaped, upper, strict=True):
        high[cell] = value * 65536 + words.bits(16) - 2**31
    assert words.bits(16) == 0xB5D1
    assert words.state == 0
    assert not words.words
    numbers = np.zeros((tokens, len(state["scales"])), np.int64)
    for _, low, token, coordinate in cells:
        numbers[token, coordinate] = (high[token, coordinate] << low) + lows[token, coordinate] - ((1 << low) >> 1)
    return numbers


def read_logits(state, payload, tokens):
    """The logits [tokens, V], but for a constant of each row."""
    coordinates = (read_numbers(state, payload, tokens) * float(state["step"][0])).astype(np.float32)
    return coordinates @ state["basis"].astype(np.float32) + state["offset"]
