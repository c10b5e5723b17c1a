"""What depends on a recipe's inputs alone, kept by their content: mined rows, and what a run will take.

data/KEY/         the rows of a data set that says what they depend on (`kdkit.api.KeyedSource`), and `facts.json`
plans/KEY.json    the plan of a recipe over such a data set

KEY is a digest of options, of what the data set says of its inputs, and of the versions that compute; so a changed
input is read again, and nothing old is taken for it. A damaged entry is made again.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.values import Drop
from kdkit.data import corpus as corpora
from kdkit.errors import DamagedData
from kdkit.store import tables
from kdkit.store.sharing import found_or_making
from kdkit.system.files import publish, write_json
from kdkit.system.folders import delete, discard_folder
from kdkit.system.reading import read_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from kdkit.api.values import Corpus
    from kdkit.system.progress import Progress

_FACTS = "facts.json"
_LARGE = 1 << 24
"""Bytes of rows that are mapped rather than read."""
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def rows(key: str, store: Path, read: Callable[[], Corpus], progress: Progress) -> Corpus:
    """The rows with a key: those that are kept, else read and kept.

    Args:
        key: Digest of all that they depend on.
        store: The folder that runs share.
        read: Reads them.
        progress: Where it is told that they were taken, or that an entry is damaged.
    """
    entry = store / "data" / key
    found = _rows_in(entry, progress)
    if found is not None:
        progress.note(f"data: taken from {entry}, where an earlier run or plan has kept the same rows")
        return found
    corpus: Corpus | None = None
    try:
        with found_or_making(
            entry, what="data set", note=progress.note, is_there=lambda: _rows_in(entry, progress) is not None
        ) as there:
            if not there:
                corpus = read()
                _put(entry, corpus)
    except OSError as error:
        if error.errno not in _FORBIDDEN:
            raise
        return corpus if corpus is not None else read()
    found = corpus if corpus is not None else _rows_in(entry, progress)
    return found if found is not None else read()


def table(key: str, store: Path, progress: Progress) -> dict[str, Any] | None:
    """The plan with a key; None where none is kept."""
    return tables.read(store / "plans" / f"{key}.json", "plan", progress)


def keep_table(key: str, store: Path, plan: dict[str, Any]) -> None:
    """Keep a plan, where the store can be written."""
    try:
        tables.write(store / "plans" / f"{key}.json", "plan", plan)
    except OSError as error:
        if error.errno not in _FORBIDDEN:
            raise


def _rows_in(entry: Path, progress: Progress) -> Corpus | None:
    if not entry.is_dir():
        return None
    try:
        facts = read_json(entry / _FACTS)
        corpus = _read(entry, facts["digest"], progress)
        drops = tuple(Drop(**{**drop, "first": tuple(drop["first"])}) for drop in facts["drops"])
    except (DamagedData, OSError, ValueError, KeyError, TypeError) as error:
        progress.note(f"{entry} is damaged ({error}); its rows are read again")
        delete([entry])
        return None
    return attrs.evolve(corpus, drops=drops)


def _read(entry: Path, digest: str, progress: Progress) -> Corpus:
    """The rows of an entry; many of them as the columns that the store has of them."""
    if sum(path.stat().st_size for path in entry.glob("*.jsonl")) < _LARGE:
        return corpora.read(entry, digest)
    from kdkit.store import rows as columns  # with torch

    return columns.read(entry, digest, entry.parents[1], progress)


def _put(entry: Path, corpus: Corpus) -> None:
    making = entry.with_name(f".{entry.name}.partial")
    discard_folder(making)
    digest = corpora.write(making, corpus)
    write_json(making / _FACTS, {"digest": digest, "drops": [attrs.asdict(drop) for drop in corpus.drops]})
    publish(making, entry)
