"""What a tokenizer cannot write is counted, named and said."""

from __future__ import annotations

import attrs
import tiny
import tokenizers
from causal_kit import chat_tokenizer
from transformers import PreTrainedTokenizerFast

from kdkit.api.options import TokenLimits
from kdkit.api.values import Example
from kdkit.data.rows import Encoding, rows_of
from kdkit.data.target_facts import facts_of, notes_on
from kdkit.models import DecoderOnly, EncoderDecoder

LIMITS = TokenLimits(max_source=20, max_target=4)


def words():
    """A tokenizer that knows four words and no line ends, as T5 knows no braces."""
    vocabulary = {"<pad>": 0, "</s>": 1, "<unk>": 2, "a": 3, "b": 4, "c": 5, "d": 6}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary, unk_token="<unk>"))
    backend.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    backend.post_processor = tokenizers.processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>")


def told(targets, tokenizer=None, limits=LIMITS, source="a b"):
    made = tokenizer or words()
    examples = [Example(id=f"train:{i}", source=source, target=target) for i, target in enumerate(targets)]
    return facts_of(rows_of(examples, made, Encoding(kind=EncoderDecoder(), limits=limits)))


def test_targets_that_come_back_as_another_text_are_counted():
    found = told(["a b", " a b\n", "a { b }", "a\nb", "a b"])
    assert found.changed == ("train:2", "train:3")
    assert found.example == ("a { b }", "a b")
    table = found.as_table()
    assert (table["rows"], table["changed"]) == (5, {"rows": 2, "first": ["train:2", "train:3"]})
    (unwritable, unknown) = notes_on([found], LIMITS)
    assert unwritable == (
        "2 of 5 targets (40.0%) cannot be written with this tokenizer, which turns 'a { b }' into 'a b' "
        "('train:2', 'train:3'): their exact match is 0 whatever a model learns"
    )
    assert unknown.startswith("6.25% of the tokens of targets")


def test_unknown_tokens_are_counted_on_both_sides_and_only_where_there_is_one():
    assert told(["a x"], source="x y").unknown == {"source": 2, "target": 1}
    assert told(["€"], tiny.tokenizer(), source="€").unknown == {"source": 0, "target": 0}
    # SmolLM2 ends documents with what its tokenizer calls unknown.
    limits = attrs.evolve(LIMITS, document_end="<unk>")
    assert told(["a x"], source="x y", limits=limits).unknown == {"source": 0, "target": 0}


def test_cut_targets_are_those_beyond_the_limit_and_no_others():
    found = told(["a b c", "a b c d", "a b c d a"])
    assert found.cut == ("train:1", "train:2")
    assert found.changed == ()


def test_a_completion_is_cut_if_it_is_cut_where_it_stands():
    """A tokenizer of Llama's kind puts a mark before a text, so a completion has one token more alone."""
    ids = {token: place for place, token in enumerate(["<pad>", "</s>", "_", "a", "b", "c"])}
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel(ids, unk_token="<pad>"))
    backend.normalizer = tokenizers.normalizers.Prepend("_")
    backend.pre_tokenizer = tokenizers.pre_tokenizers.Split("", "isolated")
    made = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="</s>")
    encoding = Encoding(kind=DecoderOnly(), limits=LIMITS)
    rows = [Example(id=target, source="ab", target=target) for target in ("ab", "abc", "abca", "abcab")]
    read = rows_of(rows, made, encoding)
    assert [len(row.target_ids) for row in read.encoded] == [3, 4, 4, 4]
    assert encoding.label_counts(rows, made) == [3, 4, 5, 6]
    assert facts_of(read).cut == ("abca", "abcab")


def test_targets_that_spell_a_special_token_are_named_and_text():
    found = told(["a </s> b", "a"], tiny.tokenizer(), TokenLimits())
    assert (found.spelt, found.changed) == (("train:0",), ())
    (note,) = notes_on([found], LIMITS)
    assert "1 of 2 targets contain the text of a special token ('train:0')" in note


def test_a_byte_level_tokenizer_writes_everything():
    found = told(["{a: 1}\n", "Grüße 𝄞", "  x", ""], tiny.tokenizer(), TokenLimits())
    assert (found.changed, found.cut, list(notes_on([found], LIMITS))) == ((), (), [])


def test_texts_that_are_not_read_to_their_end_are_named():
    found = told(["a"], source="a " * 100_000)
    (note,) = notes_on([found], LIMITS)
    assert note == (
        "1 of 1 row have a text that is too long to be read to its end ('train:0'): 131,072 characters of a source and "
        "131,072 of a target are read"
    )


def test_of_decoder_only_models_every_special_token_that_a_target_spells_is_text():
    examples = [Example(id=f"{i}", source="x", target=text) for i, text in enumerate(("of <|user|>", "of"))]
    rows = rows_of(examples, chat_tokenizer("x"), Encoding(kind=DecoderOnly(), limits=TokenLimits()))
    assert facts_of(rows).spelt == ("0",)
