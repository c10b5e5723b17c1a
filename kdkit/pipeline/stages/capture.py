"""Capture: ask the teacher once, for its logits (into the shared cache) and for its texts, then close it.

Several processes share the work as those of `kdkit capture --shard` do: each captures a part, in a folder beside the
cache, and the lead takes the parts into it.
"""

from __future__ import annotations

import gc
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kdkit.data.rows import rows_of
from kdkit.errors import Busy, Mismatch
from kdkit.logits.cache import CacheWriter, LogitCache, Part, first_rows, take_parts
from kdkit.logits.cache.manifest import MANIFEST
from kdkit.logits.cache.remote.transfer import mirror, mirrored
from kdkit.logits.cache.state import NO_STATE, read_state
from kdkit.logits.encoder import TeacherEncoder
from kdkit.logits.targets import keys_of
from kdkit.models import tokenizer_digest
from kdkit.pipeline.estimate import check_space
from kdkit.pipeline.needed_logits import Wanted, is_finished, wanted_rows
from kdkit.store import found_or_making, texts
from kdkit.system.signals import graceful
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from kdkit.api.interfaces import OpenTeacher
    from kdkit.api.interfaces.codecs import CodecState
    from kdkit.api.values import Corpus, EncodedExample, Prediction
    from kdkit.runs.run import Run


def fill(run: Run) -> dict[str, Any]:
    """Fill the logit cache, unless the loss needs none, and write `predictions/teacher.jsonl`.

    Raises:
        UsageError: There is no room on the disk for the logits that the store lacks.
        DamagedData: A part of the cache, captured by another process, is damaged.
    """
    recipe = run.recipe
    corpus = run.read_corpus()
    with _open_teacher(run, corpus) as teacher:
        facts = _facts_of(teacher)
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
    corpus = run.read_corpus()
    has_cache = "cache" not in facts or _covers(run, Path(facts["cache"]), facts, corpus)
    if has_cache and texts.exists():
        return {}
    with _open_teacher(run, corpus) as teacher:
        _check_teacher(run, teacher, facts)
        if not texts.exists():
            _write_texts(run, teacher, corpus)
        return {} if has_cache else _fill_cache(run, teacher, corpus)


def fill_part(run: Run, part: Part) -> dict[str, Any]:
    """Fill a part of the logit cache, in a folder beside it, where `fill` finds it.

    What the cache itself has is not captured again.

    Raises:
        UsageError: There is no room on the disk.
    """
    corpus = run.read_corpus()
    with _open_teacher(run, corpus) as teacher:
        return _facts_of(teacher) | _fill_part(run, part, teacher, corpus)


def restore_part(run: Run, part: Part, stage: str) -> dict[str, Any]:
    """Capture a part again whose folder is there no longer, unless it went into the cache; gives what changed.

    Raises:
        Mismatch: The teacher is not the one of that capture.
    """
    facts, corpus = run.facts(stage), run.read_corpus()
    shared = Path(facts["shared"])
    if _covers(run, shared, facts, corpus):
        return {"cache": str(shared), "outputs": [str(shared / MANIFEST)]}
    with _open_teacher(run, corpus) as teacher:
        _check_teacher(run, teacher, facts)
        return _fill_part(run, part, teacher, corpus)


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


def _facts_of(teacher: OpenTeacher) -> dict[str, Any]:
    return {"identity": teacher.identity, "tokenizer": tokenizer_digest(teacher.tokenizer)}


def _check_teacher(run: Run, teacher: OpenTeacher, facts: dict[str, Any]) -> None:
    if teacher.identity != facts["identity"]:
        raise Mismatch(f"the teacher of {run.path} is not the one that was captured; run with --fresh")


def _fill_cache(run: Run, teacher: OpenTeacher, corpus: Corpus) -> dict[str, Any]:
    wanted = Wanted.of(run, teacher, corpus)
    shared_out = run.team.size > 1 and _fill_parts(run, teacher, wanted)
    return run.team.lead_does(lambda: _fill_whole(run.alone, teacher, wanted, fresh=shared_out))


def _fill_parts(run: Run, teacher: OpenTeacher, wanted: Wanted) -> bool:
    """Capture what the cache lacks, each process a part; the lead has to take the parts into the cache afterwards.

    Returns:
        Whether it lacked anything.
    """
    if run.team.lead_does(lambda: _has_all(run, wanted)):
        return False
    part, shared = Part(index=run.team.rank, count=run.team.size), wanted.open_cache()
    own = part.owned(teacher.groups(wanted.rows), wanted.keys)
    lacking = {key for key in own if shared is None or key not in shared}
    if lacking:
        _capture(run, teacher, wanted, part.folder(wanted.folder), lacking, state=_last_state(shared))
    run.team.wait()
    return True


