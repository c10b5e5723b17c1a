"""Records that claim or expand to gigabytes, each decoded with 256 MB of memory at most; prints what came of it.

Run as a program by `test_cache_bombs.py`, because a limit on memory can only be set for a whole process.
"""

from __future__ import annotations

import json
import struct
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import attrs
import lz4.frame
import numpy as np

from kdkit.api.values import TeacherBlock
from kdkit.builtin.codecs.float_ import Float
from kdkit.builtin.codecs.sampled import Sampled
from kdkit.builtin.codecs.subspace import Subspace
from kdkit.builtin.codecs.topk import TopK
from kdkit.builtin.codecs.u8_lz4 import U8LZ4
from kdkit.errors import KdkitError
from kdkit.testing import synthetic_block

ROOM = 256 * 2**20
GIGABYTE = 2**30
MOST = 2**31 - 1
T, V = 3, 40


@attrs.frozen(kw_only=True)
class Bomb:
    name: str
    codec: object
    payload: bytes
    tokens: int = T
    vocab_size: int = V


CODECS = {
    "u8-lz4": U8LZ4(),
    "u8-lz4 array": U8LZ4(scope="array"),
    "u8-lz4 clip": U8LZ4(clip=3.0),
    "float lz4": Float(compression="lz4"),
    "float zstd": Float(compression="zstd"),
    "float zstd planes": Float(dtype="fp16", compression="zstd", planes=True),
    "float none": Float(),
    "topk": TopK(k=8),
    "topk all": TopK(k=64),
    "sampled": Sampled(),
}
CLAIMS = ((MOST, V), (T, MOST), (MOST, MOST), (0, V), (T, 1), (2**20, 2**12), (2**28, 1))


def content_size(codec, tokens, vocab_size):
    if isinstance(codec, Float):
        return (2 if codec.dtype == "fp16" else 4) * tokens * vocab_size
    rows = tokens if codec.scope == "row" else min(tokens, 1)
    return 8 * rows + (4 * tokens if codec.clip is not None else 0) + tokens * vocab_size


