"""The text that the labels of rows spell: how many bytes it has, and which tokens are which of its lines.

Letters: R rows.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import attrs
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kdkit.api.interfaces import Tokenizer
    from kdkit.data.encoded_rows import EncodedRows
    from kdkit.evaluation.row_scores import Array

BYTES = ("é\n", "Ã©Ċ")
"""A text, and how tokenizers that work on bytes (GPT-2's and its like) write its tokens: a character a byte."""


@attrs.frozen(kw_only=True, eq=False)
class LabelTexts:
    """What is known of the labels' text, row by row.

    Attributes:
        bytes_R: Bytes of UTF-8 that the labels of each row spell; special tokens, such as the end, spell none.
        lines: By row, the first token of each line and the one behind its last. A token that holds the end of a line
            and the beginning of the next is of both. Lines of white space alone are left out.
    """

    bytes_R: Array
    lines: tuple[tuple[tuple[int, int], ...], ...]

    @classmethod
    def of(cls, rows: EncodedRows, tokenizer: Tokenizer) -> LabelTexts:
        """Those of some rows."""
        spelling = _Spelling(tokenizer)
        labels = [rows.targets[place].tolist() for place in rows.places_R]
        return cls(
            bytes_R=np.array(spelling.bytes_of(labels), dtype=np.float64),
            lines=tuple(tuple(spelling.lines_of(ids)) for ids in labels),
        )

    @property
    def has_lines(self) -> bool:
        """Whether some row has two lines."""
        return any(len(lines) > 1 for lines in self.lines)


@attrs.define(eq=False)
class _Spelling:
    """How a tokenizer spells its tokens, each looked up once."""

    tokenizer: Any
    _texts: dict[int, str | None] = attrs.field(factory=dict, init=False)

    @cached_property
    def _special(self) -> frozenset[int]:
        return frozenset(self.tokenizer.all_special_ids)

    @cached_property
    def _is_of_bytes(self) -> bool:
        text, written = BYTES
        ids = self.tokenizer([text], add_special_tokens=False, verbose=False)["input_ids"][0]
        return "".join(map(str, self.tokenizer.convert_ids_to_tokens(ids))).endswith(written)

    def bytes_of(self, labels: Sequence[Sequence[int]]) -> list[int]:
        """The bytes of each row's labels, exact even where a row ends within a character, if tokens are bytes."""
        if not self._is_of_bytes:
            texts = self.tokenizer.batch_decode(labels, skip_special_tokens=True, clean_up_tokenization_spaces=False)
            return [len(text.encode()) for text in texts]
        used = sorted({token for ids in labels for token in ids})
        added = self.tokenizer.added_tokens_decoder
        size = {
            token: 0 if token in self._special else len(str(added[token]).encode()) if token in added else len(name)
            for token, name in zip(used, cast("list[str]", self.tokenizer.convert_ids_to_tokens(used)), strict=True)
        }
        return [sum(size[token] for token in ids) for ids in labels]

    def lines_of(self, ids: Sequence[int]) -> Iterator[tuple[int, int]]:
        """The tokens of each line that has more than white space."""
        first, stop, has_ink = 0, 0, False
        for place, token in enumerate(ids):
            text = self._text(token)
            if text is None:
                continue
            stop = place + 1
            begun, *others = text.split("\n")
            has_ink = has_ink or bool(begun.strip())
            for rest in others:
                if has_ink:
                    yield first, stop
                first, has_ink = place, bool(rest.strip())
            if others and not others[-1]:
                first = stop
        if has_ink:
            yield first, stop

    def _text(self, token: int) -> str | None:
        """A token's own text; None of a special one."""
        if token not in self._texts:
            special = token in self._special
            self._texts[token] = None if special else self.tokenizer.decode([token], clean_up_tokenization_spaces=False)
        return self._texts[token]