def _has_all(run: Run, wanted: Wanted) -> bool:
    """Have in the cache all that was captured before, here or elsewhere; whether nothing is missing."""
    if wanted.url is not None:
        mirror(wanted.url, wanted.identity, note=run.progress.note)
    _take_parts(run, wanted)
    return _is_whole(wanted)


def _fill_whole(run: Run, teacher: OpenTeacher, wanted: Wanted, *, fresh: bool) -> dict[str, Any]:
    if wanted.url is None:
        return _fill_folder(run, teacher, wanted, fresh=fresh)
    with mirrored(wanted.url, wanted.identity, note=run.progress.note):
        return {**_fill_folder(run, teacher, wanted, fresh=fresh), "url": wanted.url}


def _fill_folder(run: Run, teacher: OpenTeacher, wanted: Wanted, *, fresh: bool) -> dict[str, Any]:
    """Take the parts, and capture what is missing then; `fresh` says that this run has just captured some of it."""
    _take_parts(run, wanted)
    own = set(wanted.keys.values())
    note = run.progress.note
    with found_or_making(wanted.folder, what="logits", note=note, is_there=lambda: _is_whole(wanted)) as whole:
        if not whole:
            _capture(run, teacher, wanted, wanted.folder, own)
    cache = LogitCache.open(wanted.folder, wanted.identity)
    if whole and not fresh:
        run.progress.note(f"capture: {len(own)} records are in {wanted.folder} already")
    # Of this run's own rows; the cache may hold those of others too.
    counts, reused = _counts([cache], own), whole and not fresh
    return {"cache": str(wanted.folder.absolute()), "reused": reused, "codec": wanted.identity.codec, **counts}


def _is_whole(wanted: Wanted) -> bool:
    """Whether the cache has every record that the run needs."""
    cache = wanted.open_cache()
    return cache is not None and all(key in cache for key in wanted.keys.values())


def _finish_parts(run: Run, wanted: Wanted) -> None:
    """Declare finished what a process that is gone had sealed of its part: it is not lost, whoever goes on."""
    for folder in sorted(wanted.folder.parent.glob(f"{wanted.folder.name}.part-*-of-*")):
        if is_finished(folder):
            continue
        try:
            with CacheWriter(folder, wanted.identity, None, lock_seconds=0, note=run.progress.note) as writer:
                if writer.done_keys:
                    writer.finish()
        except Busy as error:
            run.progress.note(str(error))


def _take_parts(run: Run, wanted: Wanted) -> None:
    _finish_parts(run, wanted)
    if merged := take_parts(wanted.folder, wanted.identity, run.progress):
        run.progress.note(f"capture: {wanted.folder} has taken the parts beside it: {merged.describe()}")


def _fill_part(run: Run, part: Part, teacher: OpenTeacher, corpus: Corpus) -> dict[str, Any]:
    wanted = Wanted.of(run, teacher, corpus)
    if wanted.url is not None:
        mirror(wanted.url, wanted.identity, note=run.progress.note)
    own = part.owned(teacher.groups(wanted.rows), wanted.keys)
    shared = wanted.open_cache()
    lacking = {key for key in own if shared is None or key not in shared}
    caches = [shared] if shared is not None else []
    folder = wanted.folder
    if lacking or shared is None:
        folder = part.folder(wanted.folder)
        _capture(run, teacher, wanted, folder, lacking, state=_last_state(shared))
        if wanted.url is not None:
            # No folder is shared: what was captured here goes to where all parts can be had.
            with mirrored(wanted.url, wanted.identity, note=run.progress.note):
                _take_parts(run, wanted)
            folder = wanted.folder
        caches.append(LogitCache.open(folder, wanted.identity))
    else:
        run.progress.note(f"capture: {plural(len(own), 'record')} of this part are in {folder} already")
    return {
        "cache": str(folder.absolute()),
        "shared": str(wanted.folder.absolute()),
        "codec": wanted.identity.codec,
        **({"url": wanted.url} if wanted.url is not None else {}),
        **_counts(caches, own),
        # Not there any more once a run has taken the part; `restore_part` then looks for its records.
        "outputs": [str(folder.absolute() / MANIFEST)],
    }


