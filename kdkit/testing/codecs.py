"""What every logit codec must do. Letters: T target tokens, V vocabulary."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.errors import DamagedData
from kdkit.testing.blocks import synthetic_block

if TYPE_CHECKING:
    from collections.abc import Callable

    from kdkit.interfaces import Codec
    from kdkit.values import FloatArray, TeacherBlock

SHAPES = ((1, 1), (1, 7), (3, 50), (17, 300), (2, 5000))
_FLIPS = 64


def check_codec(codec: Codec, *, bound: Callable[[FloatArray], FloatArray | float] | None = None) -> None:
    """Check that a codec keeps the promises of `kdkit.interfaces.Codec`, on a few seconds' worth of synthetic logits.

    Args:
        codec: The codec, with its options.
        bound: Given the logits `[T, V]` of a block, the largest error that each may come back with: one number, or an
            array that broadcasts to `[T, V]`. None where the codec states no such bound.

    Raises:
        AssertionError: A promise is broken; the message says which and by what.
    """
    from kdkit.interfaces import Codec

    assert isinstance(codec, Codec), f"{codec!r} lacks a method of kdkit.interfaces.Codec"
    _check_value(codec)
    for tokens, vocab_size in SHAPES:
        for block in _blocks(tokens, vocab_size):
            payload = _check_encoding(codec, block)
            _check_round_trip(codec, block, payload, bound)
            estimate = codec.bytes_per_token(vocab_size) * tokens
            assert len(payload) <= estimate, (
                f"{codec!r} stores {tokens} tokens of {vocab_size} logits in {len(payload)} bytes; "
                f"bytes_per_token promises at most {estimate:.0f}"
            )
            _check_wrong_shape(codec, payload, tokens, vocab_size)
            _check_damaged_length(codec, payload, tokens, vocab_size)
    _check_empty(codec)
    _check_independence(codec)
    _check_flips(codec)


def _check_value(codec: Codec) -> None:
    """A codec is a value: its options are its identity."""
    import attrs

    assert attrs.has(type(codec)), f"{type(codec).__name__} is no attrs class; its fields must be its options"
    twin = attrs.evolve(codec)  # type: ignore[misc]  # just seen to be an attrs instance
    assert twin == codec, f"{codec!r} does not equal a codec with the same options"
    same = twin.encode(synthetic_block(2, 30)) == codec.encode(synthetic_block(2, 30))
    assert same, f"two codecs {codec!r} encode the same logits to different bytes"


def _blocks(tokens: int, vocab_size: int) -> list[TeacherBlock]:
    """An ordinary block, a constant one, one of a wide range, and one far from zero."""
    import attrs
    import numpy as np

    ordinary = synthetic_block(tokens, vocab_size)
    shapes = (np.full_like(ordinary.logits_TV, -3.7), ordinary.logits_TV * 300, ordinary.logits_TV + 1000)
    return [ordinary, *(attrs.evolve(ordinary, logits_TV=logits_TV) for logits_TV in shapes)]


def _check_encoding(codec: Codec, block: TeacherBlock) -> bytes:
    before = block.logits_TV.copy()
    payload = codec.encode(block)
    assert isinstance(payload, bytes), f"{codec!r} encodes to {type(payload).__name__} instead of bytes"
    assert (block.logits_TV == before).all(), f"{codec!r} changes the logits that it encodes"
    assert codec.encode(block) == payload, f"{codec!r} encodes the same logits to different bytes"
    return payload


def _check_round_trip(
    codec: Codec, block: TeacherBlock, payload: bytes, bound: Callable[[FloatArray], FloatArray | float] | None
) -> None:
    import numpy as np

    tokens, vocab_size = block.logits_TV.shape
    decoded_TV = codec.decode(payload, tokens=tokens, vocab_size=vocab_size)
    _check_shape(codec, decoded_TV, tokens, vocab_size)
    again_TV = codec.decode(payload, tokens=tokens, vocab_size=vocab_size)
    assert (decoded_TV == again_TV).all(), f"{codec!r} decodes the same bytes to different logits"
    if bound is None:
        return
    excess_TV = np.abs(decoded_TV.astype(np.float64) - block.logits_TV) - bound(block.logits_TV)
    assert excess_TV.max() <= 0, (
        f"{codec!r} misses its stated bound by {excess_TV.max():g} on a {tokens} x {vocab_size} block"
    )


def _check_shape(codec: Codec, decoded_TV: FloatArray, tokens: int, vocab_size: int) -> None:
    import numpy as np

    assert decoded_TV.shape == (tokens, vocab_size), (
        f"{codec!r} decodes to shape {decoded_TV.shape} where {(tokens, vocab_size)} is asked for"
    )
    assert decoded_TV.dtype == np.float32, f"{codec!r} decodes to {decoded_TV.dtype} instead of float32"
    assert np.isfinite(decoded_TV).all(), f"{codec!r} decodes to logits that are not finite"


def _check_wrong_shape(codec: Codec, payload: bytes, tokens: int, vocab_size: int) -> None:
    for wrong in (
        (tokens + 1, vocab_size),
        (tokens - 1, vocab_size),
        (tokens, vocab_size + 1),
        (tokens, vocab_size * 2),
    ):
        _check_refused(codec, payload, *wrong, what=f"the payload of a {tokens} x {vocab_size} block")


def _check_damaged_length(codec: Codec, payload: bytes, tokens: int, vocab_size: int) -> None:
    for cut in sorted({0, 1, len(payload) // 2, len(payload) - 1} - {len(payload)}):
        _check_refused(codec, payload[:cut], tokens, vocab_size, what=f"the first {cut} of {len(payload)} bytes")
    _check_refused(codec, payload + b"\0", tokens, vocab_size, what="a payload with one byte too many")


def _check_refused(codec: Codec, payload: bytes, tokens: int, vocab_size: int, *, what: str) -> None:
    try:
        codec.decode(payload, tokens=tokens, vocab_size=vocab_size)
    except DamagedData:
        return
    except Exception as error:
        raise AssertionError(f"{codec!r} meets {what} with {type(error).__name__} instead of DamagedData") from error
    raise AssertionError(f"{codec!r} decodes {what} as {tokens} x {vocab_size} logits instead of raising DamagedData")


def _check_empty(codec: Codec) -> None:
    """A row without target tokens has logits too: none."""
    payload = codec.encode(synthetic_block(0, 50))
    _check_shape(codec, codec.decode(payload, tokens=0, vocab_size=50), 0, 50)


def _check_independence(codec: Codec) -> None:
    """Records stand alone: order and neighbours never matter."""
    blocks = [synthetic_block(3, 40, seed=seed) for seed in range(4)]
    forwards = [codec.encode(block) for block in blocks]
    backwards = [codec.encode(block) for block in reversed(blocks)][::-1]
    assert forwards == backwards, f"the bytes of a record of {codec!r} depend on what was encoded before it"
    alone_TV = codec.decode(forwards[2], tokens=3, vocab_size=40)
    codec.decode(forwards[0], tokens=3, vocab_size=40)
    after_TV = codec.decode(forwards[2], tokens=3, vocab_size=40)
    assert (alone_TV == after_TV).all(), f"the logits of a record of {codec!r} depend on what was decoded before it"


def _check_flips(codec: Codec) -> None:
    """A flipped bit is another value or DamagedData, never another error; to notice it is the cache's task."""
    import numpy as np

    random = np.random.default_rng(0)
    payload = codec.encode(synthetic_block(3, 50))
    for _ in range(_FLIPS):
        damaged = bytearray(payload)
        place = int(random.integers(len(damaged)))
        damaged[place] ^= 1 << int(random.integers(8))
        try:
            decoded_TV = codec.decode(bytes(damaged), tokens=3, vocab_size=50)
        except DamagedData:
            continue
        except Exception as error:
            raise AssertionError(
                f"{codec!r} meets a flipped bit in byte {place} with {type(error).__name__} instead of DamagedData"
            ) from error
        _check_shape(codec, decoded_TV, 3, 50)
