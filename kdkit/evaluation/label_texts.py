"""The text that the labels of rows spell: how many bytes it has, and which tokens are which of its lines.

Letters: R rows.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import attrs
import numpy as np

from kdkit.data.reading import Mark
from kdkit.data.tokens import control_words

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from kdkit.api.interfaces import Tokenizer
    from kdkit.data.encoded_rows import EncodedRows
    from kdkit.data.rows import Rows
    from kdkit.evaluation.row_scores import Array

BYTES = ("é\n", "Ã©Ċ")
"""A text, and how tokenizers that work on bytes (GPT-2's and its like) write its tokens: a character a byte."""


@attrs.frozen(kw_only=True, eq=False)
class LabelTexts:
    """What is known of the labels' text, row by row.

    Attributes:
        bytes_R: Bytes of UTF-8 that the labels of each row spell: of a token that begins in the prompt what is behind
            that, and of special tokens none, such as the end, but those that the text itself spells.
        lines: By row, the first token of each line and the one behind its last. A token that holds the end of a line
            and the beginning of the next is of both. Lines of white space alone are left out.
    """

    bytes_R: Array
    lines: tuple[tuple[tuple[int, int], ...], ...]

    @classmethod
    def of_rows(cls, rows: Rows) -> LabelTexts:
        """Those of rows, by the examples that they are read from."""
        origins_R = rows.reading.origins_R
        wholes = rows.chosen if origins_R is None else [rows.chosen[place] for place in origins_R.tolist()]
        return cls.of(
            rows.encoded,
            rows.tokenizer,
            # In a conversation the template writes all special tokens: what a message spells is letters.
            texts=["" if whole.form == "chat" else whole.target for whole in wholes],
            straddling=rows.reading.marked(Mark.STRADDLES).tolist(),
        )

    @classmethod
    def of(
        cls, rows: EncodedRows, tokenizer: Tokenizer, *, texts: Sequence[str] = (), straddling: Collection[int] = ()
    ) -> LabelTexts:
        """Those of some rows.

        Args:
            rows: The rows.
            tokenizer: Their tokenizer.
            texts: What the labels of each are read from: a target, or a whole document; without, no text is known.
            straddling: The indices of rows whose first label begins in the prompt.
        """
        spelling = _Spelling(tokenizer)
        labels = [rows.targets[place].tolist() for place in rows.places_R]
        bytes_R = np.array(spelling.bytes_of(labels), dtype=np.float64)
        for row, text in enumerate(texts):
            bytes_R[row] += spelling.special_bytes(labels[row], text)
        for row in straddling:
            bytes_R[row] -= spelling.bytes_before(labels[row], texts[row])
        return cls(
            bytes_R=bytes_R,
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

    def special_bytes(self, ids: Sequence[int], text: str) -> int:
        """The bytes of special tokens that a text spells; what begins and ends texts it cannot (`control_words`)."""
        spelled = (self._spelled[token] for token in ids if token in self._spelled)
        return sum(len(word.encode()) for word in spelled if word in text)

    @cached_property
    def _spelled(self) -> dict[int, str]:
        words = dict(zip(self._special, self.tokenizer.convert_ids_to_tokens([*self._special]), strict=True))
        control = control_words(self.tokenizer)
        return {token: word for token, word in words.items() if word not in control}

    def bytes_before(self, ids: Sequence[int], text: str) -> int:
        """Of labels whose first token begins before a text, the bytes that are before it; 0 where it is not found."""
        special = self._special.difference(self._spelled)
        kept = [token for token in ids if token not in special]
        found = self.tokenizer.decode(kept, clean_up_tokenization_spaces=False).rstrip(
            "\ufffd"
        )  # of a parted character
        before = next((found[:place] for place in range(1, len(found)) if text.startswith(found[place:])), "")
        return len(before.encode())

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