def _counts(caches: Iterable[LogitCache], own: Collection[bytes]) -> dict[str, Any]:
    """How many records of one's own there are in some caches, and how big they are."""
    holders = {key: cache for cache in caches for key in own if key in cache}
    tokens = sum(cache.tokens(key) for key, cache in holders.items())
    size = sum(cache.size(key) for key, cache in holders.items())
    return {
        "records": len(holders),
        "tokens": tokens,
        "bytes": size,
        "bytes_per_token": round(size / tokens, 3) if tokens else None,
    }


def _covers(run: Run, folder: Path, facts: dict[str, Any], corpus: Corpus) -> bool:
    """Whether the cache of a finished capture is there, with every row: it may have been deleted, and begun anew."""
    if not is_finished(folder) and "url" in facts:
        mirror(facts["url"], note=run.progress.note)
    if not is_finished(folder):
        return False
    rows = wanted_rows(run.recipe, run.recipe.teacher.load_tokenizer(corpus), corpus)
    keys = keys_of(rows, teacher=facts["identity"], tokenizer=facts["tokenizer"])
    cache = LogitCache.open(folder)
    return all(key in cache for key in keys.values())


def _last_state(cache: LogitCache | None) -> CodecState | None:
    """What the codec of a cache has learnt, if it learns: whoever adds to the cache goes on with that."""
    if cache is None or not cache.manifest.shards or cache.manifest.shards[-1].state == NO_STATE:
        return None
    return read_state(cache.folder, cache.manifest.shards[-1].state)


def _write_texts(run: Run, teacher: OpenTeacher, corpus: Corpus) -> None:
    recipe = run.recipe
    held_out = rows_of(corpus.held_out, teacher.tokenizer, recipe.tokens, at_most=recipe.evaluation.rows).encoded
    path = run.path / "predictions" / "teacher.jsonl"

    def generate(rows: Sequence[EncodedExample], done: Collection[str]) -> Iterator[Prediction]:
        return teacher.generate(rows, recipe.generation, done=done)

    # Texts that were recorded are no work, and the identity of recorded logits is not that of the texts.
    is_model = run.facts("teacher")["folder"] is not None
    kept_as = f"{recipe.names['teacher']} {teacher.identity}" if is_model else None
    texts.fill(
        path,
        held_out,
        generate,
        name="teacher",
        tokenizer=teacher.tokenizer,
        kept_as=kept_as,
        store=run.store,
        generation=recipe.generation,
        progress=run.progress,
        team=run.team,
    )


def _capture(
    run: Run,
    teacher: OpenTeacher,
    wanted: Wanted,
    folder: Path,
    own: Collection[bytes],
    *,
    state: CodecState | None = None,
) -> None:
    """Add to a cache what it lacks; those who read it meanwhile see it as it was.

    Args:
        run: The run.
        teacher: Its teacher.
        wanted: All rows: whatever is asked of them, the teacher computes them in the same groups.
        folder: The cache, or a part of it.
        own: The keys that are to be in it.
        state: What its codec has learnt, if that is known already.
    """
    recipe, rows, keys = run.recipe, wanted.rows, wanted.keys
    shard_bytes = recipe.cache.shard_mb * 1_000_000
    with CacheWriter(folder, wanted.identity, recipe.codec, shard_bytes, note=run.progress.note) as writer:
        # A key that several rows share is captured of the first: so it is the same record however many processes share
        # the work.
        first = first_rows(teacher.groups(rows), keys)
        missing = {
            row.id: len(row.target_ids)
            for row in rows
            if row.id in first and keys[row.id] in own and keys[row.id] not in writer.done_keys
        }
        check_space({folder: int(sum(missing.values()) * recipe.codec.bytes_per_token(wanted.identity.vocab_size))})
        total = sum(keys[row.id] in own for row in rows)
        with graceful() as stop:
            encoder = TeacherEncoder.of(teacher, recipe.codec, run.progress)
            if missing and writer.needs_state:
                writer.learn(state if state is not None else encoder.learn(rows, keys))
            done = {row.id for row in rows if row.id not in missing}
            with run.progress.task("capture", total=total, unit="rows", done=total - len(missing)) as task:
                for _ in encoder.add_all(writer, rows, keys, done) if missing else ():
                    task.advance()
                    if stop:
                        writer.seal()
                        raise stop.leave(f"sealed {len(writer.done_keys)} records of {total} rows")
        writer.finish()
