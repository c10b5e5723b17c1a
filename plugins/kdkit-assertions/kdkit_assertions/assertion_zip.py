"""The data set `assertion-zip`: the thesis's published ZIP of Java tests with a teacher's texts and logits.

Format: Hristov, TU Delft 2025, doi 10.5281/zenodo.15716445. A row is some 30 MB of text, so rows are streamed, and
only what a corpus keeps (text) stays in memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api import Corpus, Example, RecordedLogits, Silent, not_negative, option, user_path
from kdkit.data import DropCount, as_text, json_lines, require_rows
from kdkit.errors import DamagedData, MissingInput
from kdkit_assertions.assertion_jsonl import assertion_list
from kdkit_assertions.compressed_logits import CompressedLogits
from kdkit_assertions.nested_zip import open_nested_jsonl
from kdkit_assertions.prompt import assertion_prompt
from kdkit_assertions.zenodo import fetch, is_doi, kept_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from kdkit.api import FloatArray, Grid, Progress, SplitName, Task

PUBLISHED = "doi:10.5281/zenodo.15716445"
OUTER = "codet5.zip"
STEMS: dict[SplitName, str] = {
    "train": "distillation_data_training",
    "validation": "distillation_data_validation",
}


@attrs.frozen(kw_only=True)
class AssertionZip:
    """The thesis's data set: focal code, masked test, assertions, the teacher's text and its compressed logits.

    A row without masked test, target, prediction or readable logits is left out and counted. Texts of blanks count
    as missing. Reading takes one pass over the file for the texts and one for the logits.
    """

    path: str = option(
        f"The ZIP: a file, or its DOI, which kdkit fetches once ({OUTER} of the record).", default=PUBLISHED
    )
    train_rows: int = option("How many training rows to use, from the first; 0 for all.", default=0, check=not_negative)
    validation_rows: int = option(
        "How many validation rows to use, from the first; 0 for all.", default=0, check=not_negative
    )
    download_dir: str | None = option(
        "Folder for files fetched by DOI; by default the user's cache folder.", default=None
    )
    spool_dir: str | None = option(
        "Folder for the temporary copy of an inner ZIP that is itself compressed, as large as that ZIP; by default the "
        "system's.",
        default=None,
    )

    def is_here(self) -> bool:
        """Whether nothing has to be fetched.

        Raises:
            UsageError: The path begins like a DOI and is none.
        """
        return not is_doi(self.path) or kept_at(self.path, file=OUTER, folder=self.download_dir).is_file()

    def load(self, progress: Progress) -> Corpus:
        """Read every row's text, and check that its logits can be read.

        Raises:
            MissingInput: The file is not there, and cannot be fetched.
            UsageError: It lacks a part, or a part has no usable row.
            DamagedData: It is no ZIP, or a damaged one.
        """
        path = self._file(progress)
        drops = DropCount()
        parts: dict[SplitName, tuple[Example, ...]] = {}
        with progress.task("data", total=None, unit="rows") as task:
            for split in STEMS:
                parts[split] = tuple(row.example for row in self._rows(path, split, drops, task))
        corpus = Corpus(train=parts["train"], validation=parts["validation"], drops=drops.drops())
        return require_rows(
            corpus, train=f"{path}/{STEMS['train']}.jsonl", validation=f"{path}/{STEMS['validation']}.jsonl"
        )

    def prompt(self, row_id: str, row: Mapping[str, Any]) -> Example | str:
        """The input that a row makes, its target left empty; or why it makes none."""
        return _prompt(row_id, row)

    def recorded(self) -> Iterator[RecordedLogits]:
        """The logits of every row of the corpus in the file's order, one row in memory at a time.

        Raises:
            MissingInput: The file is not there.
            DamagedData: It is no ZIP, or a damaged one.
        """
        path = self._file(Silent())
        with Silent().task("data", total=None, unit="rows") as task:
            for split in STEMS:
                for row in self._rows(path, split, DropCount(), task):
                    yield RecordedLogits(id=row.example.id, tokens=row.tokens, read=row.read)

    def _file(self, progress: Progress) -> Path:
        if is_doi(self.path):
            return fetch(self.path, file=OUTER, folder=self.download_dir, progress=progress)
        path = user_path(self.path)
        if not path.is_file():
            raise MissingInput(
                f"there is no file {self.path}; download {OUTER} from "
                f"https://doi.org/{PUBLISHED.removeprefix('doi:')} and give its path with `-o data.path=FILE`"
            )
        return path

    def _rows(self, path: Path, split: SplitName, drops: DropCount, task: Task) -> Iterator[_Row]:
        limit = self.train_rows if split == "train" else self.validation_rows
        stem = STEMS[split]
        name = f"{stem}.jsonl"
        spool_dir = user_path(self.spool_dir) if self.spool_dir is not None else None
        kept = 0
        with open_nested_jsonl(path, stem, spool_dir=spool_dir) as stream:
            for number, fields in json_lines(stream, name, skip=drops):
                if number == 1 and isinstance(fields.get("header"), dict):
                    continue
                task.advance()
                row = _read_row(fields, f"{split}:{number}", number)
                fields.clear()
                if isinstance(row, str):
                    drops.add(row, f"{name}:{number}")
                    continue
                kept += 1
                yield row
                row.release()
                if kept == limit:
                    return


class _Row:
    """A usable row; `release` frees its logits, even if someone still holds the row."""

    def __init__(self, example: Example, logits: CompressedLogits, tokens: int) -> None:
        self.example = example
        self.tokens = tokens
        self._logits: CompressedLogits | None = logits

    def read(self, rows: int) -> tuple[FloatArray, Grid | None]:
        if self._logits is None:
            raise RuntimeError("read a row's recorded logits before you ask for the next row")
        return self._logits.read(rows)

    def release(self) -> None:
        self._logits = None


def _prompt(id_: str, row: Mapping[str, Any]) -> Example | str:
    """The input that a row makes, or why it makes none."""
    test_method = as_text(row.get("test_method_masked"))
    if not test_method.strip():
        return "it has no masked test"
    focal = as_text(row.get("focal_file")) or as_text(row.get("focal_method"))
    source, cuts = assertion_prompt(focal, test_method)
    return Example(id=id_, source=source, target="", cuts=cuts)


def _read_row(row: Mapping[str, Any], id_: str, number: int) -> _Row | str:
    """A usable row, or why it is not one."""
    prompted = _prompt(id_, row)
    if isinstance(prompted, str):
        return prompted
    target_field = _first(row, "original_target", "assertions")
    target = as_text(target_field)
    if not target.strip():
        return "it has no target"
    prediction = as_text(_first(row, "model_prediction", "predicted_assertions"))
    if not prediction.strip():
        return "it has no prediction"
    if row.get("compressed_logits") is None:
        return "it has no logits"
    try:
        logits = CompressedLogits.parse(row["compressed_logits"])
        tokens = logits.tokens
    except DamagedData:
        return "its logits cannot be decoded"
    example = attrs.evolve(
        prompted,
        target=target,
        prediction=prediction,
        # The checksum makes logits that were recorded anew another corpus, even where all texts stayed the same.
        meta={"line": number, "assertions": assertion_list(target_field), "logits_crc32": f"{logits.crc32:08x}"},
    )
    return _Row(example, logits, tokens)


def _first(row: Mapping[str, Any], name: str, later_name: str) -> Any:
    """A field under its first name, or where that is missing or null under the later generation's."""
    value = row.get(name)
    return value if value is not None else row.get(later_name)
