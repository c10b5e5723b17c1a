"""Capture: ask the teacher once, for its logits (into the shared cache) and for its texts, then close it."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdkit import predictions
from kdkit.cache import CacheIdentity, CacheWriter, LogitCache, options_of
from kdkit.cache.manifest import MANIFEST
from kdkit.encoding import TeacherEncoder
from kdkit.errors import Mismatch
from kdkit.estimate import check_space
from kdkit.hf import tokenizer_digest
from kdkit.rows import read_corpus, rows_of
from kdkit.stopping import graceful
from kdkit.targets import keys_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdkit.interfaces import OpenTeacher, Tokenizer
    from kdkit.runfolder import Run
    from kdkit.values import Corpus, EncodedExample


def fill(run: Run) -> dict[str, Any]:
    """Fill the logit cache, unless the loss needs none, and write `predictions/teacher.jsonl`.

    Raises:
        UsageError: There is no room on the disk for the logits that the store lacks.
    """
    recipe = run.recipe
    corpus = read_corpus(run)
    with _open_teacher(run, corpus) as teacher:
        facts: dict[str, Any] = {"identity": teacher.identity, "tokenizer": tokenizer_digest(teacher.tokenizer)}
        if recipe.loss.needs_teacher:
            facts |= _fill_cache(run, teacher, corpus)
        _write_texts(run, teacher, corpus)
    return facts


def restore(run: Run) -> dict[str, Any]:
    """Capture again what a finished capture wrote and is there no longer; gives the facts that changed.

    Raises:
        Mismatch: The teacher is not the one of that capture.
    """
    facts, texts = run.facts("capture"), run.path / "predictions" / "teacher.jsonl"
    corpus = read_corpus(run)
    has_cache = "cache" not in facts or _covers(run, facts, corpus)
    if has_cache and texts.exists():
        return {}
    with _open_teacher(run, corpus) as teacher:
        if teacher.identity != facts["identity"]:
            raise Mismatch(f"the teacher of {run.path} is not the one that was captured; run with --fresh")
        if not texts.exists():
            _write_texts(run, teacher, corpus)
        return {} if has_cache else _fill_cache(run, teacher, corpus)


@contextmanager
def _open_teacher(run: Run, corpus: Corpus) -> Iterator[OpenTeacher]:
    named = run.facts("teacher")["folder"]
    folder = run.path / named if named is not None else None  # an absolute path stays as it is
    teacher = run.recipe.teacher.open(folder, run.recipe.data, corpus, device=run.device)
    try:
        yield teacher
    finally:
        teacher.close()
        gc.collect()


def _fill_cache(run: Run, teacher: OpenTeacher, corpus: Corpus) -> dict[str, Any]:
    recipe = run.recipe
    identity = CacheIdentity(
        teacher=teacher.identity,
        teacher_name=f"{recipe.name}: {recipe.names['teacher']}",
        tokenizer=tokenizer_digest(teacher.tokenizer),
        codec=recipe.names["codec"],
        codec_options=options_of(recipe.codec),
        vocab_size=teacher.vocab_size,
    )
    rows = _wanted(run, teacher.tokenizer, corpus)
    keys = keys_of(rows, teacher=identity.teacher, tokenizer=identity.tokenizer)
    folder = run.store / "logits" / identity.digest[:32]
    cache = LogitCache.open(folder, identity) if _is_finished(folder) else None
    reused = cache is not None and all(key in cache for key in keys.values())
    if cache is None or not reused:
        _capture(run, teacher, rows, keys, identity, folder)
        cache = LogitCache.open(folder, identity)
    own = set(keys.values())
    if reused:
        run.progress.note(f"capture: {len(own)} records are in {folder} already")
    tokens, size = sum(map(cache.tokens, own)), sum(map(cache.size, own))
    return {
        "cache": str(folder.absolute()),
        "reused": reused,
        "codec": identity.codec,
        # Of this run's own rows; the cache may hold those of others too.
        "records": len(own),
        "tokens": tokens,
        "bytes": size,
        "bytes_per_token": round(size / tokens, 3) if tokens else None,
    }


def _covers(run: Run, facts: dict[str, Any], corpus: Corpus) -> bool:
    """Whether the cache of a finished capture is there, with every row: it may have been deleted, and begun anew."""
    folder = Path(facts["cache"])
    if not _is_finished(folder):
        return False
    rows = _wanted(run, run.recipe.teacher.load_tokenizer(corpus), corpus)
    keys = keys_of(rows, teacher=facts["identity"], tokenizer=facts["tokenizer"])
    cache = LogitCache.open(folder)
    return all(key in cache for key in keys.values())


def _is_finished(folder: Path) -> bool:
    return (folder / MANIFEST).exists()


def _write_texts(run: Run, teacher: OpenTeacher, corpus: Corpus) -> None:
    recipe = run.recipe
    held_out = rows_of(corpus.held_out, teacher.tokenizer, recipe.tokens, at_most=recipe.evaluation.rows).encoded
    predictions.fill(
        run.path / "predictions" / "teacher.jsonl",
        held_out,
        lambda rows, done: teacher.generate(rows, recipe.generation, done=done),
        progress=run.progress,
        name="teacher writes",
    )


def _wanted(run: Run, tokenizer: Tokenizer, corpus: Corpus) -> list[EncodedExample]:
    """The rows whose logits some stage will read: training, validation, and those that are scored."""
    recipe = run.recipe
    parts = (
        (corpus.train, 0),
        (corpus.validation, recipe.training.validation_rows),
        (corpus.held_out, recipe.evaluation.rows),
    )
    rows = {
        row.id: row
        for examples, at_most in parts
        for row in rows_of(examples, tokenizer, recipe.tokens, at_most=at_most).encoded
    }
    return list(rows.values())


def _capture(
    run: Run,
    teacher: OpenTeacher,
    rows: list[EncodedExample],
    keys: dict[str, bytes],
    identity: CacheIdentity,
    folder: Path,
) -> None:
    """Add to a cache the rows that it lacks; those who read it meanwhile see it as it was."""
    recipe, total = run.recipe, len(rows)
    shard_bytes = recipe.cache.shard_mb * 1_000_000
    with CacheWriter(folder, identity, recipe.codec, shard_bytes, note=run.progress.note) as writer:
        done = {row.id for row in rows if keys[row.id] in writer.done_keys}
        missing = {keys[row.id]: len(row.target_ids) for row in rows if row.id not in done}
        check_space({folder: int(sum(missing.values()) * recipe.codec.bytes_per_token(identity.vocab_size))})
        with graceful() as stop:
            encoder = TeacherEncoder.of(teacher, recipe.codec, run.progress)
            if missing and writer.needs_state:
                writer.learn(encoder.learn(rows, keys))
            with run.progress.task("capture", total=total, unit="rows", done=len(done)) as task:
                for _ in encoder.add_all(writer, rows, keys, done) if missing else ():
                    task.advance()
                    if stop:
                        writer.seal()
                        raise stop.leave(f"sealed {len(writer.done_keys)} records of {total} rows")
        writer.finish()
