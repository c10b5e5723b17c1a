"""Data: reads the data set once and describes it: rows, drops, lengths, leakage, and the tokenizer's view of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.values import SPLITS
from kdkit.data import corpus as corpora
from kdkit.data.given import reason_of
from kdkit.data.reading_notes import notes_on_reading
from kdkit.data.target_facts import facts_of, notes_on
from kdkit.errors import Mismatch
from kdkit.pipeline.kept import rows_key
from kdkit.pipeline.tokenizers import tokenizer_of
from kdkit.pipeline.vocabulary import settled
from kdkit.recipe.inputs import check_inputs, load_rows
from kdkit.runs.facts_table import as_facts, from_facts
from kdkit.runs.stage import Planned
from kdkit.runs.stage_facts import DataRead
from kdkit.store import datasets, found_or_making, inputs
from kdkit.store import rows as stored
from kdkit.system.files import write_json

if TYPE_CHECKING:
    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.values import Corpus, SplitName
    from kdkit.recipe import Recipe
    from kdkit.runs.run import Run
    from kdkit.runs.stage import RowsPlanned
    from kdkit.runs.stage_facts import Estimate
    from kdkit.system.progress import Progress

_PARTS = {"text": "blocks", "chat": "turns"}
"""What the models read of a row, by the form of the data set's rows."""


def load(run: Run) -> DataRead:
    """Write `data/*.jsonl` and `data/report.json`; of the trials of a sweep with the same data set, the first does.

    Raises:
        UsageError: There are no training or no validation rows, or two rows have one id; or, before any row is read,
            the teacher or the student names what is not there.
    """
    check_inputs(run.recipe)
    entry = datasets.entry_of(run.path, run.recipe.digested)
    if entry is None:
        return _write(run, read(run))
    note, folder = run.progress.note, run.path / "data"
    with found_or_making(entry, what="data set", note=note, is_there=lambda: datasets.is_there(entry)) as is_there:
        if is_there:
            return from_facts(DataRead, datasets.take(entry, folder, note), where=f"the facts of {entry}")
        told = _write(run, read(run))
        datasets.put(entry, folder, as_facts(told))
        return told


def plan(recipe: Recipe, rows: RowsPlanned, found: Estimate) -> Planned:
    """The rows that are read; of texts and conversations also as how many rows the models read them."""
    are_parts = any(read > rows.counts.get(split, 0) for split, read in found.rows.items())
    counts = rows.counts if are_parts else found.rows
    splits = [split for split, count in counts.items() if count]
    work = f"read {recipe.names['data']}: {', '.join(f'{counts[split]:,} {split}' for split in splits)} rows"
    if are_parts:
        parts = _PARTS.get(getattr(recipe.data, "form", ""), "blocks or turns")
        work += f", in {', '.join(f'{found.rows[split]:,}' for split in splits)} {parts}"
    return Planned(work=work, bytes=rows.bytes)


def restore(run: Run) -> DataRead:
    """Write a finished run's data again if its files are lost.

    Raises:
        Mismatch: The data set has changed since.
    """
    told, folder = run.told(DataRead), run.path / "data"
    names = ["report.json", *(f"{split}.jsonl" for split in SPLITS if told.rows[split])]
    if all((folder / name).exists() for name in names):
        return told
    corpus = read(run)
    if corpora.digest(corpus) != told.digest:
        raise Mismatch(f"the data set has changed since {run.path} was made; run with --fresh to start from scratch")
    return _write(run, corpus)


def read(run: Run) -> Corpus:
    """The rows of the data set, from the store where they are kept by what they depend on."""

    def load() -> Corpus:
        return load_rows(run.recipe, run.progress)

    key = rows_key(run.recipe)
    return inputs.rows(key, run.store, load, run.progress) if key is not None else load()


def _write(run: Run, corpus: Corpus) -> DataRead:
    folder = run.path / "data"
    digests = corpora.write_splits(folder, corpus)
    corpus = stored.keep(corpus, digests, run.store, run.progress)
    recipe = settled(run.recipe, corpus, run.progress)
    report = account(recipe, corpus, tokenizer_of(recipe, corpus, run.store, run.progress), run.progress)
    write_json(folder / "report.json", report)
    outputs = ("data/test.jsonl",) if corpus.test else ()
    return DataRead(digest=corpora.digest_of_splits(digests), rows=report["rows"], outputs=outputs)


def account(recipe: Recipe, corpus: Corpus, tokenizer: Tokenizer, progress: Progress) -> dict[str, Any]:
    """What `data/report.json` says of the rows; what a reader should know of it is noted too.

    Args:
        recipe: The recipe.
        corpus: The rows.
        tokenizer: Encodes them.
        progress: Where it is noted.
    """
    lengths, targets, readings = {}, {}, {}
    for split in SPLITS:
        rows_here = corpus.split(split)
        if split == "train":  # of rows without a target there is nothing to say before it is written
            rows_here = recipe.with_targets(rows_here)
        if rows_here:
            found = stored.rows_of(rows_here, tokenizer, recipe.encoding, progress=progress)
            lengths[split] = corpora.lengths(found.encoded, found.limits)
            targets[split] = facts_of(found)
            readings[split] = found
    rows = {str(split): len(corpus.split(split)) for split in SPLITS}
    repeated = corpora.repeated_rows(corpus, is_written=recipe.writing is not None)
    report: dict[str, Any] = {
        "rows": rows,
        "drops": [attrs.asdict(drop) for drop in corpus.drops],
        "lengths": lengths,
        "read": {split: each.reading.counts() for split, each in readings.items()},
        "leakage": corpora.leakage(corpus),
        "repeated_rows": repeated,
        "tokenizer": {split: each.as_table() for split, each in targets.items()},
        "notes": [*notes_on_reading(list(readings.values())), *notes_on(list(targets.values()), recipe.tokens)],
    }
    _say(recipe, corpus, rows, repeated, progress)
    for note in report["notes"]:
        progress.note(f"data: {note}")
    return report


def _say(
    recipe: Recipe, corpus: Corpus, rows: dict[str, int], repeated: dict[SplitName, int], progress: Progress
) -> None:
    """Numbers of rows, rows left out, and reasons to doubt the scores."""
    counts = ", ".join(f"{count:,} {split}" for split, count in rows.items() if count)
    progress.note(f"data: {counts} rows")
    for drop in corpus.drops:
        progress.note(f"data: {reason_of(drop)}")
    also = "are also training rows" if recipe.writing is None else "ask what a training row asks"
    for split, count in repeated.items():
        if count:
            progress.note(
                f"data: {count:,} of the {split} rows {also}, word for word: scores on them show memory as well as "
                "skill"
            )
