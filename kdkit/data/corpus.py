"""A corpus on disk: one JSON line per row, so that a run reads its data once and always sees the same."""

from __future__ import annotations

import hashlib
import json
import math
import statistics
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api.values import SPLITS, Corpus, Cut, Example
from kdkit.errors import DamagedData
from kdkit.system.files import make_folder, write_atomically
from kdkit.system.parsing import DEEPEST_ROW, parse_json
from kdkit.system.reading import LARGEST_ROWS, read_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from kdkit.api.options import TokenLimits
    from kdkit.api.values import EncodedExample


def write(folder: Path, corpus: Corpus) -> str:
    """Write every split that has rows; returns the corpus's digest."""
    make_folder(folder)
    for split in SPLITS:
        rows = corpus.split(split)
        path = folder / f"{split}.jsonl"
        if rows:
            write_atomically(path, _lines(rows))
        else:
            path.unlink(missing_ok=True)
    return digest(corpus)


def read(folder: Path, expected_digest: str) -> Corpus:
    """Read what `write` wrote.

    Raises:
        DamagedData: It is not what was written.
    """
    splits: dict[str, tuple[Example, ...]] = {}
    contents = []
    for split in SPLITS:
        path = folder / f"{split}.jsonl"
        contents.append(read_bytes(path, at_most=LARGEST_ROWS) if path.exists() else b"")
        try:
            lines = contents[-1].decode("utf-8").split("\n")[:-1]
            splits[split] = tuple(_example(parse_json(line, deepest=DEEPEST_ROW)) for line in lines)
        except (ValueError, KeyError, TypeError) as error:
            raise DamagedData(
                f"{path} is damaged ({error}); delete {folder} and run again to read the data again"
            ) from error
    if _digest_of(contents) != expected_digest:
        raise DamagedData(
            f"{folder} has changed since this run wrote it; delete it and run again to read the data again"
        )
    return Corpus(train=splits["train"], validation=splits["validation"], test=splits["test"])


def digest(corpus: Corpus) -> str:
    """SHA-256 of every row of every split, in order."""
    return _digest_of(_lines(corpus.split(split)) for split in SPLITS)


def _digest_of(files: Iterable[bytes]) -> str:
    """The digest of a corpus, from its files."""
    whole = hashlib.sha256()
    for content in files:
        whole.update(hashlib.sha256(content).digest())
    return whole.hexdigest()


def leakage(corpus: Corpus) -> dict[str, float]:
    """Share of the held-out targets that occur word for word among the training targets, by split."""
    known = {example.target for example in corpus.train}
    return {
        split: sum(example.target in known for example in corpus.split(split)) / len(corpus.split(split))
        for split in ("validation", "test")
        if corpus.split(split)
    }


def repeated_rows(corpus: Corpus) -> dict[str, int]:
    """How many held-out rows, source and target, occur word for word among the training rows, by split."""
    known = {(example.source, example.target) for example in corpus.train}
    return {
        split: sum((example.source, example.target) in known for example in corpus.split(split))
        for split in ("validation", "test")
        if corpus.split(split)
    }


def lengths(encoded: Sequence[EncodedExample], limits: TokenLimits) -> dict[str, dict[str, float]]:
    """Median, ninth decile and maximum of sources and targets, in tokens, and how many are as long as the limit."""
    return {
        "source": _length_facts([len(row.source_ids) for row in encoded], limits.max_source),
        "target": _length_facts([len(row.target_ids) for row in encoded], limits.max_target),
    }


def _length_facts(lengths: Sequence[int], limit: int) -> dict[str, float]:
    ordered = sorted(lengths)
    return {
        "median": statistics.median(ordered),
        "p90": ordered[int(0.9 * (len(ordered) - 1))],
        "max": ordered[-1],
        "at_limit": sum(length >= limit for length in ordered),
    }


def _lines(rows: Sequence[Example]) -> bytes:
    return "".join(json.dumps(_finite(_table(row)), ensure_ascii=False) + "\n" for row in rows).encode()


def _finite(value: Any) -> Any:
    """The value with null instead of NaN and the infinities, which are not JSON."""
    if isinstance(value, dict):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _table(example: Example) -> dict[str, Any]:
    table: dict[str, Any] = {"id": example.id, "source": example.source, "target": example.target}
    if example.cuts:
        table["cuts"] = [attrs.asdict(cut) for cut in example.cuts]
    if example.prediction is not None:
        table["prediction"] = example.prediction
    if example.meta:
        table["meta"] = dict(example.meta)
    return table


def _example(table: dict[str, Any]) -> Example:
    return Example(**{**table, "cuts": tuple(Cut(**cut) for cut in table.get("cuts", ()))})
