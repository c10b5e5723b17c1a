"""Plain Parquet: ids and log-probabilities a position, under the column names of TRL and axolotl; kdkit writes it too.

A row is a sequence, `input_ids` (or `prompt_ids` and `completion_ids`, joined). The other two columns are lists of
lists: for each position the ids of its entries, and their log-probabilities. Where there are fewer positions than
ids, they are those at the sequence's end: TRL's client keeps those of a completion, DistillKit's none for the first
token.

Sources: TRL 1.16, `trl/generation/vllm_client.py` (`logprobs`, `logprob_token_ids`, padded with -inf and id 0);
axolotl 0.19, `axolotl/integrations/kd/chat_template.py` and `collator.py` (`target_logprobs`, `target_token_ids`,
padded with -inf or -1e9).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from kdkit.data.guests.guest import Positions
from kdkit.data.guests.tables import columns_of, lists_of, nested_of, table_batches
from kdkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from kdkit.data.guests.guest import IdArray

PAIRS = (
    ("logprobs", "logprob_token_ids"),
    ("target_logprobs", "target_token_ids"),
    ("logprobs", "target_token_ids"),
    ("topk_logprobs", "topk_token_ids"),
    ("top_values", "token_ids"),
)
"""Columns of log-probabilities and of their ids, by the names that tools give them; the first pair that is there."""
SEQUENCES = (("input_ids",), ("prompt_ids", "completion_ids"))
"""Columns whose ids, joined, are the sequence."""
OWN, NEXT = "own", "next"
"""A position's log-probabilities are about the token at it, or about the one after it."""


@attrs.frozen(kw_only=True, eq=False)
class PlainParquet:
    """Plain Parquet files.

    Attributes:
        files: The files, in order.
        about: Which token a position's log-probabilities are about: `OWN` or `NEXT`.
        values: The column of log-probabilities.
        entries: The column of their ids.
        ids: The columns of the sequences.
    """

    files: Sequence[Path]
    about: str
    values: str
    entries: str
    ids: Sequence[str]

    what = "Parquet of ids and log-probabilities"
    width = None
    is_whole = False

    @classmethod
    def of(cls, files: Sequence[Path], about: str) -> PlainParquet:
        """The files, by the names of their columns.

        Raises:
            UsageError: They have no columns that are known.
        """
        names = columns_of(files[0])
        pair = next((each for each in PAIRS if set(each) <= set(names)), None)
        ids = next((each for each in SEQUENCES if set(each) <= set(names)), None)
        if pair is None or ids is None:
            raise UsageError(
                f"{files[0]} has the columns {', '.join(names)}; name those of the sequences input_ids (or prompt_ids "
                "and completion_ids), and those of the log-probabilities "
                + " or ".join(f"{values} with {entries}" for values, entries in PAIRS[:3])
            )
        return cls(files=files, about=about, values=pair[0], entries=pair[1], ids=ids)

    def sequences(self) -> Iterator[IdArray]:
        """The ids of each row."""
        for _, batch in table_batches(self.files, self.ids):
            yield from self._ids(batch)

    def read(self, wanted: Collection[int]) -> Iterator[tuple[int, Positions]]:
        """The log-probabilities of some rows."""
        left, number = set(wanted), 0
        for place, batch in table_batches(self.files, (*self.ids, self.values, self.entries)):
            if not left:
                return
            if left.isdisjoint(range(number, number + batch.num_rows)):
                number += batch.num_rows
                continue
            ids, values = self._ids(batch), nested_of(batch.column(self.values), place, self.values)
            entries = nested_of(batch.column(self.entries), place, self.entries)
            for row in range(batch.num_rows):
                if number in left:
                    left.discard(number)
                    yield (
                        number,
                        self._positions(f"{place.file}: row {place.row + row}", ids[row], values[row], entries[row]),
                    )
                number += 1

    def _ids(self, batch: Any) -> list[IdArray]:
        columns = [lists_of(batch.column(name)) for name in self.ids]
        return [np.concatenate([column[row] for column in columns]).astype(np.int64) for row in range(batch.num_rows)]

    def _positions(self, place: str, ids_S: IdArray, values: list[Any], entries: list[Any]) -> Positions:
        if [len(each) for each in values] != [len(each) for each in entries]:
            raise UsageError(
                f"{place}: {self.values} and {self.entries} have different shapes; write one id for each value"
            )
        if len(values) > len(ids_S):
            raise UsageError(
                f"{place} has {len(values)} positions with log-probabilities, but {len(ids_S)} ids; write at most one "
                "a token"
            )
        widest = max(map(len, values), default=0)
        ids_PK, logp_PK = np.full((len(values), widest), -1), np.full((len(values), widest), -np.inf)
        for position, (some, these) in enumerate(zip(values, entries, strict=True)):
            ids_PK[position, : len(these)], logp_PK[position, : len(some)] = these, some
        first = len(ids_S) - len(values) + (self.about == NEXT)
        return Positions(place=place, ids_S=ids_S, first=first, ids_PK=ids_PK, logp_PK=logp_PK)