def lz4_zeros(size, *, declared=True):
    """A frame of zeros; it takes a 255th of the size, which is the least that LZ4 can do."""
    compressor = lz4.frame.LZ4FrameCompressor()
    piece = bytes(2**24)
    head = compressor.begin(size if declared else 0)
    return head + b"".join(compressor.compress(piece) for _ in range(size // len(piece))) + compressor.flush()


def lz4_declaring(frame, size):
    """The frame with another content size in its header, whose checksum is put right by trying."""
    head = bytearray(frame[:15])
    head[6:14] = struct.pack("<Q", size)
    for head[14] in range(256):
        try:
            lz4.frame.get_frame_info(bytes(head) + frame[15:])
        except RuntimeError:
            continue
        return bytes(head) + frame[15:]
    raise AssertionError("none of the checksums is right")


# A frame with a window of 128 KiB and no declared size.
UNDECLARED = struct.pack("<IBB", 0xFD2FB528, 0, 0x38)


def zstd_head(size):
    """The start of a frame that declares any size."""
    return struct.pack("<IBQ", 0xFD2FB528, 0b1110_0000, size)


def zstd_zeros(blocks, head=UNDECLARED):
    """Blocks of 128 KiB of zeros, 4 bytes each, by default in a frame that does not declare its size."""
    sizes = [2**17] * blocks
    runs = ((size << 3) | (1 << 1) | (number == blocks - 1) for number, size in enumerate(sizes))
    return head + b"".join(run.to_bytes(3, "little") + b"\0" for run in runs)


def bombs() -> Iterator[Bomb]:
    for name, codec in CODECS.items():
        good = codec.encode(synthetic_block(T, V, seed=5))
        for tokens, vocab_size in CLAIMS:
            yield Bomb(
                name=f"{name}: index claims {tokens} x {vocab_size}",
                codec=codec,
                payload=good,
                tokens=tokens,
                vocab_size=vocab_size,
            )
        yield Bomb(name=f"{name}: a byte more", codec=codec, payload=good + b"\0")
        yield Bomb(name=f"{name}: twice", codec=codec, payload=good + good)
        yield Bomb(name=f"{name}: nothing", codec=codec, payload=b"")
    big = lz4_zeros(GIGABYTE)
    for name in ("u8-lz4", "u8-lz4 array", "u8-lz4 clip", "float lz4"):
        yield from lz4_bombs(name, CODECS[name], big)
    for name in ("float zstd", "float zstd planes"):
        yield from zstd_bombs(name, CODECS[name])
    for name in ("topk", "sampled"):
        yield from section_bombs(name, CODECS[name])
    yield from coordinate_bombs()


def lz4_bombs(name, codec, big):
    size, good = content_size(codec, T, V), codec.encode(synthetic_block(T, V, seed=5))
    yield Bomb(name=f"{name}: a gigabyte, as declared", codec=codec, payload=big)
    yield Bomb(name=f"{name}: a gigabyte, not declared", codec=codec, payload=lz4_zeros(GIGABYTE, declared=False))
    yield Bomb(name=f"{name}: a gigabyte, declared as right", codec=codec, payload=lz4_declaring(big, size))
    yield Bomb(name=f"{name}: 2**63 declared", codec=codec, payload=lz4_declaring(good, 2**63))
    yield Bomb(name=f"{name}: skippable", codec=codec, payload=struct.pack("<II", 0x184D2A50, 0) + good)
    for tokens, vocab_size in CLAIMS[1:]:
        claimed = content_size(codec, tokens, vocab_size)
        if claimed != size:
            yield Bomb(
                name=f"{name}: {claimed} bytes declared and expected",
                codec=codec,
                payload=lz4_declaring(good, claimed % 2**64),
                tokens=tokens,
                vocab_size=vocab_size,
            )


def zstd_bombs(name, codec):
    size, good = content_size(codec, T, V), codec.encode(synthetic_block(T, V, seed=5))
    yield Bomb(name=f"{name}: a gigabyte, as declared", codec=codec, payload=zstd_zeros(8192, zstd_head(GIGABYTE)))
    yield Bomb(name=f"{name}: a gigabyte, not declared", codec=codec, payload=zstd_zeros(8192))
    yield Bomb(name=f"{name}: a gigabyte, declared as right", codec=codec, payload=zstd_zeros(8192, zstd_head(size)))
    yield Bomb(name=f"{name}: 2**63 declared", codec=codec, payload=zstd_head(2**63) + good[-9:])
    yield Bomb(name=f"{name}: skippable", codec=codec, payload=struct.pack("<II", 0x184D2A50, 0) + good)
    for tokens, vocab_size in CLAIMS[:3]:
        claimed = content_size(codec, tokens, vocab_size)
        for blocks in (1, 1000):
            yield Bomb(
                name=f"{name}: {claimed} bytes declared and expected, {blocks} blocks there",
                codec=codec,
                payload=zstd_zeros(blocks, zstd_head(claimed % 2**64)),
                tokens=tokens,
                vocab_size=vocab_size,
            )


def section_bombs(name, codec):
    """Counts of entries, which stand in the payload, as large as they can be."""
    good = codec.encode(synthetic_block(T, V, seed=5))
    for place in range(0, min(len(good), 40), 2):
        for forged in (b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff"):
            payload = good[:place] + forged + good[place + 4 :]
            if payload != good:
                yield Bomb(name=f"{name}: {forged.hex()} at {place}", codec=codec, payload=payload)
    for tokens, vocab_size in CLAIMS:
        if tokens == T:  # as sparse as can be, and yet what a writer may write for a vocabulary of that size
            continue
        payload = struct.pack("<II", tokens, vocab_size) + good[8:]
        yield Bomb(
            name=f"{name}: {tokens} x {vocab_size} claimed twice",
            codec=codec,
            payload=payload,
            tokens=tokens,
            vocab_size=vocab_size,
        )


def coordinate_bombs():
    """Coordinates, whose number no payload states: it follows from the tokens that the index claims."""
    axes_DV = np.random.default_rng(0).normal(size=(4, V)).astype(np.float32)
    states_TD = np.random.default_rng(1).normal(size=(200, 4)).astype(np.float32)
    sample = TeacherBlock(id="sample", logits_TV=states_TD @ axes_DV)
    codec = Subspace().bind(Subspace().fit([sample]))
    good = codec.encode(TeacherBlock(id="good", logits_TV=sample.logits_TV[:T].copy()))
    claims = [*CLAIMS, (4 * len(good), V), (4 * len(good) + 1, V), (2**31 - 1, V)]
    for tokens, vocab_size in claims:
        for name, payload in (("good", good), ("zeros", bytes(len(good))), ("ones", b"\xff" * len(good))):
            yield Bomb(
                name=f"subspace: {name} as {tokens} x {vocab_size}",
                codec=codec,
                payload=payload,
                tokens=tokens,
                vocab_size=vocab_size,
            )
    big = b"\xff" * 2**16  # as many tokens as so many bytes may have, in classes that take no bits
    yield Bomb(name="subspace: 64 KiB of ones", codec=codec, payload=big, tokens=4 * len(big))


def explode(bomb) -> dict:
    before = time.perf_counter()
    try:
        bomb.codec.decode(bomb.payload, tokens=bomb.tokens, vocab_size=bomb.vocab_size)
    except KdkitError as error:
        ended, said = type(error).__name__, str(error)
    except BaseException as error:  # noqa: BLE001 - what else it may be is the question
        ended, said = type(error).__name__, repr(error)[:200]
    else:
        ended, said = "decoded", ""
    return {"ended": ended, "said": said, "seconds": time.perf_counter() - before}


def main() -> None:
    import resource  # which only POSIX has

    every = list(bombs())
    for codec in CODECS.values():  # everything is imported before memory is counted
        codec.decode(codec.encode(synthetic_block(T, V, seed=5)), tokens=T, vocab_size=V)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + ROOM,) * 2)
    json.dump({bomb.name: explode(bomb) for bomb in every}, sys.stdout)


if __name__ == "__main__":
    main()
