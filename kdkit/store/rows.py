"""Rows in columns, kept so that they are read and encoded once: `rows/DIGEST/` of the store.

rows/DIGEST/            the texts of the corpus with that digest: train, validation and test, one after the other
rows/DIGEST-ids/KEY/    their token ids; KEY is a digest of what the ids depend on beside the texts

The first process that needs an entry makes it, and others wait; then all of them map the same memory. The rows of a run
are those of its own `data/*.jsonl`: an entry is made of these again where it is gone or damaged. Little text is not
kept: to encode it takes less time than to look.
"""

from __future__ import annotations

import errno
import importlib.metadata
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from kdkit.api.values import SPLITS, Corpus
from kdkit.data import corpus as corpora
from kdkit.data.columns import Ragged, offsets_of
from kdkit.data.encoded_rows import EncodedRows
from kdkit.data.reading import Reading, Refusals
from kdkit.data.rendered import special_words
from kdkit.data.rows import Rows
from kdkit.data.rows import rows_of as encoded_rows
from kdkit.data.text_rows import NAMES, TextColumns, TextRows
from kdkit.data.tokens import control_words
from kdkit.errors import DamagedData
from kdkit.models import stops_of, tokenizer_digest
from kdkit.store import columns
from kdkit.store.columns import StoredColumns
from kdkit.store.sharing import found_or_making
from kdkit.store.tokenized import pipeline_of
from kdkit.system.digests import digest_of
from kdkit.system.folders import delete
from kdkit.system.progress import Silent

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.values import Example, SplitName
    from kdkit.data.rows import Encoding
    from kdkit.system.progress import Progress

KEPT_FROM = 1 << 20
"""Bytes of text from which a corpus is kept."""
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR)
_IDS_FORMAT = 3
"""Changed with whatever changes what is read of rows: `kdkit.data.tokens.read`, `kdkit.data.sequences`."""


def read(folder: Path, digest: str, store: Path, progress: Progress) -> Corpus:
    """The corpus that a run wrote to its folder; of a large one, its columns in the store.

    Args:
        folder: `data/` of the run folder.
        digest: The corpus's.
        store: The folder that runs share.
        progress: Where progress is shown.

    Raises:
        DamagedData: The folder does not hold what was written.
    """
    size = sum(path.stat().st_size for path in folder.glob("*.jsonl"))
    if size < KEPT_FROM or not corpora.is_there(folder, digest):
        return corpora.read(folder, digest)
    return _kept(store / "rows" / digest[:32], lambda: corpora.read(folder, digest), progress)


def keep(corpus: Corpus, digests: Mapping[SplitName, str], store: Path, progress: Progress) -> Corpus:
    """A corpus that was just read, as columns of the store where it is large.

    Args:
        corpus: The corpus.
        digests: Those of its splits: see `kdkit.data.corpus.write_splits`.
        store: The folder that runs share.
        progress: Where progress is shown.
    """
    splits = {split: attrs.evolve(TextRows.of(corpus.split(split)), sha256=digests[split]) for split in SPLITS}
    whole = corpora.of_splits(splits, drops=corpus.drops)
    if sum(rows.text_bytes for rows in splits.values()) < KEPT_FROM:
        return whole
    kept = _kept(store / "rows" / corpora.digest_of_splits(digests)[:32], lambda: whole, progress)
    return attrs.evolve(kept, drops=corpus.drops)


def _kept(entry: Path, read_it: Callable[[], Corpus], progress: Progress) -> Corpus:
    def make() -> StoredColumns:
        rows = {split: TextRows.of(corpus_rows) for split, corpus_rows in _splits_of(read_it()).items()}
        return StoredColumns(
            columns={
                name: [getattr(each.columns, name).taken(each.places_R) for each in rows.values()] for name in NAMES
            },
            facts={"splits": {split: [len(each), each.sha256] for split, each in rows.items()}},
        )

    found = _have(entry, make, progress, what="rows")
    ids, sources, targets, rest = (Ragged.joined(found.columns[name]) for name in NAMES)
    texts = TextColumns(ids=ids, sources=sources, targets=targets, rest=rest, home=entry)
    splits: dict[SplitName, TextRows] = {}
    start = 0
    for split in SPLITS:
        count, sha256 = found.facts["splits"][split]
        splits[split] = TextRows(columns=texts, places_R=np.arange(start, start + count), sha256=sha256)
        start += count
    return corpora.of_splits(splits)


def _splits_of(corpus: Corpus) -> dict[SplitName, Sequence[Example]]:
    return {split: corpus.split(split) for split in SPLITS}


