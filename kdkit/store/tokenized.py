"""Entries of the store for a model trained on rows: one for each way of writing those rows as ids."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from kdkit.models import load_tokenizer
from kdkit.system.digests import digest_of, digest_of_list
from kdkit.system.parsing import parse_json

if TYPE_CHECKING:
    from pathlib import Path

    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.values import Corpus
    from kdkit.data.rows import Encoding


def entry_for(entry: Path, tokenizer: Tokenizer, corpus: Corpus, encoding: Encoding) -> Path:
    """The store's entry for a model trained on a tokenizer's ids of a corpus.

    The name of an entry covers a tokenizer's vocabulary and what it makes of one text, in which a tokenizer of other
    merges may agree. So the tokenizer that lies in an entry is asked about the rows themselves; where it writes them
    with other ids, the entry is another's, and ours has those ids in its name.
    """
    if not entry.is_dir():
        return entry
    there = load_tokenizer(str(entry))
    if pipeline_of(there) is not None and pipeline_of(there) == pipeline_of(tokenizer):
        return entry
    ours = _ids(tokenizer, corpus, encoding)
    return entry if ours == _ids(there, corpus, encoding) else entry.with_name(digest_of([entry.name, ours])[:32])


def pipeline_of(tokenizer: Tokenizer) -> Any:
    """Everything a fast tokenizer does to a text, except how it last cut and padded; None for a slow one."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None
    return {key: part for key, part in parse_json(backend.to_str()).items() if key not in {"truncation", "padding"}}


def _ids(tokenizer: Tokenizer, corpus: Corpus, encoding: Encoding) -> str:
    parts = (encoding.encode(rows, tokenizer) for rows in (corpus.train, corpus.validation))
    return digest_of_list([row.source_ids, row.target_ids] for row in chain.from_iterable(parts))
