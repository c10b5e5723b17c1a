"""The page of architectures says what the benchmark found, of every type; and three of them are tried here."""

from __future__ import annotations

import json

import causal_architectures
import pytest
from architecture_runs import WORKS, not_for_text, tried, types
from architectures import CONFIGS
from pages import ROOT, read, script

PAGE = ROOT / "docs" / "architectures.md"
FOUND = json.loads((ROOT / "docs" / "results" / "architectures.json").read_text())
TOLD = (("t5gemma", "types"), ("prophetnet", "types"), ("granitemoe", "decoder_only"))
"""A soft cap and nested configurations; a head of several streams and a slow tokenizer; experts and a scaled head."""


def test_the_page_says_what_was_found():
    assert read(PAGE) == script("make_architectures").render(), "run: python docs/make_architectures.py"


def test_every_encoder_decoder_of_transformers_has_a_result_or_a_reason():
    assert sorted(FOUND["types"]) == types() == sorted(CONFIGS), "run: python benchmarks/architectures.py"
    assert FOUND["others"] == not_for_text()

    assert sorted(FOUND["decoder_only"]) == sorted(causal_architectures.CONFIGS), (
        "run: python benchmarks/architectures.py"
    )


@pytest.mark.slow
@pytest.mark.parametrize(("model_type", "kind"), TOLD)
def test_what_the_page_says_of_three_of_them_is_so(model_type, kind, tmp_path):
    found = {"types": tried, "decoder_only": causal_architectures.tried_causal}[kind](model_type, tmp_path)
    assert found == FOUND[kind][model_type]
    assert set(found.values()) == {WORKS}
