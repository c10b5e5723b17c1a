"""Drawn texts: from transformers' distribution, and each row's whatever is beside it."""

from __future__ import annotations

import attrs
import pytest
import tiny
import torch
from causal_kit import GPT2, LLAMA, PAIRS, RWKV, batch, model, tokenizer
from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from kdkit.api.options import Generation
from kdkit.api.values import EncodedExample
from kdkit.data.tokens import collate
from kdkit.store.texts import key_of

DRAWN = Generation(beams=1, max_new_tokens=6, temperature=0.8, top_p=0.9, top_k=20)


@pytest.mark.parametrize("table", [LLAMA, RWKV], ids=lambda table: table["model_type"])
def test_a_drawn_text_does_not_depend_on_who_shares_the_batch(table):
    causal, pairs = model(table), (*PAIRS, ("y", "z"))
    together = causal.generate(batch(*pairs), DRAWN)
    assert causal.generate(batch(*pairs), DRAWN) == together
    for place, pair in reversed(list(enumerate(pairs))):
        alone = attrs.evolve(batch(pair), ids=(str(place),))
        assert causal.generate(alone, DRAWN) == [together[place]]
    other = causal.generate(batch(*pairs), attrs.evolve(DRAWN, seed=1))
    searched = causal.generate(batch(*pairs), Generation(beams=1, max_new_tokens=6))
    assert other != together != searched
    twins = attrs.evolve(batch(pairs[0], pairs[0]), ids=("a", "b"))
    assert len(set(causal.generate(twins, DRAWN))) == 2


@pytest.mark.parametrize("options", [{"temperature": 2.0}, {"temperature": 0.7, "top_k": 5}, {"temperature": 1.0, "top_p": 0.5}])  # fmt: skip
def test_tokens_are_drawn_from_transformers_distribution(options):
    """2,000 rows of one prompt: each token as often as its probability says, to four standard errors."""
    causal, rows = model(GPT2), 2000
    prompt = EncodedExample(id="", source_ids=(5, 6), target_ids=(7,))
    told = collate([attrs.evolve(prompt, id=str(place)) for place in range(rows)], pad_id=0)
    logits_1V = causal.logits(collate([prompt], pad_id=0))[0].detach()
    asked = Generation(beams=1, max_new_tokens=1, **options)
    for warp in (
        TemperatureLogitsWarper(asked.temperature),
        *([TopKLogitsWarper(asked.top_k)] if asked.top_k else []),
        *([TopPLogitsWarper(asked.top_p)] if asked.top_p < 1 else []),
    ):
        logits_1V = warp(None, logits_1V)
    p_V = logits_1V.softmax(-1)[0]
    written = []
    decode = causal.tokenizer.batch_decode

    class Noting:
        def __getattr__(self, name):
            return getattr(tokenizer(), name)

        def batch_decode(self, ids, **more):
            written.extend(ids[:, 0].tolist())
            return decode(ids, **more)

    attrs.evolve(causal, tokenizer=Noting()).generate(told, asked)
    share_V = torch.bincount(torch.tensor(written), minlength=len(p_V)) / rows
    assert (share_V[p_V == 0] == 0).all()
    assert ((share_V - p_V).abs() <= 4 * (p_V * (1 - p_V) / rows).sqrt() + 1 / rows).all()


def test_an_encoder_decoder_draws_too_and_what_is_saved_says_how(tmp_path):
    seq2seq, rows = tiny.model(tiny.T5), tiny.encoded(4)[1]
    told = collate(rows, pad_id=0)
    texts = seq2seq.generate(told, DRAWN)
    assert seq2seq.generate(collate(rows[:1], pad_id=0), DRAWN) == texts[:1]
    seq2seq.save(tmp_path / "m", texts={})
    from transformers import GenerationConfig

    saved = GenerationConfig.from_pretrained(tmp_path / "m")
    assert (saved.do_sample, saved.temperature, saved.top_p, saved.top_k) == (True, 0.8, 0.9, 20)


def test_greedy_and_beams_are_transformers_own_token_for_token():
    causal, (pair, *_) = model(LLAMA), PAIRS
    ids = batch(pair).source_ids_BS
    for beams in (1, 3):
        own = causal.module.generate(ids, num_beams=beams, max_new_tokens=7, do_sample=False, early_stopping=beams > 1)
        expected = tokenizer().batch_decode(own[:, ids.shape[1] :], skip_special_tokens=True)
        assert causal.generate(batch(pair), Generation(beams=beams, max_new_tokens=7)) == expected


def test_drawn_texts_have_keys_of_their_own():
    rows = [EncodedExample(id="a", source_ids=(1, 2, 3), target_ids=(4, 1))]
    ways = [{}, {"temperature": 0.5}, {"temperature": 0.5, "seed": 1}, {"temperature": 0.5, "top_p": 0.5}]
    keys = {key_of(rows, Generation(beams=1, **way), weights="0" * 64, tokenizer="1" * 64) for way in ways}
    assert len(keys) == len(ways)
