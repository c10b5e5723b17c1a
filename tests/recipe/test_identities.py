"""What says that two runs, or two caches, are the same does not change from one version to the next.

Where a digest changes here, the runs and caches of every user are made again.
"""

from __future__ import annotations

import pytest

from kdkit import plugins
from kdkit.api.options import Generation
from kdkit.api.values import EncodedExample
from kdkit.logits.cache import CacheIdentity
from kdkit.plugins.fields import identity_of
from kdkit.recipe import load_recipe
from kdkit.store.texts import key_of, searched


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("codet5_assert", "3437a03027a1048d88fde15660222af15ff3a7f63897975294e51f46f01d6fc9"),
        ("codet5_assert_live", "6cbb53074822481a0b5271fa0f68ecb061dfa9db3f7b51c46f88cf10b3cde925"),
        ("quickstart", "5d48db7a0e4ecdc43da9d60234bfba97c9b7afb373fa3f4715078469fd14f5fc"),
    ],
)
def test_a_shipped_recipe_has_the_digest_that_it_had(name, digest):
    assert load_recipe(name).digest == digest


def test_options_that_were_added_since_stay_out_of_the_digest_of_a_recipe_without_them():
    """The quickstart as it was before `training.rows` and `evaluation.headline`."""
    before = [
        *("loss.alpha=0.5", "training.rows=0", "training.epochs=2", "training.best_by=loss"),
        *('evaluation.suites=["assertions", "text"]', "evaluation.headline=''"),
    ]
    digest = "b64cf52b3b32b1b5431b91e53eeb86a17538032f6a6536598b12d1898b24c6b7"
    assert load_recipe("quickstart", before).digest == digest


@pytest.mark.parametrize(
    ("name", "options", "digest"),
    [
        ("u4-lz4", {}, "f9f360b7d084c6cf731114003c0b6cdb2cadedba3bf743584db241ed611d348b"),
        ("u4-lz4", {"level": 9}, "69a4cd572e5179b1e0b18e0a4bc2c85b4ebde82388c0654aefe24fdbb7ae4747"),
        ("u8-lz4", {}, "a2206dc9ebdbffad929bfa67b76835af4808cd33aa30ff7a83f01ff406f5c9ad"),
        ("u8-lz4", {"clip": 16.0}, "110cff41b63bb34784a5cedccab9ae35598c86332411e12e1856915efbbacc67"),
        ("float", {}, "12f552314f8864afc0c5b55554ddd3ece83fef8749b7aa5a662e2c94baea6b5b"),
        (
            "float",
            {"dtype": "bf16", "compression": "zstd", "level": 3, "planes": True},
            "f59e1f5e1060e4b81e000890bb7c07425a86e2140302c39049c5a627c1a00c12",
        ),
        ("topk", {}, "e769bb3970e021f5e8232d2b294f19ca14c40e8ddb7a95adde8c87b7c7e012b6"),
        (
            "topk",
            {"k": 8, "temperatures": (1.0, 2.0)},
            "79c9582928e5028cccfd32e6057dbc46cd61f39a38787ca33f2bf58a526eb5c5",
        ),
        ("sampled", {}, "2b31e4fec1dfb7fa5bcb1618eeba7d4c1ff6875c4e571cfe42867bce52ed4e65"),
        (
            "sampled",
            {"draws": 7, "draw": "independent", "seed": 3},
            "c643b024baf9d4dd811d47308e1ae104be0d01f4234066a7eaacd5d3e04ce03c",
        ),
        ("subspace", {}, "5dd2f5f40e154f60624ea64a09c0aee2c8c0720d2fe5f9b00605d9c08adf88ce"),
        ("subspace", {"step": 0.01}, "162eb6a8aaae59765a4fd3cb3bcc2be80476350b9f7e49e7f24548813e2d156e"),
    ],
)
def test_a_cache_of_a_shipped_codec_has_the_identity_that_it_had(name, options, digest):
    codec = plugins.load().get("codecs", name).load()(**options)
    identity = CacheIdentity(
        teacher="0" * 64,
        teacher_name="anyone",
        tokenizer="1" * 64,
        codec=name,
        codec_options=identity_of(codec),
        vocab_size=50,
    )
    assert identity.digest == digest


@pytest.mark.parametrize(
    ("generation", "key"),
    [
        (Generation(beams=4, max_new_tokens=511, batch_size=4), "f0ba2f2544f2796ec7d947b5cdc92289"),
        (Generation(beams=2, max_new_tokens=7, batch_size=4), "6f286cbe1f655a9cfbe79b5d2dc9c874"),
    ],
)
def test_texts_have_the_key_that_they_had_when_the_start_token_counted(generation, key):
    rows = [EncodedExample(id="a", source_ids=(1, 2, 3), target_ids=(4, 1))]
    assert key_of(rows, generation, weights="0" * 64, tokenizer="1" * 64) == key


def test_texts_of_another_search_have_another_key():
    rows = [EncodedExample(id="a", source_ids=(1, 2, 3), target_ids=(4, 1))]
    searches = [
        {},
        {"min_new_tokens": 2},
        {"length_penalty": 0.5, "beams": 2},
        {"no_repeat_ngram_size": 3},
        {"beams": 2},
    ]
    keys = {key_of(rows, Generation(**each), weights="0" * 64, tokenizer="1" * 64) for each in searches}
    assert len(keys) == len(searches)


def test_keys_of_trained_models_cover_generation_as_they_did_when_the_start_token_counted():
    found = searched(Generation(beams=2, max_new_tokens=7, batch_size=4))
    assert found == {"beams": 2, "max_tokens": 8, "early_stopping": True, "batch_size": 4}
