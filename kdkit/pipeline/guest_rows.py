"""Writes the sequences of another tool's log-probabilities as rows of text, where no other rows are there."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from kdkit.api.options import TokenLimits
from kdkit.api.values import Example
from kdkit.data.guests.opening import open_guest
from kdkit.data.guests.parquet import OWN
from kdkit.data.sequences import encode_sequences
from kdkit.models import DecoderOnly
from kdkit.system.files import write_parts_atomically

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from kdkit.api.interfaces import Tokenizer
    from kdkit.data.guests.guest import Positions
    from kdkit.system.progress import Progress

_TOGETHER = 256
_WHOLE = TokenLimits(max_source=2**20, max_target=2**20)


@attrs.define
class Written:
    """Rows that were written.

    Attributes:
        rows: How many.
        lost: How many sequences are not among them: their text is not tokenized to their ids, or nothing is known.
        longest: Labels of the row with the most.
    """

    rows: int = 0
    lost: int = 0
    longest: int = 0


def write_guest_rows(place: Path, out: Path, *, tokenizer: str, ids: Path | None, progress: Progress) -> Written:
    """Write a JSON line with `prompt` and `completion` for each sequence whose text is tokenized to its ids.

    The completion begins where the log-probabilities do.

    Args:
        place: The log-probabilities.
        out: The file.
        tokenizer: The tokenizer whose ids these are, by name or folder.
        ids: Where the sequences' ids are, for formats that have none.
        progress: Where progress is shown.

    Raises:
        MissingInput: Something is not there.
        UsageError: The log-probabilities are of no known format.
        DamagedData: They are cut or damaged.
    """
    its = DecoderOnly().load_tokenizer(tokenizer)
    guest = open_guest(place, about=OWN, ids=ids, begin=getattr(its, "bos_token_id", None))
    count = sum(1 for _ in guest.sequences())
    written = Written()

    def lines() -> Iterator[bytes]:
        found = (positions for _, positions in guest.read(range(count)))
        with progress.task("rows", total=count, unit="sequences") as task:
            while some := list(islice(found, _TOGETHER)):
                for example in _examples(some, its, written):
                    text = {"prompt": example.source, "completion": example.target}
                    yield (json.dumps(text, ensure_ascii=False) + "\n").encode()
                task.advance(len(some))

    write_parts_atomically(out, lines())
    written.lost = count - written.rows
    return written


def _examples(some: list[Positions], tokenizer: Tokenizer, written: Written) -> Iterator[Example]:
    """The rows of some sequences that come back as the same ids."""
    parts = [(number, part) for number, each in enumerate(some) if (part := _halves(each, tokenizer)) is not None]
    examples = [
        Example(id=str(number), source=_text(prompt, tokenizer), target=_text(completion, tokenizer))
        for number, (prompt, completion) in parts
    ]
    by_id = {row.id: row for row in encode_sequences(examples, tokenizer, _WHOLE)} if examples else {}
    for example, (_, (prompt, completion)) in zip(examples, parts, strict=True):
        row = by_id.get(example.id)
        if row is None or len(row.source_ids) != len(prompt):
            continue
        if [*row.source_ids, *row.target_ids][: len(prompt) + len(completion)] == [*prompt, *completion]:
            written.rows += 1
            written.longest = max(written.longest, len(completion))
            yield example


def _halves(positions: Positions, tokenizer: Tokenizer) -> tuple[list[int], list[int]] | None:
    """The ids before the first log-probabilities, and those that have some, without a stop; None where none has."""
    there_P = np.asarray((positions.logp_PK > -np.inf).any(axis=1))
    if not there_P.any():
        return None
    begin = positions.first + int(there_P.argmax())
    ids = positions.ids_S[: positions.first + len(there_P)].tolist()
    ends = {getattr(tokenizer, name, None) for name in ("eos_token_id", "pad_token_id")}
    while len(ids) > begin and ids[-1] in ends:
        ids.pop()
    return (ids[:begin], ids[begin:]) if len(ids) > begin else None


def _text(ids: list[int], tokenizer: Any) -> str:
    begin = getattr(tokenizer, "bos_token_id", None)
    shown = ids[1:] if ids and ids[0] == begin else ids
    text: str = tokenizer.decode(shown, skip_special_tokens=False, clean_up_tokenization_spaces=False)
    return text
