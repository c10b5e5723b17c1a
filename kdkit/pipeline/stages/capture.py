"""Capture: ask the teacher once, for its logits (into the shared cache) and for its texts, then close it."""

from __future__ import annotations

import gc
from contextlib import contextmanager
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
from kdkit.pipeline.model_folders import teacher_folder
from kdkit.pipeline.needed_logits import NeededLogits, is_finished, needed_rows
from kdkit.pipeline.tokenizers import tokenizer_of
from kdkit.runs.stage import Planned
from kdkit.runs.stage_facts import Captured, TeacherAsked
from kdkit.store import logits_of, predictions, texts
from kdkit.store.rows import rows_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from kdkit.api.interfaces import OpenTeacher, Tokenizer
    from kdkit.api.values import Corpus, EncodedExample, Prediction
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
    corpus = run.read_corpus()
    with open_teacher(run, corpus) as teacher:
        told = TeacherAsked(identity=teacher.identity, tokenizer=tokenizer_digest(teacher.tokenizer))
        if run.recipe.loss.needs_teacher:
            told = filling_of(run, teacher, corpus).fill()
        _write_texts(run, teacher, corpus)
    return told


def plan(recipe: Recipe, _rows: RowsPlanned, found: Estimate) -> Planned:
    """The number of rows whose logits and texts are captured."""
    learning = ", without the codec's state" if isinstance(recipe.codec, FittedCodec) else ""
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
    corpus, has_texts = run.read_corpus(), (run.path / "predictions" / "teacher.jsonl").exists()
    has_cache = not isinstance(told, Captured) or covers(run, Path(told.cache), told, corpus)
    if has_cache and has_texts:
        return told
    with open_teacher(run, corpus) as teacher:
        check_teacher(run, teacher, told)
        if not has_texts:
            _write_texts(run, teacher, corpus)
        return told if has_cache else filling_of(run, teacher, corpus).fill()


@contextmanager
def open_teacher(run: Run, corpus: Corpus) -> Iterator[OpenTeacher]:
    """The run's teacher, closed at the end."""
    teacher = run.recipe.teacher.open(teacher_folder(run), run.recipe.data, corpus, device=run.device)
    try:
        yield teacher
    finally:
        teacher.close()
        gc.collect()


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
        teacher_name=f"{recipe.name}: {recipe.names['teacher']}",
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
    tokenizer = tokenizer_of(recipe, corpus, run.store, run.progress)
    rows = needed_rows(corpus, tokenizer, recipe.encoding, recipe.training, recipe.evaluation)
    cache = LogitCache.open(folder)
    if cache.vocab_size > target_size(tokenizer):  # captured by an earlier kdkit, entries of no token included
        return False
    keys = keys_of(rows, teacher=told.identity, tokenizer=told.tokenizer)
    return bool(cache.holds(keys.keys_RK).all())


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


def _write_texts(run: Run, teacher: OpenTeacher, corpus: Corpus) -> None:
    recipe = run.recipe
    held_out = rows_of(corpus.held_out, teacher.tokenizer, recipe.encoding, at_most=recipe.evaluation.rows)
    prompts = held_out.prompts if recipe.evaluation.wants_texts else ()
    path = run.path / "predictions" / "teacher.jsonl"

    def generate(rows: Sequence[EncodedExample], done: Collection[str]) -> Iterator[Prediction]:
        return teacher.generate(rows, recipe.generation, done=done)

    # Texts that were recorded are no work, and the identity of recorded logits is not that of the texts.
    is_model = run.teacher_folder is not None
    weights = f"{recipe.names['teacher']} {teacher.identity}"
    texts.fill(
        path,
        prompts,
        generate,
        name="teacher",
        tokenizer=teacher.tokenizer,
        kept_as=texts.kept_as(weights, teacher) if is_model and prompts else None,
        store=run.store,
        generation=recipe.generation,
        progress=run.progress,
        team=run.team,
    )
    if is_model and prompts:
        written = [prediction.text for prediction in predictions.read(path)]
        if note := sentence_of_empty_texts(written, teacher.tokenizer):
            run.progress.note(note)


def sentence_of_empty_texts(written: Sequence[str], tokenizer: Tokenizer) -> str | None:
    """What to do where a teacher writes nothing for most rows, as an assistant does that is not asked by its template.

    Args:
        written: Its texts.
        tokenizer: Its tokenizer.
    """
    empty = sum(not text.strip() for text in written)
    if 2 * empty <= len(written):
        return None
    cure = (
        "its tokenizer has a chat template: if it is an assistant, give it conversations (data.messages)"
        if getattr(tokenizer, "chat_template", None)
        else "write its rows as those that it was trained on, or train it on yours first (teacher.fine_tune)"
    )
    return f"the teacher writes an empty text for {empty:,} of {len(written):,} rows; {cure}"
