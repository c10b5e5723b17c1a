"""Trimmed vocabularies: which ids stay, what the trimmed tokenizer makes of texts, and the models with only these ids."""

import functools
import json
from pathlib import Path

import causal_kit
import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, processors
from tokenizers import models as kinds
from transformers import PreTrainedTokenizerFast

import kdkit
from kdkit import models
from kdkit.errors import UsageError
from kdkit.models.auto import CAUSAL, SEQ2SEQ
from kdkit.models.trimmed_folders import Trimming, named_ids, trimmed_folder
from kdkit.models.vocabulary import check_trimmable, kept_ids, pipeline_table, renumbering, trimmed_table
from kdkit.system.files import write_json
from kdkit.system.reading import read_json

TEXTS = [path.read_text() for path in sorted((Path(kdkit.__file__).parent / "losses").glob("*.py"))]
KEEP = 600


@functools.cache
def whole():
    """A tokenizer with an added token, of code and of what the code does not use."""
    made = models.train_bpe([*TEXTS, "Grüße aus Ålesund, \U0001f642 " * 50], vocab_size=1000, ends_texts=False)
    backend = made.backend_tokenizer
    backend.add_special_tokens(["<|im_end|>"])
    last = backend.token_to_id("<|im_end|>")
    backend.post_processor = processors.TemplateProcessing(
        single="$A <|im_end|>", pair="$A <|im_end|> $B", special_tokens=[("<|im_end|>", last)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="<|im_end|>")


def counts(tokenizer, texts):
    ids = [each for row in tokenizer(list(texts), add_special_tokens=False)["input_ids"] for each in row]
    return np.bincount(ids, minlength=len(tokenizer))


@functools.cache
def kept(keep=KEEP, also=frozenset()):
    return kept_ids(whole(), counts(whole(), TEXTS[:3]), keep, also)


def reopened(table):
    backend = Tokenizer.from_str(table)
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", eos_token="<|im_end|>")


@functools.cache
def trimmed():
    return reopened(json.dumps(trimmed_table(whole(), kept())))


def check_text(text):
    """The trimmed tokenizer gives the text back; where the whole one's tokens all stay, it gives the same ones."""
    new = renumbering(kept())
    own, ours = whole()(text)["input_ids"], trimmed()(text)["input_ids"]
    words = whole().convert_ids_to_tokens(own)
    assert trimmed().decode(ours, skip_special_tokens=True) == whole().decode(own, skip_special_tokens=True)
    assert len(ours) >= len(own)
    if new.keys() >= set(own):
        assert trimmed().convert_ids_to_tokens(ours) == words
        assert ours == [new[each] for each in own]
        return True
    return False


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60) | st.lists(st.sampled_from(" ".join(TEXTS).split()), max_size=12).map(" ".join))
def test_every_text_comes_back_and_what_stays_is_split_as_before(text):
    check_text(text)


def test_real_text_is_split_as_before_wherever_its_tokens_stay():
    same = [check_text(line) for text in TEXTS for line in text.splitlines(keepends=True)]
    assert 0.1 < sum(same) / len(same) < 0.9  # both cases are there


def test_the_ids_that_are_used_most_stay_with_all_that_they_are_made_of():
    ids, table = kept(), pipeline_table(trimmed())
    assert len(ids) == KEEP == len(trimmed())
    words = set(trimmed().get_vocab())
    assert {"<pad>", "</s>", "<|im_end|>"} <= words
    characters = {each for each in whole().get_vocab() if len(each) == 1}
    assert len(characters) == 256
    assert characters <= words
    backend = Tokenizer(kinds.BPE(table["model"]["vocab"], [tuple(each) for each in table["model"]["merges"]]))
    backend.decoder = decoders.ByteLevel()
    for word, number in table["model"]["vocab"].items():
        if word not in {"<pad>", "</s>"}:
            assert backend.encode(word).ids == [number], "each token is made by merges of tokens that stay"
    most = np.argsort(-counts(whole(), TEXTS[:3]), kind="stable")[:100]
    assert set(most.tolist()) <= set(ids)
    assert kept(keep=10_000) == sorted(set(kept(keep=10_000)))
    assert len(kept(keep=10_000)) < len(whole())  # what is not used goes, however many may stay


def test_ids_that_a_configuration_names_stay_and_too_few_are_refused():
    unused = next(each for each in range(260, len(whole())) if each not in kept())
    assert unused not in kept()
    assert unused in kept(also=frozenset({unused, 5_000, -1}))
    with pytest.raises(UsageError, match=r"vocabulary.keep is 258, but the bytes .* are 259; raise it"):
        kept(keep=258)


def slow():
    class Slow:
        pass

    return Slow()


def of(backend):
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>")


