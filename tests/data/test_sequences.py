from __future__ import annotations

import copy

import attrs
import pytest
from causal_kit import beginning_with_pad, chat_tokenizer, examples, tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from kdkit.api.options import TokenLimits
from kdkit.api.values import Cut
from kdkit.data.reading import Mark
from kdkit.data.sequences import encode_prompts, encode_sequences, read_sequences
from kdkit.data.text_ends import beginning
from kdkit.errors import UsageError

LIMITS = TokenLimits(max_source=60, max_target=60)
TEXTS = st.text(alphabet="max of=12 x\n🙂é", max_size=12)


def text(ids):
    return tokenizer().decode(ids)


def one(source, target, limits=LIMITS, its=None):
    (row,) = encode_sequences(examples((source, target)), its or tokenizer(), limits)
    return row


@given(TEXTS, TEXTS)
@settings(max_examples=60, deadline=None)
def test_both_halves_are_the_whole_text_and_its_end(source, target):
    row = one(source, target)
    end = tokenizer().eos_token_id
    assert row.source_ids
    assert row.target_ids[-1] == end
    prompt = () if row.source_ids == (end,) else row.source_ids  # one that is empty, or within the first label
    assert text([*prompt, *row.target_ids[:-1]]) == source + target
    assert tokenizer()(source + target)["input_ids"] == [*prompt, *row.target_ids[:-1]]


def test_a_token_over_the_boundary_belongs_to_the_completion():
    whole = tokenizer().tokenize("max of 3")
    assert "max" in whole
    row = one("ma", "x of 3")
    assert text(row.target_ids[:1]) == "max"
    (prompt,) = encode_prompts(examples(("ma", "x of 3")), tokenizer(), LIMITS)
    assert text(prompt.source_ids) == "ma"  # what whoever asks the model gives it
    assert prompt.target_ids == ()


def test_tokens_over_the_boundary_are_counted():
    """Also where a tokenizer leaves white space out of where a token lies (trim_offsets)."""
    from tokenizers import processors

    trims = copy.deepcopy(tokenizer())
    trims.backend_tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    pairs = (("ma", "x of 3"), ("max ", "of 3"), ("max", " of 3"), ("", " of"), ("max ", ""))
    for its in (tokenizer(), trims):
        reading = read_sequences(examples(*pairs), its, LIMITS)
        assert reading.marked(Mark.STRADDLES).tolist() == [0, 1]
        assert reading.counts()["straddling"] == 2


def test_a_long_prompt_keeps_its_end_and_a_cut_completion_has_no_stop():
    row = one("max of 1 and 2 x x x", " == 2 x x x x", TokenLimits(max_source=3, max_target=2))
    assert len(row.source_ids) == 3
    assert "max of 1 and 2 x x x".endswith(text(row.source_ids))
    assert len(row.target_ids) == 2
    assert tokenizer().eos_token_id not in row.target_ids


def test_a_prompt_with_cuts_is_shortened_by_them_first():
    (row,) = examples(("max of 1 and 2 x x x x x x x x end", "== 2"))
    cut = attrs.evolve(row, cuts=(Cut(start=14, end=30, drop_start=14, drop_end=30),))
    (made,) = encode_sequences([cut], tokenizer(), TokenLimits(max_source=14, max_target=8))
    assert text(made.source_ids).startswith("max of 1 and 2")
    assert text(made.source_ids).endswith(" end")
    assert len(made.source_ids) <= 14


def test_a_completion_that_spells_the_end_does_not_end_there():
    row = one("max", " of </s> 3")
    assert row.target_ids.count(tokenizer().eos_token_id) == 1
    assert text(row.target_ids[:-1]) == " of </s> 3"


def test_a_completion_that_spells_any_special_token_is_text():
    its = chat_tokenizer("x")
    role = its.convert_tokens_to_ids("<|user|>")
    for source, target in (("max", " of <|user|> 3"), ("max <|us", "er|> 3"), ("<|user|>max", " of<|user|>")):
        row = one(source, target, its=its)
        assert role not in row.target_ids
        assert row.source_ids.count(role) == source.count("<|user|>")  # of a template that is written by hand
        assert its.decode([*row.source_ids, *row.target_ids[:-1]]) == source + target
    plain = its("max of <|user|>", split_special_tokens=True)["input_ids"]
    row = one("max", " of <|user|>", its=its)
    assert [*row.source_ids, *row.target_ids[:-1]] == plain  # still one text with its prompt


def test_what_begins_texts_comes_once():
    begins = beginning_with_pad()
    assert beginning(begins) == (0,)
    assert beginning(tokenizer()) == ()
    assert one("max", " of", its=begins).source_ids.count(0) == 1
    assert one("", "of", its=begins).source_ids == (0,)
    assert one("max of 3 and 4", " of", TokenLimits(max_source=2, max_target=8), its=begins).source_ids[0] == 0


def test_a_prompt_that_spells_its_beginning_has_it_once():
    """As a rendered chat does."""
    begins = beginning_with_pad()
    assert one("<pad>max", " of", its=begins) == one("max", " of", its=begins)
    assert one("<pad><pad>max", " of", its=begins) == one("max", " of", its=begins)
    assert one("<pad>", "of", its=begins).source_ids == (0,)
    (prompt,) = encode_prompts(examples(("<pad>max", "")), begins, LIMITS)
    assert prompt.source_ids == one("max", " of", its=begins).source_ids
    assert one("<pad>max", " of").source_ids[0] == 0  # the text's own, where the tokenizer puts none


def test_a_tokenizer_without_an_end_is_refused():
    from transformers import PreTrainedTokenizerFast

    endless = PreTrainedTokenizerFast(tokenizer_object=tokenizer().backend_tokenizer, pad_token="<pad>")
    with pytest.raises(UsageError, match="the tokenizer has no token that ends a text"):
        one("a", "b", its=endless)


def test_a_slow_tokenizer_splits_where_prompt_and_whole_part():
    class Slow:
        is_fast = False
        eos_token_id, pad_token_id = 1, 0

        def __call__(self, texts, **options):
            return {key: value for key, value in tokenizer()(texts, **options).items() if key == "input_ids"}

    for source, target in (("max of 3", " == 3"), ("ma", "x of 3"), ("", "x")):
        assert one(source, target, its=Slow()) == one(source, target)
