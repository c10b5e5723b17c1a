"""Texts without a prompt: every token is a label once, each text ends once, and blocks begin as texts do."""

from __future__ import annotations

import copy

import attrs
import pytest
from causal_kit import beginning_with_pad, chat_tokenizer, tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from kdkit.api.options import TokenLimits
from kdkit.api.values import Example
from kdkit.data.blocks import pieces
from kdkit.data.reading import Mark
from kdkit.data.reading_notes import notes_on_reading
from kdkit.data.rows import Encoding, rows_of
from kdkit.errors import UsageError
from kdkit.models import DecoderOnly, EncoderDecoder

TEXTS = st.lists(st.text(alphabet="max of=12 x\n🙂é", min_size=1, max_size=40), min_size=1, max_size=3)
END = 1


def document(text, id_="d"):
    return Example(id=id_, source="", target=text, form="text")


def read(*texts, its=None, **limits):
    encoding = Encoding(kind=DecoderOnly(), limits=TokenLimits(**limits))
    return rows_of([document(text, f"d{i}") for i, text in enumerate(texts)], its or tokenizer(), encoding)


@given(TEXTS, st.integers(2, 9), st.integers(0, 5))
@settings(max_examples=80, deadline=None)
def test_each_token_is_a_label_once_after_what_precedes_it(texts, length, overlap):
    overlap = min(overlap, length - 2)
    rows = read(*texts, max_length=length, overlap=overlap)
    for number, text in enumerate(texts):
        whole = [*tokenizer()(text)["input_ids"], END]
        blocks = [row for row, owner in zip(rows.encoded, rows.documents, strict=True) if owner == f"d{number}"]
        place = 0
        for block in blocks:
            assert block.source_ids[0] == END  # no token begins texts, so the one that ends them does
            context, labels = list(block.source_ids[1:]), list(block.target_ids)
            assert labels == whole[place : place + len(labels)]
            assert context == whole[place - len(context) : place]
            assert len(context) >= min(overlap, place) or labels == [END]
            assert len(block.source_ids) + len(labels) <= length
            place += len(labels)
        assert place == len(whole)
    assert list(rows.encoded.each_id())[:1] == ["d0#1"]


@given(TEXTS, st.integers(1, 3))
@settings(max_examples=40, deadline=None)
def test_so_many_blocks_are_the_first_ones_of_each_text(texts, most):
    whole, first = read(*texts, max_length=6, overlap=1), read(*texts, max_length=6, overlap=1, max_blocks=most)
    kept = [place for place, id_ in enumerate(whole.encoded.each_id()) if int(id_.partition("#")[2]) <= most]
    assert list(first.encoded) == list(whole.encoded.take(kept))
    assert set(first.documents) == {f"d{number}" for number in range(len(texts))}


@given(TEXTS)
@settings(max_examples=40, deadline=None)
def test_blocks_as_texts_are_the_document_and_part_no_character(texts):
    rows = read(*texts, max_length=9)
    for number, text in enumerate(texts):
        parts = [row.target for row in rows.examples if row.document == f"d{number}"]
        assert "".join(parts) == text


def test_a_text_ends_once_and_only_there():
    rows = read("max of 3 and 4", "x </s> x", max_length=5)
    last = rows.reading.marked(Mark.STOPS).tolist()
    ends = [index for index, row in enumerate(rows.encoded) if END in row.target_ids]
    assert ends == last
    assert len(last) == 2  # what spells the end is text
    assert [row.target_ids.count(END) for row in rows.encoded.take(last)] == [1, 1]
    assert "".join(row.target for row in rows.examples if row.document == "d1") == "x </s> x"


def test_an_end_alone_reads_what_precedes_it():
    ids = tokenizer()("max of 3")["input_ids"]
    rows = read("max of 3", max_length=len(ids) + 1)
    assert [list(row.target_ids) for row in rows.encoded] == [ids, [END]]
    assert list(rows.encoded[1].source_ids) == [END, *ids[1:]]


def test_blocks_begin_with_what_begins_texts():
    rows = read("max of 3 and 4", its=beginning_with_pad(), max_length=4)
    assert len(rows.encoded) == 2
    assert {row.source_ids for row in rows.encoded} == {(0,)}


def test_blocks_know_their_document_and_its_facts():
    example = attrs.evolve(document("max of 3 and 4"), meta={"author": "x"})
    encoding = Encoding(kind=DecoderOnly(), limits=TokenLimits(max_length=3))
    rows = rows_of([example, document("x", "e")], tokenizer(), encoding)
    assert rows.documents[0] == "d"
    assert rows.documents[-1] == "e"
    assert {row.meta["author"] for row in rows.examples if row.document == "d"} == {"x"}
    assert rows.prompts is rows.encoded
    first = rows.first(1)
    assert set(first.documents) == {"d"}
    assert [row.id for row in first.examples] == [f"d#{n}" for n in range(1, len(first.encoded) + 1)]
    assert set(rows.drawn(1).documents) in ({"d"}, {"e"})
    assert rows.drawn(0) is rows


