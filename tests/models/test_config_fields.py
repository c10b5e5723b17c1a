"""A new model's configuration may hold its encoder's and its decoder's; the tokenizer decides the same fields there."""

from __future__ import annotations

import json
import re

import pytest
import tiny
from architectures import BERT, GEMMA, hard_losses, table

from kdkit import models
from kdkit.errors import UsageError

NESTED = ("encoder-decoder", "t5gemma", "t5gemma2")


@pytest.mark.parametrize("model_type", [*NESTED, "fsmt"])
def test_every_vocabulary_and_the_width_of_the_logits_are_the_tokenizers(model_type):
    model = tiny.model(table(model_type))
    size = models.size_of(model.module.config)
    assert size.vocab_size == size.source_vocab_size == model.vocab_size == tiny.VOCAB
    assert size.parameters == models.count_parameters(model.module)
    own, ours = hard_losses(model)
    assert ours == pytest.approx(own, rel=1e-6)


def test_the_width_is_the_decoders_where_encoder_and_decoder_have_vocabularies_of_their_own():
    config = models.config_from(table("encoder-decoder", encoder={**BERT, "vocab_size": 300}), tiny.tokenizer())
    assert not hasattr(config, "vocab_size")
    size = models.size_of(config)
    assert (size.vocab_size, size.source_vocab_size) == (tiny.VOCAB, 300)


def test_a_decoder_that_is_a_model_of_its_own_looks_at_the_encoder():
    config = models.config_from(table("encoder-decoder"), tiny.tokenizer())
    assert config.decoder.is_decoder
    assert config.decoder.add_cross_attention
    assert not config.encoder.is_decoder


@pytest.mark.parametrize("model_type", NESTED)
def test_a_decoder_that_does_not_see_padding_starts_with_another_token(model_type):
    config = models.config_from(table(model_type), tiny.tokenizer())
    assert config.decoder_start_token_id == tiny.tokenizer().eos_token_id
    assert getattr(config.decoder, "bos_token_id", 1) in (1, None)


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        (
            {"decoder": {**GEMMA, "hiden_size": 4}},
            "config.decoder has fields that a t5_gemma_module model does not have",
        ),
        ({"decoder": {**GEMMA, "hiden_size": 4}}, 'did you mean "hidden_size" for "hiden_size"?'),
        ({"encoder": {**GEMMA, "vocab_size": 9}}, "config.encoder.vocab_size is 9, but the tokenizer has 270 tokens"),
        ({"encoder": 3}, "config.encoder must be a table"),
        ({"encoder": {"model_type": "gema"}}, 'config.encoder.model_type "gema" is not a model type of transformers'),
    ],
)
def test_a_wrong_field_within_is_named_with_its_place(fields, sentence):
    with pytest.raises(UsageError, match=re.escape(sentence)):
        models.config_from(table("t5gemma", **fields), tiny.tokenizer())


@pytest.mark.parametrize(("field", "value"), [("num_layers", 2**62), ("num_decoder_layers", 10**9)])
def test_a_model_that_would_never_be_made_is_refused(tmp_path, field, value):
    with pytest.raises(UsageError, match=rf"config.{field} is {value:,}; kdkit opens models of at most 10,000"):
        models.config_from({**tiny.T5, field: value}, tiny.tokenizer())
    (tmp_path / "config.json").write_text(json.dumps({**tiny.T5, field: value}))
    with pytest.raises(UsageError, match=rf"config.json.{field} is {value:,}; kdkit opens"):
        models.load_config(str(tmp_path))


@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
@pytest.mark.parametrize(("field", "value"), [("pad_token_id", 300), ("eos_token_id", [1, 10**6])])
def test_a_special_token_beyond_the_vocabulary_is_refused(tmp_path, file, field, value):
    (tmp_path / "config.json").write_text(json.dumps({**tiny.T5, "vocab_size": 300}))
    models.load_config(str(tmp_path))
    table = {**tiny.T5, "vocab_size": 300} if file == "config.json" else {}
    (tmp_path / file).write_text(json.dumps({**table, field: value}))
    with pytest.raises(
        UsageError, match=rf"{file}.{field} is \d+, but the largest id of the vocabulary is 299; correct it"
    ):
        models.load_config(str(tmp_path))
