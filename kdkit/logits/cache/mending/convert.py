"""The same logits in another codec: every record is decoded and encoded again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.api.interfaces import FittedCodec, SparseCodec
from kdkit.api.values import TeacherBlock
from kdkit.errors import UsageError
from kdkit.logits.cache.writer import CacheWriter
from kdkit.plugins.fields import identity_of
from kdkit.system.digests import canonical_json, digest_of
from kdkit.system.signals import graceful

if TYPE_CHECKING:
    from pathlib import Path

    from kdkit.api.interfaces.codecs import AnyCodec, CodecState
    from kdkit.logits.cache.identity import CacheIdentity
    from kdkit.logits.cache.manifest import Manifest
    from kdkit.logits.cache.reader import LogitCache
    from kdkit.system.progress import Progress

SHARD_BYTES = 256 * 2**20
# What compression adds at worst to what does not compress, and a frame around a token.
_COMPRESSION, _FRAME = 1.1, 32


def convert(
    source: LogitCache, out: Path, *, name: str, codec: AnyCodec, progress: Progress, shard_bytes: int = SHARD_BYTES
) -> Manifest:
    """Write a cache's logits with another codec; keys and numbers of tokens stay.

    What the source's codec has lost stays lost, and the new cache says so: unless the source holds float32 logits as
    they were, its identity is not that of a capture with the new codec. After a stop or a kill, the same call resumes.

    Args:
        source: An open cache.
        out: Folder of the new one.
        name: Registered name of the new codec.
        codec: The new codec.
        progress: Where progress is shown; it is noted there if the new codec promises more than the source holds.
        shard_bytes: Payload size at which a shard is sealed.

    Raises:
        UsageError: The source has that codec already, or keeps only some entries of each row, or the codec cannot
            code such logits.
        Mismatch: `out` holds something else.
        DamagedData: A record of the source is damaged.
        KdkitError: The disk is full.
        Interrupted: A signal came; what was converted is sealed.
    """
    identity = attrs.evolve(source.identity, codec=name, codec_options=identity_of(codec))
    if identity == source.identity:
        raise UsageError(
            f"{source.folder} already has the codec {name} with these options; there is nothing to convert"
        )
    _refuse_sparse(source, name)
    if not _is_exact(source.identity):
        identity = _marked(identity, source.identity)
    with CacheWriter(out, identity, codec, shard_bytes, note=progress.note) as writer, graceful() as stop:
        if writer.needs_state and len(source):
            writer.learn(_learn(source, codec, progress))
        if len(source):
            _warn(source, codec, progress)
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
    """Fit the codec to the records with the smallest keys: a random sample, and always the same."""
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


def _refuse_sparse(source: LogitCache, name: str) -> None:
    decoder = source.coders([next(iter(source))])[0] if len(source) else source.codec
    if isinstance(decoder, SparseCodec):
        raise UsageError(
            f"{source.identity.codec} keeps only some entries of each row, so a cache made from "
            f"{source.folder} would hold guesses for the others; capture again with {name}"
        )


def _is_exact(identity: CacheIdentity) -> bool:
    """Whether a cache of that codec holds float32 logits bit for bit, so that encoding them is as good as capturing."""
    return identity.codec == "float" and identity.codec_options.get("dtype") == "fp32"


def _marked(identity: CacheIdentity, source: CacheIdentity) -> CacheIdentity:
    """The identity of a cache made from a lossy one, so that nobody takes it for a capture or merges it with one.

    The keys of its records are the source's all the same.
    """
    return attrs.evolve(
        identity,
        teacher=digest_of(["converted", source.teacher, source.codec, source.codec_options]),
        teacher_name=f"{source.teacher_name}, converted from {source.codec} {canonical_json(source.codec_options)}",
    )


def _warn(source: LogitCache, codec: AnyCodec, progress: Progress) -> None:
    """Warn if the new codec takes more room than the source: it cannot restore what the source lost."""
    held = source.codec.bytes_per_token(source.vocab_size)
    if codec.bytes_per_token(source.vocab_size) > _FRAME + _COMPRESSION * held:
        progress.note(
            f"warning: precision that {source.identity.codec} lost stays lost, and the new cache takes more "
            "room for the same logits. Capture again for logits closer to the teacher's"
        )