def rows_of(
    examples: Sequence[Example],
    tokenizer: Tokenizer,
    encoding: Encoding,
    *,
    at_most: int = 0,
    progress: Progress | None = None,
) -> Rows:
    """What is read of the first `at_most` examples (0 for all); of a corpus in the store, encoded once for all runs.

    Args:
        examples: The rows.
        tokenizer: Encodes them.
        encoding: How.
        at_most: How many.
        progress: Where progress is shown; by default nowhere.
    """
    chosen = examples[:at_most] if at_most else examples
    home = chosen.columns.home if isinstance(chosen, TextRows) else None
    key = None if home is None else _key_of(tokenizer, encoding)
    if home is None or key is None:
        return encoded_rows(chosen, tokenizer, encoding)
    assert isinstance(chosen, TextRows)
    whole = _read(chosen.columns, home.with_name(f"{home.name}-ids") / key, tokenizer, encoding, progress or Silent())
    return Rows(chosen=chosen, reading=whole.of_examples(chosen.places_R), tokenizer=tokenizer, encoding=encoding)


def _read(texts: TextColumns, entry: Path, tokenizer: Tokenizer, encoding: Encoding, progress: Progress) -> Reading:
    """What is read of all rows of a corpus."""
    examples = TextRows(columns=texts, places_R=np.arange(len(texts.ids)))

    def make() -> StoredColumns:
        with progress.task("encode", total=len(examples), unit="rows") as task:
            made = encoding.read(examples, tokenizer, task=task)
        rows = made.rows
        columns = {"sources": [rows.sources], "targets": [rows.targets], "marks": [_one_row(made.marks_R)]}
        if made.origins_R is not None:
            columns |= {"ids": [rows.ids], "origins": [_one_row(made.origins_R)]}
        columns |= {"refused": [_one_row(made.refused.origins_F)], "kinds": [_one_row(made.refused.kinds_F)]}
        return StoredColumns(columns=columns, facts={"reasons": list(made.refused.reasons)})

    stored = _have(entry, make, progress, what="token ids")
    found = {name: Ragged.joined(parts) for name, parts in stored.columns.items()}
    return Reading(
        rows=EncodedRows.whole(ids=found.get("ids", texts.ids), sources=found["sources"], targets=found["targets"]),
        marks_R=found["marks"].flat,
        origins_R=found["origins"].flat if "origins" in found else None,
        refused=Refusals(
            origins_F=found["refused"].flat, kinds_F=found["kinds"].flat, reasons=tuple(stored.facts["reasons"])
        ),
    )


def _one_row(values_R: npt.NDArray[Any]) -> Ragged:
    """An array as a column of one row."""
    return Ragged(values_R, offsets_of([len(values_R)]))


def _have(entry: Path, make: Callable[[], StoredColumns], progress: Progress, *, what: str) -> StoredColumns:
    """An entry of the store, made if it is not there; where nothing can be kept, made for this process alone."""
    found = _look(entry, progress, what=what)
    if found is not None:
        return found

    def is_there() -> bool:
        return _look(entry, progress, what=what) is not None

    try:
        with found_or_making(entry, what=what, note=progress.note, is_there=is_there) as there:
            if not there:
                made = make()
                columns.put(entry, made.columns, made.facts)
                del made
    except OSError as error:
        if error.errno not in _FORBIDDEN:
            raise
        progress.note(f"{entry} cannot be written ({error.strerror}): {what} are made for this process alone")
        return make()
    found = columns.get(entry)
    assert found is not None, f"{entry} was just made"
    return found


def _look(entry: Path, progress: Progress, *, what: str) -> StoredColumns | None:
    try:
        return columns.get(entry)
    except DamagedData as error:
        progress.note(f"{error}; the {what} are made again")
        delete([entry])
        return None


def _key_of(tokenizer: Tokenizer, encoding: Encoding) -> str | None:
    """What ids depend on beside the texts; None where a tokenizer or a kind of model does not say all that it does."""
    pipeline, how = pipeline_of(tokenizer), type(encoding.kind)
    if pipeline is None or how.__module__.partition(".")[0] != "kdkit":
        return None
    versions = {name: importlib.metadata.version(name) for name in ("tokenizers", "transformers")}
    kind = type(tokenizer)
    languages = [getattr(tokenizer, name, None) for name in ("src_lang", "tgt_lang")]
    return digest_of(
        {
            "format": _IDS_FORMAT,
            "pipeline": pipeline,
            "tokenizer": [tokenizer_digest(tokenizer), f"{kind.__module__}:{kind.__qualname__}", languages],
            "control": control_words(tokenizer),
            "special": [special_words(tokenizer).pattern, sorted(stops_of(tokenizer))],
            "template": getattr(tokenizer, "chat_template", None),
            "kind": how.__qualname__,
            "limits": attrs.asdict(encoding.limits),
            "versions": versions,
        }
    )[:32]
