from __future__ import annotations

from causal_kit import tokenizer

from kdkit.api.options import TokenLimits
from kdkit.api.values import Example
from kdkit.data.rows import Encoding, rows_of
from kdkit.models import DecoderOnly


def test_a_row_is_its_own_document_unless_it_is_part_of_one():
    examples = [
        Example(id="a", source="max", target=" of"),
        Example(id="b#1", source="", target="of 3", document="b"),
        Example(id="b#2", source="", target="of 4", document="b"),
    ]
    rows = rows_of(examples, tokenizer(), Encoding(kind=DecoderOnly(), limits=TokenLimits()))
    assert rows.documents == ("a", "b", "b")
