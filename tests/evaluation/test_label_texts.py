"""The text of labels: bytes and lines."""

from __future__ import annotations

import pytest
import tiny

from kdkit.api.options import TokenLimits
from kdkit.api.values import EncodedExample, Example
from kdkit.data.encoded_rows import EncodedRows
from kdkit.data.rows import Encoding, rows_of
from kdkit.evaluation.label_texts import LabelTexts
from kdkit.models import DecoderOnly


def texts_of(tokenizer, labels) -> LabelTexts:
    rows = [EncodedExample(id=str(i), source_ids=(1,), target_ids=tuple(ids)) for i, ids in enumerate(labels)]
    return LabelTexts.of(EncodedRows.of(rows), tokenizer)


@pytest.mark.parametrize("text", ["== 4", "naïve 🙂\n", "", "a\tb\n\n  c"])
def test_bytes_are_those_of_the_text_and_the_end_has_none(text):
    ids = tiny.tokenizer()([text])["input_ids"]
    assert ids[0][-1] == tiny.tokenizer().eos_token_id
    assert texts_of(tiny.tokenizer(), ids).bytes_R.tolist() == [len(text.encode())]


def test_labels_that_end_within_a_character_have_the_bytes_that_they_have():
    ids = tiny.tokenizer()(["🙂🙂"], add_special_tokens=False)["input_ids"][0]
    assert len(ids) == 8
    assert texts_of(tiny.tokenizer(), [ids[:3], ids[3:]]).bytes_R.tolist() == [3, 5]


def test_a_row_has_the_bytes_of_its_own_text_whatever_its_tokens_reach_over():
    """Not the prompt's in the first label, also where the completion is cut; and those of a special word in a text."""
    from causal_kit import chat_tokenizer

    its = chat_tokenizer("")
    encoding = Encoding(kind=DecoderOnly(), limits=TokenLimits(max_target=30))
    pairs = [("x ma", "x of 3 "), ("x m", "ax é <|user|> of"), ("x ", "max</s>"), ("x m", "ax of é " + 60 * "é")]
    examples = [Example(id=str(n), source=source, target=target) for n, (source, target) in enumerate(pairs)]
    rows = rows_of(examples, its, encoding)
    assert rows.reading.counts()["straddling"] == 3
    assert rows.reading.counts()["targets_cut"] == 1
    found = LabelTexts.of_rows(rows).bytes_R.tolist()
    assert found[:3] == [len(target.encode()) for _, target in pairs[:3]]
    assert found[3] == len(its.decode(rows.encoded.targets[3]).encode()) - 1
    for form, target in (("text", "ma<|user|> of 3"), ("text", "ma</s> é")):
        rows = rows_of([Example(id="0", source="", target=target, form=form)], its, encoding)
        assert LabelTexts.of_rows(rows).bytes_R.tolist() == [len(target.encode())]


def test_where_tokens_are_not_bytes_the_decoded_text_counts():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({"<s>": 0, "é": 1, "ab": 2, "?": 3}, unk_token="?"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<s>", clean_up_tokenization_spaces=False)
    assert texts_of(tokenizer, [[1, 2, 0]]).bytes_R.tolist() == [len("é ab".encode())]


def test_lines_are_the_tokens_that_spell_them():
    tokenizer = tiny.tokenizer()
    text = "ab\n\n  \ncd e\n"
    ids = tokenizer([text])["input_ids"][0]
    (lines,) = texts_of(tokenizer, [ids]).lines
    spelled = [tokenizer.decode(ids[first:stop]) for first, stop in lines]
    assert spelled == ["ab\n", "cd e\n"], "white space alone is no line, and the end of the text is of none"
    assert texts_of(tokenizer, [ids]).has_lines
    assert not texts_of(tokenizer, tokenizer(["ab\n"])["input_ids"]).has_lines


def test_a_token_over_the_end_of_a_line_is_of_both_lines():
    spelled = {0: "", 1: "a", 2: ")\n    b", 3: "\n\n", 4: "  ", 5: "c\n\nd"}

    class Written:
        all_special_ids = (0,)

        def __call__(self, texts, **_):
            return {"input_ids": [[1] for _ in texts]}

        def convert_ids_to_tokens(self, ids):
            return [f"<{each}>" for each in ids]

        def batch_decode(self, labels, **_):
            return ["".join(spelled[each] for each in ids) for ids in labels]

        def decode(self, ids, **_):
            return spelled[ids[0]]

    (lines,) = texts_of(Written(), [[1, 2, 1, 3, 4, 5, 1, 0]]).lines
    assert lines == ((0, 2), (1, 4), (4, 6), (5, 7))
