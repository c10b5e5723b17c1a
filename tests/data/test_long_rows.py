"""Texts of many thousand characters are cut before they are tokenized, and lose no token that would have been used."""

from __future__ import annotations

import random

import pytest
import tiny

from kdkit.api.options import TokenLimits
from kdkit.api.values import Cut, Example
from kdkit.data import long_rows
from kdkit.data.long_rows import longest, shortened
from kdkit.data.tokens import encode, fit_source, target_ids

LIMITS = TokenLimits(max_source=12, max_target=4)


def letters(count: int, seed: int) -> str:
    return "".join(random.Random(seed).choices("max of 0123456789", k=count))


@pytest.mark.parametrize("keep", ["head", "tail"])
@pytest.mark.parametrize("tail", [3, 4000])
def test_the_tokens_are_those_of_the_whole_text(monkeypatch, keep, tail):
    monkeypatch.setattr(long_rows, "LONGEST", 0)
    first, second, end = letters(9000, 1), letters(8000, 2), letters(tail, 3)
    source = f"{first}|{second}|{end}"
    start = len(first) + 1
    cuts = (
        Cut(start=start, end=start + len(second), drop_start=start - 1, drop_end=start + len(second), keep=keep),
        Cut(start=0, end=len(first), drop_start=0, drop_end=len(first) + 1, keep=keep),
    )
    example = Example(id="a", source=source, target=letters(7000, 4), cuts=cuts)
    short = shortened(example, LIMITS)
    assert len(short.source) <= 3 * longest(12) < len(source)
    assert len(short.target) == longest(4)
    (row,) = encode([example], tiny.tokenizer(), LIMITS)
    assert list(row.source_ids) == fit_source(example, tiny.tokenizer(), LIMITS)
    assert list(row.target_ids) == target_ids(tiny.tokenizer(), [example.target], 4)[0]


def test_a_row_of_common_length_is_left_as_it_is():
    example = Example(id="a", source="s" * long_rows.LONGEST, target="t" * long_rows.LONGEST)
    assert shortened(example, LIMITS) is example


class Counting:
    """A tokenizer that knows how many characters it was asked about at once."""

    def __init__(self):
        self.most = 0

    def __call__(self, text=None, *, text_target=None, **options):
        texts = text or text_target
        self.most = max(self.most, sum(map(len, texts)))
        return tiny.tokenizer()([text[:50] for text in texts], **options)

    def __getattr__(self, name):
        return getattr(tiny.tokenizer(), name)


def test_a_row_of_megabytes_and_many_long_rows_are_tokenized_in_small_pieces():
    huge = Example(id="a", source="ab" * 10_000_000, target="b " * 10_000_000)
    many = [Example(id=str(i), source="s" * 100_000, target="t") for i in range(100)]
    counting = Counting()
    assert len(encode([huge, *many], counting, LIMITS)) == 101
    assert counting.most < 1 << 23
