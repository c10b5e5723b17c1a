"""What codecs are measured on: records of real logits, or of the hidden states that they follow from, as they come.

Letters: T target tokens of a record, N tokens of several, V vocabulary, D hidden.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import numpy as np
import torch

from kdkit.api.values import StateBlock, TeacherBlock
from kdkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from kdkit.api.values import FloatArray, OutputHead


@attrs.frozen(kw_only=True, eq=False)
class Record:
    """One example's target tokens: their logits, or their hidden states where the material has a head.

    Attributes:
        id: Its name in messages.
        logits_TV: float32, or None.
        states_TD: float32, or None.
    """

    id: str
    logits_TV: FloatArray | None = None
    states_TD: FloatArray | None = None

    @property
    def tokens(self) -> int:
        """How many target tokens it has."""
        rows = self.logits_TV if self.logits_TV is not None else self.states_TD
        assert rows is not None
        return len(rows)


@attrs.frozen(kw_only=True, eq=False)
class Material:
    """Records to learn from, others to measure on, and the output head where there is one.

    Attributes:
        name: Where they come from.
        vocab_size: Width of the logits.
        head: The output head; None where the records have logits.
        learnt_from: A sentence that says which records are which.
        learn: Gives the records that codecs and the student may learn from.
        measure: Gives those that are measured; each call starts from the beginning.
        records: How many those are.
    """

    name: str
    vocab_size: int
    head: OutputHead | None
    learnt_from: str
    learn: Callable[[], Iterator[Record]]
    measure: Callable[[], Iterator[Record]]
    records: int

    def logits(self, record: Record) -> FloatArray:
        """A record's exact logits."""
        if record.logits_TV is not None:
            return record.logits_TV
        assert record.states_TD is not None
        return self.logits_of_states(torch.from_numpy(record.states_TD)).numpy()

    def logits_of_states(self, states_ND: torch.Tensor) -> torch.Tensor:
        """What the head makes of hidden states."""
        assert self.head is not None
        logits_NV = states_ND @ torch.from_numpy(self.head.weight_VD).T
        return logits_NV if self.head.bias_V is None else logits_NV.add_(torch.from_numpy(self.head.bias_V))

    def block(self, record: Record) -> TeacherBlock:
        """A record as a codec takes it."""
        return TeacherBlock(id=record.id, logits_TV=self.logits(record))


def state_block(record: Record) -> StateBlock:
    """A record of hidden states as a codec takes it."""
    assert record.states_TD is not None
    return StateBlock(id=record.id, states_TD=record.states_TD)


def first_tokens(records: Iterable[Record], tokens: int) -> list[Record]:
    """The first records, until they have so many tokens together or there are no more."""
    found: list[Record] = []
    for record in records:
        found.append(record)
        if sum(each.tokens for each in found) >= tokens:
            break
    return found


def groups_of(records: Iterable[Record], tokens: int) -> Iterator[list[Record]]:
    """The records in groups of at most so many tokens; a longer record is a group of its own."""
    group: list[Record] = []
    for record in records:
        if group and sum(each.tokens for each in group) + record.tokens > tokens:
            yield group
            group = []
        group.append(record)
    if group:
        yield group


def first_quarter(records: int, name: str) -> int:
    """How many of the records are learnt from where none are set apart for it.

    Raises:
        UsageError: There would be none left to measure.
    """
    if records < 2:
        raise UsageError(
            f"{name} has {'one record' if records else 'no records'}; give at least two: one for codecs to "
            "learn from, and one to measure"
        )
    return max(1, records // 4)


def quarter_sentence(learnt: int, records: int) -> str:
    """What the output says of such a split."""
    return f"codecs learn from the first {learnt} of {records} records and are measured on the others"


def check_finite(rows: FloatArray, *, what: str, first_row: int = 0) -> None:
    """Refuse what cannot be measured: errors of an infinite or masked logit are not numbers.

    Raises:
        UsageError: A number is infinite or none; the message says which.
    """
    if rows.size and not (np.isfinite(rows.min()) and np.isfinite(rows.max())):
        row, *column = (int(place) for place in np.argwhere(~np.isfinite(rows))[0])
        at = f"row {row + first_row}" + (f", column {column[0]}" if column else "")
        raise UsageError(
            f"{what} is {rows[row, *column]:g} at {at}; numbers to measure must be finite, so give unmasked logits"
        )


def offsets_of(lengths: Sequence[int]) -> list[int]:
    """Where records of such lengths begin, and where the last one ends."""
    return [0, *np.cumsum(lengths, dtype=np.int64).tolist()]
