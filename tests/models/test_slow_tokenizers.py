"""Tokenizers written in Python work like fast ones, except where a token's place in a text is asked for."""

from __future__ import annotations

import warnings

import language_kit as kit
import pytest
import tiny

from kdkit import models
from kdkit.api.options import TokenLimits
from kdkit.api.values import Cut, Example
from kdkit.data.tokens import encode
from kdkit.errors import Mismatch, UsageError
from kdkit.models.tokenizers import end_id

LIMITS = TokenLimits(max_source=40, max_target=24)


@pytest.fixture(params=kit.SLOW)
def slow(request, tmp_path):
    """A slow tokenizer, as it comes out of a folder."""
    make, _, package = kit.SLOW[request.param]
    if package is not None:
        pytest.importorskip(package)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Recommended: pip install sacremoses")  # of Marian's
        (tmp_path / "parts").mkdir()
        tokenizer = models.load_tokenizer(kit.saved(make(tmp_path / "parts"), tmp_path / "t"))
    assert not tokenizer.is_fast
    return tokenizer


def test_a_slow_tokenizer_reads_sources_and_writes_targets(slow):
    examples = [Example(id="a", source="max of 3 and 4", target="== 3")]
    row = encode(examples, slow, LIMITS)[0]
    assert slow.batch_decode([row.target_ids], skip_special_tokens=True)[0].replace(" ", "") == "==3"
    assert max(row.source_ids) < models.source_size(slow)
    assert max(row.target_ids) < models.target_size(slow)
    assert end_id(slow) in row.target_ids[-2:]  # a language may follow
    cut = encode(examples, slow, TokenLimits(max_source=4, max_target=3))[0]
    assert (len(cut.source_ids), len(cut.target_ids)) == (4, 3)
    assert cut.target_ids[-1] == row.target_ids[-1]


def test_a_slow_tokenizer_has_one_digest_before_saving_and_after_loading(slow, tmp_path):
    again = models.load_tokenizer(kit.saved(slow, tmp_path / "again"))
    assert models.tokenizer_digest(again) == models.tokenizer_digest(slow)
    assert models.decoding_digest(again) == models.decoding_digest(slow)
    models.check_same_tokenizer(slow, again)


def test_cuts_need_a_tokenizer_that_says_where_tokens_lie():
    from transformers import ByT5Tokenizer

    cut = Cut(start=0, end=6, keep="head", drop_start=0, drop_end=6, drop_below=1)
    example = Example(id="row7", source="a long source", target="t", cuts=(cut,))
    assert len(encode([example], ByT5Tokenizer(), LIMITS)[0].source_ids) == 14
    sentence = (
        r"source of row row7 has more tokens than tokens\.max_source allows \(5\), .* slow tokenizer \(ByT5Tokenizer\)"
    )
    with pytest.raises(UsageError, match=sentence):
        encode([example], ByT5Tokenizer(), TokenLimits(max_source=5))


@pytest.mark.parametrize(
    ("said", "package"),
    [
        (
            "\nMarianTokenizer requires the SentencePiece library but it was not found in your environment.",
            "sentencepiece",
        ),
        ("You need to install sacremoses to use XLMTokenizer. See https://pypi.org/project/sacremoses/.", "sacremoses"),
    ],
)
def test_a_package_that_is_missing_is_named(said, package, tmp_path, monkeypatch):
    """What transformers says where it is; the tests may have it installed."""

    def refuse(*_, **__):
        raise ImportError(said)

    monkeypatch.setattr("transformers.AutoTokenizer.from_pretrained", refuse)
    (tmp_path / "tokenizer_config.json").write_text("{}")
    with pytest.raises(UsageError, match=f"needs the package {package}, which is not installed: pip install {package}"):
        models.load_tokenizer(str(tmp_path))


@pytest.mark.parametrize("file", ["prophetnet.tokenizer", "source.spm", "vocab-src.json", "sentencepiece.bpe.model"])
def test_a_folder_holds_a_tokenizer_by_any_name_of_a_vocabulary(file, tmp_path):
    (tmp_path / file).write_text("")
    with pytest.raises(UsageError, match="cannot be read"):
        models.load_tokenizer(str(tmp_path))


@pytest.mark.parametrize("name", ["marian", "fsmt"])
def test_a_vocabulary_of_targets_is_compared_too(name, tmp_path):
    make, _, package = kit.SLOW[name]
    pytest.importorskip(package)
    one, other = make(tmp_path), make(tmp_path)
    decoder = dict(other.decoder)
    decoder[5], decoder[6] = decoder[6], decoder[5]
    other.decoder = decoder
    assert models.target_size(one) < models.source_size(one)
    with pytest.raises(Mismatch, match=rf"id 5 of targets is {one.decoder[5]!r} to the teacher \({len(one.decoder)} "):
        models.check_same_tokenizer(one, other)


@pytest.mark.parametrize("name", ["marian", "fsmt"])
def test_a_new_model_has_room_for_both_vocabularies(name, tmp_path):
    make, model_type, package = kit.SLOW[name]
    pytest.importorskip(package)
    tokenizer = make(tmp_path)
    config = models.config_from({"model_type": model_type, **kit.TINY}, tokenizer)
    size = models.size_of(config)
    assert (size.source_vocab_size, size.vocab_size) == (models.source_size(tokenizer), models.target_size(tokenizer))
    assert config.eos_token_id == end_id(tokenizer)
    with pytest.raises(UsageError, match="a vocabulary of its own for targets"):
        models.config_from(tiny.T5, tokenizer)
