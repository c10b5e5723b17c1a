from __future__ import annotations

import copy

import tiny
from tokenizers import normalizers

from kdkit.api.options import TokenLimits
from kdkit.api.values import Corpus, Example
from kdkit.data.rows import Encoding
from kdkit.models import EncoderDecoder, tokenizer_digest
from kdkit.store.tokenized import entry_for

ROWS = tuple(Example(id=str(i), source=text, target=answer) for i, (text, answer) in enumerate(tiny.pairs(8)))
CORPUS = Corpus(train=ROWS, validation=(), test=())
ENCODING = Encoding(kind=EncoderDecoder(), limits=TokenLimits(max_source=24, max_target=8))


def changed(before: str, after: str):
    """A tokenizer of the same vocabulary that reads one word as another; the probe text has neither."""
    tokenizer = copy.deepcopy(tiny.tokenizer())
    tokenizer.backend_tokenizer.normalizer = normalizers.Replace(before, after)
    assert tokenizer_digest(tokenizer) == tokenizer_digest(tiny.tokenizer())
    return tokenizer


def test_what_was_trained_on_other_ids_is_another_entry(tmp_path):
    entry = tmp_path / "teachers" / "0123"
    assert entry_for(entry, tiny.tokenizer(), CORPUS, ENCODING) == entry
    tiny.tokenizer().save_pretrained(entry)
    other = entry_for(entry, changed("max of", "least of"), CORPUS, ENCODING)
    assert entry_for(entry, tiny.tokenizer(), CORPUS, ENCODING) == entry
    assert other.parent == entry.parent
    assert other != entry
    assert entry_for(entry, changed("max of", "least of"), CORPUS, ENCODING) == other


def test_a_tokenizer_that_differs_and_writes_the_rows_alike_is_as_good(tmp_path):
    tiny.tokenizer().save_pretrained(tmp_path / "0123")
    for number in (4, 400):  # it was told how to cut since it was saved
        tiny.tokenizer()("max", truncation=True, max_length=number)
        assert entry_for(tmp_path / "0123", tiny.tokenizer(), CORPUS, ENCODING) == tmp_path / "0123"
    assert entry_for(tmp_path / "0123", changed("nowhere", "here"), CORPUS, ENCODING) == tmp_path / "0123"
