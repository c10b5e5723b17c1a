"""The same logits in another codec: every record decoded and encoded anew."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.cache.identity import options_of
from kdkit.cache.writer import CacheWriter
from kdkit.errors import UsageError
from kdkit.interfaces import FittedCodec, SparseCodec
from kdkit.stopping import graceful
from kdkit.values import TeacherBlock

if TYPE_CHECKING:
    from pathlib import Path

    from kdkit.cache.manifest import Manifest
    from kdkit.cache.reader import LogitCache
    from kdkit.interfaces import Codec
    from kdkit.interfaces.codecs import AnyCodec, CodecState
    from kdkit.progress import Progress

SHARD_BYTES = 256 * 2**20
# What compression adds at worst to what does not compress, and a frame around a token.
_COMPRESSION, _FRAME = 1.1, 32


def convert(
    source: LogitCache, out: Path, *, name: str, codec: AnyCodec, progress: Progress, shard_bytes: int = SHARD_BYTES
) -> Manifest:
    """Write a cache's logits with another codec; keys and numbers of tokens stay.

    What the source's codec has lost stays lost. Stopped or killed, the same call goes on.

    Args:
        source: An open cache.
        out: Folder of the new one.
        name: Registered name of the new codec.
        codec: The new codec.
        progress: Where progress is shown; it is noted there if the new codec promises more than the source holds.
        shard_bytes: Payload size at which a shard is sealed.

    Raises:
        UsageError: The source has that codec already, or the codec cannot code such logits.
        Mismatch: `out` holds something else.
        DamagedData: A record of the source is damaged.
        KdkitError: The disk is full.
        Interrupted: A signal came; what was converted is sealed.
    """
    identity = attrs.evolve(source.identity, codec=name, codec_options=options_of(codec))
    if identity == source.identity:
        raise UsageError(f"{source.folder} is coded by {name} with these options already; there is nothing to convert")
    with CacheWriter(out, identity, codec, shard_bytes, note=progress.note) as writer, graceful() as stop:
        if writer.needs_state and len(source):
            writer.learn(_learn(source, codec, progress))
        if len(source):
            _warn(source, codec, writer.coder, progress)
        done = sum(key in writer.done_keys for key in source)
        with progress.task("convert", total=len(source), unit="records", done=done) as task:
            for key in source:
                if key not in writer.done_keys:
                    writer.add_block(key, _block(source, key))
                    task.advance()
                if stop:
                    writer.seal()
                    raise stop.leave(f"converted {len(writer.done_keys)} of {len(source)} records")
        return writer.finish()


def _block(source: LogitCache, key: bytes) -> TeacherBlock:
    return TeacherBlock(id=key.hex(), logits_TV=source.decode(key))


def _learn(source: LogitCache, codec: AnyCodec, progress: Progress) -> CodecState:
    """What the codec learns of the records with the smallest keys: a random sample, and always the same."""
    assert isinstance(codec, FittedCodec)
    sample: list[bytes] = []
    tokens = 0
    for key in sorted(source):
        if tokens >= codec.sample_tokens:
            break
        sample.append(key)
        tokens += source.tokens(key)
    with progress.task("learn codec", total=len(sample), unit="records") as task:
        blocks = []
        for key in sample:
            blocks.append(_block(source, key))
            task.advance()
        return codec.fit(blocks)


def _warn(source: LogitCache, codec: AnyCodec, coder: Codec, progress: Progress) -> None:
    """Say so where the new codec keeps more than the source holds: it can only keep what is there."""
    held = source.codec.bytes_per_token(source.vocab_size)
    decoder = source.coder_of([next(iter(source))])
    if isinstance(decoder, SparseCodec) and not isinstance(coder, SparseCodec):
        progress.note(
            f"warning: {source.identity.codec} keeps only some entries of each row; of the others the new cache holds "
            "guesses that look like logits. Capture anew for logits that are the teacher's"
        )
    elif codec.bytes_per_token(source.vocab_size) > _FRAME + _COMPRESSION * held:
        progress.note(
            f"warning: what {source.identity.codec} has lost of the logits stays lost: the new cache takes more room "
            "for the same. Capture anew for logits that are closer to the teacher's"
        )