@pytest.mark.parametrize(
    ("tokenizer", "what"),
    [
        (slow, r"one written in Python \(Slow\)"),
        (lambda: of(Tokenizer(kinds.Unigram([("<pad>", 0.0), ("a", -1.0)]))), "of the type Unigram"),
        (lambda: of(Tokenizer(kinds.WordPiece({"<pad>": 0, "[UNK]": 1}))), "of the type WordPiece"),
        (lambda: of(Tokenizer(kinds.BPE({"<pad>": 0}, []))), "a BPE of characters,"),
        (
            lambda: of(Tokenizer(kinds.BPE({"<pad>": 0}, [], byte_fallback=True))),
            r"a BPE of characters that falls back to bytes \(SentencePiece\)",
        ),
    ],
)
def test_another_tokenizer_is_refused_by_what_it_is(tokenizer, what):
    with pytest.raises(UsageError, match=rf"the tokenizer of mine is {what}.*only vocabularies of byte-level BPE"):
        check_trimmable(tokenizer(), "mine")


KINDS = {
    "gpt2": (causal_kit.GPT2, CAUSAL),
    "llama": (causal_kit.LLAMA, CAUSAL),
    "llama-tied": ({**causal_kit.LLAMA, "tie_word_embeddings": True}, CAUSAL),
    "bart": (tiny.BART, SEQ2SEQ),
    "t5": (tiny.T5, SEQ2SEQ),
}


def folders(tmp_path, name, **rules):
    table, auto = KINDS[name]
    config = models.config_from({**table, "vocab_size": len(whole()) + 7}, whole(), auto)
    module = models.new_model(config, seed=1)
    if name == "bart":
        module.final_logits_bias.normal_()
    made = models.causal_model if auto is CAUSAL else lambda m, t: models.Seq2SeqModel(module=m, tokenizer=t)
    made(module, whole()).save(tmp_path / name, texts={})
    place = tmp_path / name / "generation_config.json"
    write_json(place, {**read_json(place), **rules})
    ids = kept(also=frozenset(named_ids(tmp_path / name)))
    trimming = Trimming(model=str(tmp_path / name), tokenizer=str(tmp_path / name), kept=tuple(ids))
    return ids, trimmed_folder(tmp_path / name, models.load_tokenizer(str(tmp_path / name)), trimming)


@pytest.fixture(autouse=True)
def _store(tmp_path, monkeypatch):
    monkeypatch.setenv("KDKIT_STORE", str(tmp_path / "store"))


@pytest.mark.parametrize("name", KINDS)
def test_the_model_says_of_the_ids_that_stay_what_it_said_before(name, tmp_path):
    auto = KINDS[name][1]
    ids, light = folders(tmp_path, name)
    assert not list(light.glob("*.safetensors")), "weights are cut where they are needed"
    folder = models.find_folder(str(light), weights=True)
    before, after = (auto.loader.from_pretrained(each).eval() for each in (tmp_path / name, folder))
    assert after.get_output_embeddings().weight.shape[0] == after.config.vocab_size == len(ids)
    old = torch.tensor([ids[10:500:9]])
    new = torch.tensor([list(range(10, 500, 9))])

    def logits(model, tokens):
        more = {"decoder_input_ids": tokens} if auto is SEQ2SEQ else {}
        with torch.no_grad():
            return model(input_ids=tokens, attention_mask=torch.ones_like(tokens), **more).logits

    assert torch.equal(logits(after, new), logits(before, old)[..., ids])
    tokenizer = models.load_tokenizer(str(folder))
    assert tokenizer.get_vocab() == trimmed().get_vocab()
    text = "def mean(x):  # ok"
    assert tokenizer(text)["input_ids"] == trimmed()(text)["input_ids"]
    assert [tokenizer.pad_token_id, tokenizer.eos_token_id] == [trimmed().pad_token_id, trimmed().eos_token_id]
    assert after.generation_config.eos_token_id == tokenizer.eos_token_id
    assert models.find_folder(str(light), weights=True) == folder  # found again
    assert models.find_folder(str(light), weights=False) == light


def test_what_a_generation_configuration_says_of_ids_is_renumbered(tmp_path):
    end, gone = whole().eos_token_id, next(each for each in range(len(whole())) if each not in set(kept()))
    ids, light = folders(
        tmp_path, "gpt2", eos_token_id=[end, 1], suppress_tokens=[gone, 2], bad_words_ids=[[2, gone], [3, 4]]
    )
    rules = read_json(light / "generation_config.json")
    assert rules["eos_token_id"] == [ids.index(end), 1]
    assert rules["suppress_tokens"] == [2]
    assert rules["bad_words_ids"] == [[3, 4]]
    with pytest.raises(UsageError, match="has sequence_bias, whose ids"):
        folders(tmp_path, "gpt2", sequence_bias=[[[2], 1.0]])


def test_a_head_that_lacks_rows_of_the_tokenizer_is_refused(tmp_path):
    table, auto = KINDS["llama"]
    narrow = models.config_from(table, whole(), auto)
    narrow.vocab_size, narrow.eos_token_id = 700, 1
    models.causal_model(models.new_model(narrow, seed=1), whole()).save(tmp_path / "narrow", texts={})
    name = str(tmp_path / "narrow")
    trimming = Trimming(model=name, tokenizer=name, kept=tuple(kept()))
    light = trimmed_folder(tmp_path / "narrow", models.load_tokenizer(name), trimming)
    with pytest.raises(
        UsageError, match=r"cannot be trimmed: its .* has 700 rows where its tokenizer has ids up to 1,000"
    ):
        models.find_folder(str(light), weights=True)
