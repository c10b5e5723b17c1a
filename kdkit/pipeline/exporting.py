"""Writes the logits of a run as files that other tools read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import numpy as np

from kdkit.api.interfaces import SparseCodec
from kdkit.data.guests import writing
from kdkit.errors import MissingInput, UsageError
from kdkit.logits.cache import LogitCache
from kdkit.logits.largest import check_kept, largest_entries
from kdkit.logits.targets import check_covers, keys_of
from kdkit.pipeline.needed_logits import needed_rows
from kdkit.pipeline.tokenizers import tokenizer_of
from kdkit.pipeline.vocabulary import settle
from kdkit.recipe import load_stored
from kdkit.runs.facts_table import facts_in
from kdkit.runs.folders import RECIPE
from kdkit.runs.record import check_recipe, read_record
from kdkit.runs.run import Run
from kdkit.runs.stage_facts import Captured
from kdkit.store import store_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdkit.data.encoded_rows import EncodedRows
    from kdkit.data.row_keys import RowKeys
    from kdkit.system.progress import Progress

PARQUET, DISTILLKIT = "parquet", "distillkit"
FORMATS = (PARQUET, DISTILLKIT)


@attrs.frozen(kw_only=True)
class Exported:
    """Logits that were exported.

    Attributes:
        rows: How many rows.
        tokens: How many label tokens with logits.
        entries: How many entries of each.
        lost: What the cache has and the files have not, a clause each.
    """

    rows: int
    tokens: int
    entries: int
    lost: tuple[str, ...]


def export_logits(
    run_dir: Path, out: Path, *, into: str, entries: int, temperature: float, progress: Progress
) -> Exported:
    """Write the logits of a run's rows, each with its token ids.

    Args:
        run_dir: The folder of a run that has captured them.
        out: A file for `PARQUET`, a folder for `DISTILLKIT`.
        into: The format.
        entries: How many entries of each token, at most.
        temperature: That of the probabilities.
        progress: Where progress is shown.

    Raises:
        MissingInput: There is no such run, or it has captured nothing.
        UsageError: Its cache has no log-probabilities at that temperature, or its rows are no sequences.
        DamagedData: A record is damaged.
    """
    run, told = _captured(run_dir, progress)
    cache, rows = LogitCache.open(Path(told.cache), codec=run.recipe.codec), _rows(run)
    check_kept(cache, temperature=temperature)
    keys = keys_of(rows, teacher=told.identity, tokenizer=told.tokenizer)
    check_covers(cache, keys)
    kept = getattr(cache.codec, "k", cache.vocab_size)
    entries = min(entries, kept, cache.vocab_size)
    count = _Count()
    sequences = _sequences(cache, rows, keys, entries=entries, temperature=temperature, progress=progress, count=count)
    if into == DISTILLKIT:
        writing.write_distillkit(out, sequences, width=cache.vocab_size, entries=entries)
    else:
        writing.write_plain(out, sequences)
    return Exported(
        rows=count.rows, tokens=count.tokens, entries=entries, lost=tuple(_lost(cache, into, entries, temperature))
    )


@attrs.define
class _Count:
    rows: int = 0
    tokens: int = 0


def _captured(run_dir: Path, progress: Progress) -> tuple[Run, Captured]:
    record = read_record(run_dir)
    told = facts_in(record, Captured, run_dir) if record else None
    if told is None or not getattr(told, "cache", ""):
        raise MissingInput(f"{run_dir} is not the folder of a run that has captured logits; give that of one")
    recipe = load_stored(run_dir / RECIPE)
    check_recipe(run_dir, recipe)
    if not recipe.student.model_kind.is_joined:
        raise UsageError(
            f"{run_dir} is of encoder-decoders, and the other tools read one sequence of decoder-only models; its "
            "cache is read with kdkit.LogitCache"
        )
    store = store_of(recipe.store.dir, run_dir)
    run = Run(recipe=recipe, path=run_dir, store=store, device="cpu", progress=progress, record=record)
    settle(run)
    return run, told


def _rows(run: Run) -> EncodedRows:
    recipe, corpus = run.recipe, run.read_taught()
    tokenizer = tokenizer_of(recipe, run.own_targets(corpus), run.store, run.progress)
    return needed_rows(corpus, tokenizer, recipe.encoding, recipe.training, recipe.evaluation)


def _sequences(
    cache: LogitCache,
    rows: EncodedRows,
    keys: RowKeys,
    *,
    entries: int,
    temperature: float,
    progress: Progress,
    count: _Count,
) -> Iterator[writing.Sequence]:
    seen: set[bytes] = set()
    with progress.task("export", total=len(rows), unit="rows") as task:
        for row in rows:
            key = keys[row.id]
            if key not in seen:
                seen.add(key)
                ids_TK, logp_TK = largest_entries(cache, key, entries=entries, temperature=temperature)
                first = len(row.source_ids)
                begin = int(first == 0)  # nothing comes before the first id of all, and no tool has a place for it
                count.rows, count.tokens = count.rows + 1, count.tokens + len(ids_TK) - begin
                yield writing.Sequence(
                    ids_S=np.array([*row.source_ids, *row.target_ids], np.int64),
                    first=first + begin,
                    ids_PK=ids_TK[begin:],
                    logp_PK=logp_TK[begin:],
                )
            task.advance()


def _lost(cache: LogitCache, into: str, entries: int, temperature: float) -> Iterator[str]:
    """What the cache has and files of a format have not."""
    kept = cache.codec.exact_temperatures if isinstance(cache.codec, SparseCodec) else None
    if entries < (getattr(cache.codec, "k", entries) if kept is not None else cache.vocab_size):
        yield f"all but the {entries} largest entries of a token; of the others, their mass together is what is missing"
    others = [each for each in kept or () if each != temperature]
    if others or (kept is None and entries < cache.vocab_size):
        yield f"what is known at {', '.join(f'{each:g}' for each in others) or 'other temperatures'}"
    yield "whose logits these are, and checksums"
    if into == DISTILLKIT:
        yield "that a position is not known: there the next id has all probability"
