"""Parts of texts and of conversations as examples, each made of its token ids when it is looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, overload

import attrs
import numpy as np

from kdkit.api.values import Example
from kdkit.data.reading import Mark

if TYPE_CHECKING:
    from kdkit.api.interfaces import Tokenizer
    from kdkit.api.values import EncodedExample
    from kdkit.data.columns import Places
    from kdkit.data.reading import Reading

_BLOCK = 256
"""Rows that are decoded at a time."""


@attrs.frozen(kw_only=True, eq=False)
class Parts(Sequence[Example]):
    """The rows that are read of some examples, as examples of their own: what is read as `source`, labels as `target`.

    Attributes:
        examples: The texts and conversations.
        reading: What is read of them.
        tokenizer: Turns token ids into text.
        whole: What is read of an example without a limit on labels: a turn that is cut is a whole text all the same.
    """

    examples: Sequence[Example]
    reading: Reading
    tokenizer: Tokenizer
    whole: Callable[[Example], Sequence[EncodedExample]]

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.reading.rows)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Example, ...]: ...
    def __getitem__(self, index: int | slice) -> Example | tuple[Example, ...]:
        """A row, or some of them."""
        if isinstance(index, slice):
            return tuple(self._made(range(*index.indices(len(self)))))
        return self._made([range(len(self))[index]])[0]

    def __iter__(self) -> Iterator[Example]:
        """The rows, one after the other."""
        for start in range(0, len(self), _BLOCK):
            yield from self[start : start + _BLOCK]

    @property
    def documents(self) -> Iterator[str]:
        """The id of the example that each row is read from."""
        return (self.examples[place].id for place in self._origins)

    @property
    def _origins(self) -> list[int]:
        origins_R: Places | None = self.reading.origins_R
        assert origins_R is not None, "rows that are examples need not be made"
        origins: list[int] = origins_R.tolist()
        return origins

    def _made(self, indices: Sequence[int]) -> list[Example]:
        if not indices:
            return []  # transformers makes an error of no ids
        origins_R, rows = self.reading.origins_R, self.reading.rows.take(list(indices))
        assert origins_R is not None
        texts = {
            side: self.tokenizer.batch_decode(
                [ids.tolist() for ids in map(column.__getitem__, rows.places_R)],
                skip_special_tokens=side == "target",
                clean_up_tokenization_spaces=False,
            )
            for side, column in (("source", rows.sources), ("target", rows.targets))
        }
        for place in np.flatnonzero(self.reading.marks_R[list(indices)] & Mark.CUT).tolist():
            example = self.examples[int(origins_R[indices[place]])]
            if example.form == "chat":
                its = next(row for row in self.whole(example) if row.id == rows[place].id)
                (texts["target"][place],) = self.tokenizer.batch_decode(
                    [list(its.target_ids)], skip_special_tokens=True, clean_up_tokenization_spaces=False
                )
        made = []
        for index, id_, source, target in zip(indices, rows.each_id(), texts["source"], texts["target"], strict=True):
            whole = self.examples[int(origins_R[index])]
            part = Example(id=id_, source=source, target=target, meta=whole.meta, document=whole.document or whole.id)
            made.append(whole if whole.form == "pair" else part)
        return made
