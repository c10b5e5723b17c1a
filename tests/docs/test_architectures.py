"""The page of architectures says what the benchmark found, of every type; and three of them are tried here."""

from __future__ import annotations

import json

import pytest
from architecture_runs import WORKS, not_for_text, tried, types
from architectures import CONFIGS
from pages import ROOT, read, script

PAGE = ROOT / "docs" / "architectures.md"
FOUND = json.loads((ROOT / "docs" / "results" / "architectures.json").read_text())
TOLD = ("t5gemma", "nllb-moe", "prophetnet")
"""A soft cap and nested configurations; experts and languages; a head of several streams and a slow tokenizer."""


def test_the_page_says_what_was_found():
    assert read(PAGE) == script("make_architectures").render(), "run: python docs/make_architectures.py"


def test_every_encoder_decoder_of_transformers_has_a_result_or_a_reason():
    assert sorted(FOUND["types"]) == types() == sorted(CONFIGS), "run: python benchmarks/architectures.py"
    assert FOUND["others"] == not_for_text()


@pytest.mark.slow
@pytest.mark.parametrize("model_type", TOLD)
def test_what_the_page_says_of_three_of_them_is_so(model_type, tmp_path):
    found = tried(model_type, tmp_path)
    assert found == FOUND["types"][model_type]
    assert set(found.values()) == {WORKS}
