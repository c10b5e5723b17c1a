"""Decoders of `u8-lz4`, `u4-lz4` and `float` records, written from docs/cache-format.md and the LZ4 format alone.

They share no code with kdkit: struct and NumPy do the work, and only zstd frames are left to the zstd library.
"""

from __future__ import annotations

import struct

import numpy as np

LZ4_MAGIC = 0x184D2204


def decode(codec: str, options: dict, payload: bytes, tokens: int, vocab_size: int) -> np.ndarray:
    """Float32 `[T, V]`, after the codec's registered name."""
    decoders = {"u8-lz4": u8_lz4, "u4-lz4": u4_lz4, "float": plain_float}
    return decoders[codec](options, payload, tokens, vocab_size)


def u8_lz4(options, payload, tokens, vocab_size):
    """Grids, tails where rows are clipped, and one byte a logit, in one LZ4 frame."""
    return even_grid(options, lz4_frame(payload), tokens, vocab_size)


def u4_lz4(options, payload, tokens, vocab_size):
    """The same, but two logits a byte, the first in the low half, and a byte that says whether their number is odd."""
    *content, odd = lz4_frame(payload)
    content = bytes(content)
    front = len(content) - (tokens * vocab_size + 1) // 2
    assert odd == tokens * vocab_size % 2
    codes = [half for pair in content[front:] for half in (pair % 16, pair // 16)]
    assert codes[tokens * vocab_size :] in ([], [0])
    return even_grid(options, content[:front] + bytes(codes[: tokens * vocab_size]), tokens, vocab_size)


def even_grid(options, content, tokens, vocab_size):
    """Logits of grids, tails and a byte a logit."""
    grids = tokens if options["scope"] == "row" else min(tokens, 1)
    clipped = 4 * (2 * grids + tokens) + tokens * vocab_size
    tails = tokens if options.get("clip") is not None or len(content) == clipped else 0
    assert len(content) == 4 * (2 * grids + tails) + tokens * vocab_size
    floats = struct.unpack_from(f"<{2 * grids + tails}f", content)
    scales, zero_points, levels = floats[:grids], floats[grids : 2 * grids], floats[2 * grids :]
    logits_TV = np.zeros((tokens, vocab_size), np.float32)
    for token in range(tokens):
        grid = token if options["scope"] == "row" else 0
        scale, zero_point = np.float32(scales[grid]), np.float32(zero_points[grid])
        first = 4 * len(floats) + token * vocab_size
        for entry, q in enumerate(content[first : first + vocab_size]):
            if tails and q == 0:
                logits_TV[token, entry] = levels[token]
            else:
                logits_TV[token, entry] = (np.float32(q - 1 if tails else q) - zero_point) * scale
    return logits_TV


def plain_float(options, payload, tokens, vocab_size):
    """Floats, whole or byte plane after byte plane, bare or in a frame."""
    width = {"fp32": 4, "fp16": 2, "bf16": 2}[options["dtype"]]
    content = {"none": bytes, "lz4": lz4_frame, "zstd": zstd_frame}[options["compression"]](payload)
    count = tokens * vocab_size
    assert len(content) == width * count
    if options.get("planes"):
        content = bytes(content[plane * count + place] for place in range(count) for plane in range(width))
    if options["dtype"] == "bf16":
        content = b"".join(b"\0\0" + content[2 * place : 2 * place + 2] for place in range(count))
    code = "e" if options["dtype"] == "fp16" else "f"
    return np.array(struct.unpack(f"<{count}{code}", content), np.float32).reshape(tokens, vocab_size)


def zstd_frame(frame: bytes) -> bytes:
    """The content of a zstd frame that declares its size."""
    import zstandard

    return zstandard.ZstdDecompressor().decompress(frame, allow_extra_data=False)


def lz4_frame(frame: bytes) -> bytes:
    """The content of an LZ4 frame that declares its size, unless it is empty; only its header has a checksum."""
    magic, flags, _ = struct.unpack_from("<IBB", frame)
    assert magic == LZ4_MAGIC
    assert flags >> 6 == 1, "the version"
    assert not flags & 0b10101, "no checksum of blocks or content, no dictionary"
    is_declared = bool(flags & 0b1000)
    size = struct.unpack_from("<Q", frame, 6)[0] if is_declared else 0
    at, content = 15 if is_declared else 7, bytearray()
    while True:
        (length,) = struct.unpack_from("<I", frame, at)
        at += 4
        if length == 0:
            break
        block = frame[at : at + (length & 0x7FFFFFFF)]
        at += len(block)
        if length >> 31:
            content += block
        else:
            lz4_block(block, content)
    assert at == len(frame)
    assert len(content) == size
    return bytes(content)


def lz4_block(block: bytes, content: bytearray) -> None:
    """Literals and matches, added to what was decoded before."""
    at = 0

    def extended(length):
        nonlocal at
        if length == 15:
            while True:
                at += 1
                length += block[at - 1]
                if block[at - 1] != 255:
                    break
        return length

    while at < len(block):
        token = block[at]
        at += 1
        literals = extended(token >> 4)
        content += block[at : at + literals]
        at += literals
        if at == len(block):
            break
        (back,) = struct.unpack_from("<H", block, at)
        at += 2
        for _ in range(extended(token & 15) + 4):
            content.append(content[-back])