def test_a_slow_tokenizer_cuts_too():
    class Slow:
        is_fast = False
        eos_token_id, pad_token_id, eos_token = 1, 0, "</s>"

        def __call__(self, texts, **options):
            return {key: value for key, value in tokenizer()(texts, **options).items() if key == "input_ids"}

        def batch_decode(self, ids, **options):
            return tokenizer().batch_decode(ids, **options)

    assert read("max of 3 and 4", max_length=5, its=Slow()).encoded == read("max of 3 and 4", max_length=5).encoded


def test_a_long_text_is_tokenized_in_pieces():
    assert list(pieces("ab cd\nef gh", 7)) == ["ab cd\n", "ef gh"]
    assert list(pieces("ab cd ef", 4)) == ["ab", " cd", " ef"]
    assert list(pieces("abcdefg", 3)) == ["abc", "def", "g"]
    assert list(pieces("", 3)) == []


def test_an_overlap_has_to_leave_room():
    with pytest.raises(ValueError, match="overlap is 9, but a block has 10 tokens"):
        TokenLimits(max_length=10, overlap=9)


def test_an_overlap_has_to_leave_room_after_all_that_begins_a_block():
    """GLM-4 begins with two tokens: one block after the other had nothing, without end."""
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    backend = type(tokenizer().backend_tokenizer).from_str(tokenizer().backend_tokenizer.to_str())
    backend.post_processor = processors.TemplateProcessing(
        single="<pad> </s> $A", special_tokens=[("<pad>", 0), ("</s>", 1)]
    )
    its = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="</s>")
    assert [row.source_ids[:2] for row in read("max of 3", its=its, max_length=6, overlap=3).encoded[:2]] == [
        (0, 1)
    ] * 2
    with pytest.raises(UsageError, match=r"begins each block .* with 2 tokens.*set tokens.overlap to 3 or less"):
        read("max of 3", its=its, max_length=6, overlap=4)
    with pytest.raises(UsageError, match=r"tokens.max_length is 2, but .* set it to 3 or more"):
        read("max of 3", its=its, max_length=2)


@pytest.mark.parametrize("spelt", ["max<|user|> of", "max<|user|> of</s>"])
def test_a_text_that_spells_any_special_token_is_text(spelt):
    its = chat_tokenizer("x")
    (row,) = read(spelt, its=its).encoded
    assert not {END, *its.convert_tokens_to_ids(["<|user|>"])} & set(row.target_ids[:-1])
    assert its.decode(row.target_ids[:-1]) == spelt


def test_a_text_to_continue_is_read_as_in_training():
    encoding = Encoding(kind=DecoderOnly(), limits=TokenLimits())
    for its in (tokenizer(), beginning_with_pad()):
        row = read("max </s> x", its=its).encoded[0]
        (prompt,) = encoding.prompts([document("max </s> x")], its)
        assert [*prompt.source_ids, END] == [*row.source_ids, *row.target_ids]
    short = Encoding(kind=DecoderOnly(), limits=TokenLimits(max_source=3))
    (prompt,) = short.prompts([document("max of 3 and 4")], tokenizer())
    assert prompt.source_ids == (END, *tokenizer()("max of 3 and 4")["input_ids"][-2:])


def test_documents_of_a_chat_model_may_end_with_a_token_of_their_own():
    its = copy.deepcopy(chat_tokenizer("{% for m in messages %}{{ m.content }}</s>{% endfor %}"))
    its.add_special_tokens({"additional_special_tokens": ["<|endoftext|>"]})
    its.bos_token = "<|user|>"
    (note,) = notes_on_reading([read("max of 3", its=its)])
    assert "each text ends with </s>" in note
    assert note.endswith('tokens.document_end = "<|endoftext|>"')
    rows = read("max of 3", its=its, document_end="<|endoftext|>")
    (row,), end = rows.encoded, its.convert_tokens_to_ids("<|endoftext|>")
    assert [row.source_ids, row.target_ids[-1]] == [(end,), end]
    assert list(row.target_ids[:-1]) == its("max of 3")["input_ids"]
    assert not list(notes_on_reading([rows]))
    (prompt,) = rows.encoding.prompts([document("max")], its)
    assert prompt.source_ids[0] == end
    with pytest.raises(UsageError, match=r'document_end is "<end>", which is not a special token .* <\|endoftext\|>'):
        read("max of 3", its=its, document_end="<end>")
    assert not list(notes_on_reading([read("max of 3")]))


def test_an_encoder_decoder_refuses_texts():
    encoding = Encoding(kind=EncoderDecoder(), limits=TokenLimits())
    with pytest.raises(UsageError, match=r"row d is a text without a source \(data.text\), which an encoder-decoder"):
        rows_of([document("x")], tokenizer(), encoding)
