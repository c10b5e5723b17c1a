"""Capture: ask the teacher once, for its logits (into the shared cache) and for its texts, then close it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs

from kdkit.api.interfaces.codecs import FittedCodec
from kdkit.errors import Mismatch
from kdkit.logits.cache import LogitCache
from kdkit.logits.cache.remote.transfer import mirror
from kdkit.logits.targets import keys_of
from kdkit.logits.token_entries import of_tokens
from kdkit.models import target_size, tokenizer_digest
from kdkit.pipeline.cache_filling import CacheFilling
from kdkit.pipeline.needed_logits import NeededLogits, is_finished, needed_rows
from kdkit.pipeline.open_teachers import open_teacher, write_texts
from kdkit.pipeline.tokenizers import tokenizer_of
from kdkit.runs.stage import Planned
from kdkit.runs.stage_facts import Captured, TeacherAsked
from kdkit.store import logits_of
from kdkit.store.rows import rows_of
from kdkit.system.files import size_text

if TYPE_CHECKING:
    from kdkit.api.interfaces import OpenTeacher
    from kdkit.api.values import Corpus
    from kdkit.recipe import Recipe
    from kdkit.runs.run import Run
    from kdkit.runs.stage import RowsPlanned
    from kdkit.runs.stage_facts import Estimate


def fill(run: Run) -> TeacherAsked:
    """Fill the logit cache, unless the loss needs none, and write `predictions/teacher.jsonl`.

    Raises:
        UsageError: There is no room on the disk for the logits that the store lacks.
        DamagedData: A part of the cache, captured by another process, is damaged.
    """
    corpus = run.read_taught()
    with open_teacher(run, corpus) as teacher:
        told = TeacherAsked(identity=teacher.identity, tokenizer=tokenizer_digest(teacher.tokenizer))
        if run.recipe.loss.needs_teacher:
            told = filling_of(run, teacher, corpus).fill()
        write_held_out(run, teacher, corpus)
    return told


def plan(recipe: Recipe, _rows: RowsPlanned, found: Estimate) -> Planned:
    """The number of rows whose logits and texts are captured."""
    learning = ", without the codec's state" if isinstance(recipe.codec, FittedCodec) else ""
    if found.subspace_bytes is not None:
        learning = f", for which subspace would take about {size_text(found.subspace_bytes)}"
    logits = (
        f"logits of {found.capture_rows:,} rows by {recipe.names['codec']} (unless the store has them){learning}"
        if found.capture_rows
        else "no logits: the loss needs none"
    )
    return Planned(
        work=f"{logits}; {found.texts_in_words(recipe.generation.in_words)}",
        tokens=found.capture_tokens,
        bytes=found.capture_bytes,
    )


def restore(run: Run) -> TeacherAsked:
    """Capture again the lost files of a finished capture.

    Raises:
        Mismatch: The teacher is not the one of that capture.
    """
    told = run.told(Captured if run.recipe.loss.needs_teacher else TeacherAsked)
    corpus, has_texts = run.read_taught(), (run.path / "predictions" / "teacher.jsonl").exists()
    has_cache = not isinstance(told, Captured) or covers(run, Path(told.cache), told, corpus)
    if has_cache and has_texts:
        return told
    with open_teacher(run, corpus) as teacher:
        check_teacher(run, teacher, told)
        if not has_texts:
            write_held_out(run, teacher, corpus)
        return told if has_cache else filling_of(run, teacher, corpus).fill()


def check_teacher(run: Run, teacher: OpenTeacher, told: TeacherAsked) -> None:
    """Refuse a teacher that is not the one that was captured."""
    if teacher.identity != told.identity:
        raise Mismatch(f"the teacher of {run.path} is not the teacher that was captured; run with --fresh")


def filling_of(run: Run, teacher: OpenTeacher, corpus: Corpus) -> CacheFilling:
    """The filling of a run's cache; only logits of tokens, if the teacher has more."""
    recipe, narrow = run.recipe, of_tokens(teacher)
    needed = NeededLogits.of(
        narrow,
        needed_rows(corpus, teacher.tokenizer, recipe.encoding, recipe.training, recipe.evaluation),
        recipe.codec,
        codec_name=recipe.names["codec"],
        teacher_name=f"{recipe.name}: {getattr(teacher, 'in_words', recipe.names['teacher'])}",
        place=logits_of(recipe.store.dir, run.store),
    )
    if narrow is not teacher:
        run.progress.note(_sentence_of_width(needed, teacher.vocab_size))
    return CacheFilling(
        needed=needed,
        teacher=narrow,
        codec=recipe.codec,
        shard_bytes=recipe.store.shard_mb * 1_000_000,
        progress=run.progress,
        team=run.team,
    )


def covers(run: Run, folder: Path, told: Captured, corpus: Corpus) -> bool:
    """Whether the cache of a finished capture has every row: it may have been deleted, and begun from scratch."""
    if not is_finished(folder) and told.url is not None:
        mirror(told.url, note=run.progress.note)
    if not is_finished(folder):
        return False
    recipe = run.recipe
    tokenizer = tokenizer_of(recipe, run.own_targets(corpus), run.store, run.progress)
    rows = needed_rows(corpus, tokenizer, recipe.encoding, recipe.training, recipe.evaluation)
    cache = LogitCache.open(folder)
    if cache.vocab_size > target_size(tokenizer):  # captured by an earlier kdkit, entries of no token included
        return False
    keys = keys_of(rows, teacher=told.identity, tokenizer=told.tokenizer)
    return bool(cache.holds(keys.keys_RK).all())


def write_held_out(run: Run, teacher: OpenTeacher, corpus: Corpus) -> None:
    """Write the teacher's texts for the held-out rows, `predictions/teacher.jsonl`."""
    recipe = run.recipe
    held_out = rows_of(corpus.held_out, teacher.tokenizer, recipe.encoding, at_most=recipe.evaluation.rows)
    prompts = held_out.prompts if recipe.evaluation.wants_texts else ()
    write_texts(run, teacher, run.path / "predictions" / "teacher.jsonl", prompts, recipe.generation, name="teacher")


def _sentence_of_width(needed: NeededLogits, whole: int) -> str:
    """The entries left out of a teacher's logits, and the fate of a cache that has them."""
    width = needed.identity.vocab_size
    text = (
        f"capture: {whole} logits a token are cut to {width}, one for each id of the tokenizer: the other "
        f"{whole - width} belong to no token"
    )
    uncut = needed.folder.with_name(attrs.evolve(needed.identity, vocab_size=whole).digest[:32])
    if is_finished(uncut):
        text += f"; {uncut}, in which an earlier kdkit kept them all, is not used and may be deleted"
    return text
