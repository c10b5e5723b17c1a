"""What every logit codec must do. Letters: T target tokens, V vocabulary, D hidden."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.errors import DamagedData
from kdkit.testing.blocks import head_block, synthetic_block, synthetic_head, synthetic_states
from kdkit.testing.codec_fidelity import SIZES, Nearness, check_bound, check_fidelity
from kdkit.testing.codec_masks import check_masks
from kdkit.testing.codec_states import check_bad_states, check_same_state
from kdkit.testing.codec_targets import check_targets

if TYPE_CHECKING:
    from collections.abc import Callable

    from kdkit.api.interfaces import Codec, FittedCodec
    from kdkit.api.values import FloatArray, TeacherBlock
    from kdkit.testing.codec_fidelity import BlockMaker, Bound

SHAPES = ((1, 1), (1, 7), (3, 50), (17, 300), (2, 5000))
_FLIPS = 64
# Of the head whose logits fitted codecs learn from, and are checked with.
_HIDDEN = 12
_SAMPLE_TOKENS = 160


def check_codec(
    codec: Codec | FittedCodec,
    *,
    bound: Bound | None = None,
    bound_of: Callable[[Codec], Bound] | None = None,
    up_to_constant: bool = False,
    lossy: bool = False,
    kl: float | None = None,
    top1: float | None = None,
) -> None:
    """Check that a codec keeps the promises of `kdkit.api.interfaces`, on a few seconds' worth of synthetic logits.

    A `FittedCodec` learns from logits of a linear head, of each of some widths, and what its `bind` gives is checked
    with other logits of that head; a `HeadCodec` learns from the head as well, and its hidden states are checked.
    Of a `BatchCodec` the targets are compared with what it decodes.

    How near the decoded logits must come is for you to say: `bound`, or `bound_of`, or `lossy`; without one of them
    the check fails. Of a `SparseCodec` the probabilities of the kept entries, and of all others together, are compared
    with the teacher's, and of a `SampledCodec` the means over many samples: they need no bound.

    Args:
        codec: The codec, with its options.
        bound: Given the logits `[T, V]` of a block, the largest error that each may come back with: one number, or an
            array that broadcasts to `[T, V]`.
        bound_of: For fitted codecs, in place of `bound`: given the codec with its state, such a function.
        up_to_constant: Whether a row may come back with a constant added, which softmax does not see. The bound is
            then for what is left when each row's mean is taken off.
        lossy: For a codec that states no bound: every row and every vocabulary entry must come back nearest to itself,
            distributions as sharp as they were, and `kl` and `top1` are kept.
        kl: How far the decoded distributions may be from the teacher's, in nats, as a mean over tokens; 0.05 if left
            out, which a codec of four bits keeps.
        top1: In how many of the rows, as a share, the largest logit must stay the largest; 0.7 if left out, where the
            two largest are often near each other, and all rows where one is far above the others.

    Raises:
        AssertionError: A promise is broken, or arguments contradict the codec; the message says which and by what.
    """
    from kdkit.api.interfaces import Codec, FittedCodec

    nearness = Nearness(bound=bound, bound_of=bound_of, up_to_constant=up_to_constant, is_lossy=lossy, kl=kl, top1=top1)
    nearness.check(codec)
    if isinstance(codec, FittedCodec):
        _check_fitted(codec, nearness)
        return
    assert isinstance(codec, Codec), f"{codec!r} lacks a method of kdkit.api.interfaces.Codec"
    for shape in SHAPES:
        _check_shape_of(codec, _synthetic, *shape, nearness)
    _check_small(codec, _synthetic, 50)
    check_fidelity(codec, None, nearness)
    check_masks(codec)


def _synthetic(tokens: int, vocab_size: int, seed: int) -> TeacherBlock:
    return synthetic_block(tokens, vocab_size, seed=seed)


def _check_shape_of(
    codec: Codec,
    block_of: BlockMaker,
    tokens: int,
    vocab_size: int,
    nearness: Nearness,
    *,
    like_sample: int | None = None,
) -> None:
    """Check one shape. Only the first `like_sample` blocks must be as small as the codec estimates."""
    for number, block in enumerate(_blocks(block_of(tokens, vocab_size, 0))):
        payload = _check_encoding(codec, block)
        _check_round_trip(codec, block, payload, nearness)
        estimate = codec.bytes_per_token(vocab_size) * tokens
        assert len(payload) <= estimate or (like_sample is not None and number >= like_sample), (
            f"{codec!r} stores {tokens} tokens of {vocab_size} logits in {len(payload)} bytes; "
            f"bytes_per_token promises at most {estimate:.0f}"
        )
        _check_wrong_shape(codec, payload, tokens, vocab_size)
        _check_damaged_length(codec, payload, tokens, vocab_size)


def _check_small(codec: Codec, block_of: BlockMaker, vocab_size: int) -> None:
    from kdkit.api.interfaces import BatchCodec

    _check_value(codec, block_of, vocab_size)
    _check_empty(codec, block_of, vocab_size)
    _check_independence(codec, block_of, vocab_size)
    _check_flips(codec, block_of, vocab_size)
    if isinstance(codec, BatchCodec):
        check_targets(codec, [block_of(tokens, vocab_size, seed) for seed, tokens in enumerate((3, 0, 5, 1))])


def _check_fitted(codec: FittedCodec, nearness: Nearness) -> None:
    from kdkit.api.interfaces import Codec, HeadCodec

    assert codec.sample_tokens >= 1, f"{codec!r} wants {codec.sample_tokens} tokens to learn from"
    assert codec.bytes_per_token(50) > 0, f"{codec!r} estimates {codec.bytes_per_token(50)} bytes a token"
    for tokens, vocab_size in SHAPES:
        sample = [_linear(20, vocab_size, seed) for seed in range(1, 1 + _SAMPLE_TOKENS // 20)]
        state = codec.fit(sample)
        check_same_state(codec, state, codec.fit(sample))
        fitted = codec.bind(state)
        assert isinstance(fitted, Codec), f"what {codec!r} binds lacks a method of kdkit.api.interfaces.Codec"
        _check_shape_of(fitted, _linear, tokens, vocab_size, nearness.of(fitted), like_sample=1)
        _check_small(fitted, _linear, vocab_size)
        if vocab_size in SIZES:
            check_fidelity(fitted, _linear, nearness.of(fitted), [vocab_size])
        if isinstance(codec, HeadCodec):
            head = synthetic_head(vocab_size, _HIDDEN)
            of_head = codec.bind(
                codec.fit_head(head, [synthetic_states(20, _HIDDEN, seed=seed) for seed in range(1, 9)])
            )
            _check_states(of_head, tokens, vocab_size, nearness.of(of_head))
    check_bad_states(codec, state)


def _linear(tokens: int, vocab_size: int, seed: int) -> TeacherBlock:
    """Logits of a linear head."""
    return head_block(synthetic_head(vocab_size, _HIDDEN), synthetic_states(tokens, _HIDDEN, seed=seed))


def _check_states(codec: Codec, tokens: int, vocab_size: int, nearness: Nearness) -> None:
    """Hidden states are encoded as their logits are."""
    from kdkit.api.interfaces import StateCodec

    assert isinstance(codec, StateCodec), f"{codec!r} was learnt from a head, but has no encode_states"
    for length in (0, tokens):
        states = synthetic_states(length, _HIDDEN)
        before = states.states_TD.copy()
        payload = codec.encode_states(states)
        assert (states.states_TD == before).all(), f"{codec!r} changes the hidden states that it encodes"
        block = head_block(synthetic_head(vocab_size, _HIDDEN), states)
        _check_round_trip(codec, block, payload, nearness)
        _check_round_trip(codec, block, codec.encode(block), nearness)


def _check_value(codec: Codec, block_of: BlockMaker, vocab_size: int) -> None:
    """A codec is a value: its options are its identity."""
    import attrs

    assert attrs.has(type(codec)), f"{type(codec).__name__} is not an attrs class; its fields must be its options"
    twin = attrs.evolve(codec)  # type: ignore[misc]  # just seen to be an attrs instance
    assert twin == codec, f"{codec!r} does not equal a codec with the same options"
    same = twin.encode(block_of(2, vocab_size, 0)) == codec.encode(block_of(2, vocab_size, 0))
    assert same, f"two codecs {codec!r} encode the same logits to different bytes"


def _blocks(ordinary: TeacherBlock) -> list[TeacherBlock]:
    """An ordinary block, a constant one, one of a wide range, and one far from zero."""
    import attrs
    import numpy as np

    shapes = (np.full_like(ordinary.logits_TV, -3.7), ordinary.logits_TV * 300, ordinary.logits_TV + 1000)
    return [ordinary, *(attrs.evolve(ordinary, logits_TV=logits_TV) for logits_TV in shapes)]


def _check_encoding(codec: Codec, block: TeacherBlock) -> bytes:
    before = block.logits_TV.copy()
    payload = codec.encode(block)
    assert isinstance(payload, bytes), f"{codec!r} encodes to {type(payload).__name__} instead of bytes"
    assert (block.logits_TV == before).all(), f"{codec!r} changes the logits that it encodes"
    assert codec.encode(block) == payload, f"{codec!r} encodes the same logits to different bytes"
    return payload


def _check_round_trip(codec: Codec, block: TeacherBlock, payload: bytes, nearness: Nearness) -> None:
    tokens, vocab_size = block.logits_TV.shape
    decoded_TV = codec.decode(payload, tokens=tokens, vocab_size=vocab_size)
    _check_shape(codec, decoded_TV, tokens, vocab_size)
    again_TV = codec.decode(payload, tokens=tokens, vocab_size=vocab_size)
    assert (decoded_TV == again_TV).all(), f"{codec!r} decodes the same bytes to different logits"
    check_bound(codec, block, decoded_TV, nearness)


def _check_shape(codec: Codec, decoded_TV: FloatArray, tokens: int, vocab_size: int) -> None:
    import numpy as np

    assert decoded_TV.shape == (tokens, vocab_size), (
        f"{codec!r} decodes to shape {decoded_TV.shape} where {(tokens, vocab_size)} is asked for"
    )
    assert decoded_TV.dtype == np.float32, f"{codec!r} decodes to {decoded_TV.dtype} instead of float32"
    assert (decoded_TV < np.inf).all(), f"{codec!r} decodes to logits that are infinite or not numbers"


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
        raise AssertionError(
            f"{codec!r} decodes {what} as {tokens} x {vocab_size} logits with {type(error).__name__} instead of "
            "DamagedData"
        ) from error
    raise AssertionError(f"{codec!r} decodes {what} as {tokens} x {vocab_size} logits instead of raising DamagedData")


def _check_empty(codec: Codec, block_of: BlockMaker, vocab_size: int) -> None:
    """A row without target tokens has logits too: none."""
    payload = codec.encode(block_of(0, vocab_size, 0))
    _check_shape(codec, codec.decode(payload, tokens=0, vocab_size=vocab_size), 0, vocab_size)


def _check_independence(codec: Codec, block_of: BlockMaker, vocab_size: int) -> None:
    """Records stand alone: order and neighbours never matter."""
    blocks = [block_of(3, vocab_size, seed) for seed in range(4)]
    forwards = [codec.encode(block) for block in blocks]
    backwards = [codec.encode(block) for block in reversed(blocks)][::-1]
    assert forwards == backwards, f"the bytes of a record of {codec!r} depend on what was encoded before it"
    alone_TV = codec.decode(forwards[2], tokens=3, vocab_size=vocab_size)
    codec.decode(forwards[0], tokens=3, vocab_size=vocab_size)
    after_TV = codec.decode(forwards[2], tokens=3, vocab_size=vocab_size)
    assert (alone_TV == after_TV).all(), f"the logits of a record of {codec!r} depend on what was decoded before it"


def _check_flips(codec: Codec, block_of: BlockMaker, vocab_size: int) -> None:
    """A flipped bit is another value or DamagedData, never another error; to notice it is the cache's task."""
    import numpy as np

    random = np.random.default_rng(0)
    payload = codec.encode(block_of(3, vocab_size, 0))
    for _ in range(_FLIPS):
        damaged = bytearray(payload)
        place = int(random.integers(len(damaged)))
        damaged[place] ^= 1 << int(random.integers(8))
        try:
            decoded_TV = codec.decode(bytes(damaged), tokens=3, vocab_size=vocab_size)
        except DamagedData:
            continue
        except Exception as error:
            raise AssertionError(
                f"{codec!r} meets a flipped bit in byte {place} with {type(error).__name__} instead of DamagedData"
            ) from error
        _check_shape(codec, decoded_TV, 3, vocab_size)
