"""A corpus on disk: one JSON line per row, so that a run reads its data once and always sees the same."""

from __future__ import annotations

import hashlib
import json
import statistics
from typing import TYPE_CHECKING

import numpy as np

from kdkit.api.values import SPLITS, Corpus
from kdkit.data.encoded_rows import EncodedRows
from kdkit.data.text_rows import GrowingTexts, TextRows, example_of, rest_of, targets_of
from kdkit.data.written import prompt_of
from kdkit.errors import DamagedData
from kdkit.system.files import make_folder, write_parts_atomically
from kdkit.system.parsing import DEEPEST_ROW, parse_json
from kdkit.system.reading import file_digest, read_raw_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from kdkit.api.options import TokenLimits
    from kdkit.api.values import Drop, EncodedExample, Example, SplitName
    from kdkit.data.columns import Places

_EMPTY = hashlib.sha256().hexdigest()


def write(folder: Path, corpus: Corpus) -> str:
    """Write every split that has rows; returns the corpus's digest."""
    return digest_of_splits(write_splits(folder, corpus))


def write_splits(folder: Path, corpus: Corpus) -> dict[SplitName, str]:
    """Write every split that has rows; returns the SHA-256 of each, in hexadecimal digits."""
    make_folder(folder)
    found: dict[SplitName, str] = {}
    for split in SPLITS:
        rows, path = corpus.split(split), folder / f"{split}.jsonl"
        digest = hashlib.sha256()
        if rows:
            write_parts_atomically(path, _watched(_lines(rows), digest))
        else:
            path.unlink(missing_ok=True)
        found[split] = digest.hexdigest()
    return found


def write_rows(path: Path, rows: Iterable[Example]) -> None:
    """Write rows as JSON lines."""
    make_folder(path.parent)
    write_parts_atomically(path, _lines(rows))


def read(folder: Path, expected_digest: str) -> Corpus:
    """Read what `write` wrote, into columns.

    Raises:
        DamagedData: It is not what was written.
    """
    splits: dict[SplitName, TextRows] = {}
    for split in SPLITS:
        path = folder / f"{split}.jsonl"
        rows, digest = GrowingTexts(), hashlib.sha256()
        try:
            for line in _watched(read_raw_lines(path) if path.exists() else (), digest):
                if line.endswith(b"\n"):
                    rows.add(example_of(parse_json(line.decode(), deepest=DEEPEST_ROW)))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedData(
                f"{path} is damaged ({error}); delete {folder} and run again to read the data again"
            ) from error
        splits[split] = rows.done(sha256=digest.hexdigest())
    if digest_of_splits({split: str(rows.sha256) for split, rows in splits.items()}) != expected_digest:
        raise DamagedData(
            f"{folder} has changed since this run wrote it; delete it and run again to read the data again"
        )
    return of_splits(splits)


def of_splits(splits: Mapping[SplitName, Sequence[Example]], *, drops: tuple[Drop, ...] = ()) -> Corpus:
    """A corpus of its splits."""
    return Corpus(train=splits["train"], validation=splits["validation"], test=splits["test"], drops=drops)


def is_there(folder: Path, digest: str) -> bool:
    """Whether a folder holds the corpus of that digest: its files are read, and no row is made."""
    files = {split: folder / f"{split}.jsonl" for split in SPLITS}
    found = {split: file_digest(path) if path.exists() else _EMPTY for split, path in files.items()}
    return digest_of_splits(found) == digest


def digest(corpus: Corpus) -> str:
    """SHA-256 of every row of every split, in order."""
    return digest_of_splits({split: digest_of_rows(corpus.split(split)) for split in SPLITS})


def digest_of_splits(digests: Mapping[SplitName, str]) -> str:
    """The digest of a corpus, of the digests of its splits as JSON lines."""
    whole = hashlib.sha256()
    for split in SPLITS:
        whole.update(bytes.fromhex(digests[split]))
    return whole.hexdigest()


def digest_of_rows(rows: Sequence[Example]) -> str:
    """SHA-256 of rows as JSON lines, in hexadecimal digits."""
    if isinstance(rows, TextRows) and rows.sha256 is not None:
        return rows.sha256
    digest = hashlib.sha256()
    for _ in _watched(_lines(rows), digest):
        pass
    return digest.hexdigest()


def _watched(parts: Iterable[bytes], digest: hashlib._Hash) -> Iterator[bytes]:
    """The parts, each digested as it passes."""
    for part in parts:
        digest.update(part)
        yield part


def leakage(corpus: Corpus) -> dict[SplitName, float]:
    """Share of the held-out targets that occur word for word among the training targets, by split."""
    counts = _known(corpus, targets_of)
    return {split: count / len(corpus.split(split)) for split, count in counts.items()}


def repeated_rows(corpus: Corpus, *, is_written: bool = False) -> dict[SplitName, int]:
    """How many held-out rows, source and target, occur word for word among the training rows, by split.

    Args:
        corpus: The rows.
        is_written: Whether a teacher writes the training targets: then by what the rows ask alone.
    """
    if is_written:
        return _known(corpus, lambda rows: map(prompt_of, rows))
    return _known(corpus, lambda rows: ((row.source, row.target) for row in rows))


def _known(corpus: Corpus, of: Callable[[Sequence[Example]], Iterator[Hashable]]) -> dict[SplitName, int]:
    """Of how many held-out rows something is that of a training row too, by split.

    In memory is that of the held-out rows: there are more training rows.
    """
    held_out: tuple[SplitName, ...] = ("validation", "test")
    asked = {each for split in held_out for each in of(corpus.split(split))}
    found = {each for each in of(corpus.train) if each in asked}
    return {split: sum(each in found for each in of(rows)) for split in held_out if (rows := corpus.split(split))}


def lengths(encoded: Sequence[EncodedExample], limits: TokenLimits) -> dict[str, dict[str, float]]:
    """Median, ninth decile and maximum of sources and targets, in tokens, and how many are as long as the limit."""
    rows = EncodedRows.of(encoded)
    return {
        "source": _length_facts(rows.source_lengths, limits.max_source),
        "target": _length_facts(rows.target_lengths, limits.max_target),
    }


def _length_facts(lengths_R: Places, limit: int) -> dict[str, float]:
    ordered_R = np.sort(lengths_R)
    middle = len(ordered_R) // 2
    return {
        "median": statistics.median(ordered_R[max(middle - 1, 0) : middle + 1].tolist())
        if len(ordered_R) % 2 == 0
        else int(ordered_R[middle]),
        "p90": int(ordered_R[int(0.9 * (len(ordered_R) - 1))]),
        "max": int(ordered_R[-1]),
        "at_limit": int(np.count_nonzero(ordered_R >= limit)),
    }


def _lines(rows: Iterable[Example]) -> Iterator[bytes]:
    for row in rows:
        table = {"id": row.id, "source": row.source, "target": row.target, **rest_of(row)}
        yield json.dumps(table, ensure_ascii=False).encode() + b"\n"
