"""A tokenizer that is trained on the rows is trained once, again where they change, and never taken when damaged."""

from __future__ import annotations

import attrs
import pytest
import tiny

from kdkit import models
from kdkit.models import tokenizer_digest
from kdkit.pipeline.tokenizers import tokenizer_of
from kdkit.recipe import load_recipe
from kdkit.system.progress import Silent
from kdkit.testing.corpora import synthetic_corpus

TEXT = "assert naïve(3) == 'x'  # \n\t 12345"


class Notes(Silent):
    def __init__(self):
        self.notes = []

    def note(self, message):
        self.notes.append(message)


@pytest.fixture
def recipe(tmp_path):
    table = tiny.recipe_table(tmp_path)
    for name in ("tokenizer", "model"):
        table["teacher"].pop(name, None)
    return load_recipe({**table, "teacher": {**table["teacher"], "vocab_size": 300}})


@pytest.fixture
def trained(monkeypatch):
    """How often one was trained."""
    train, times = models.train_bpe, []
    monkeypatch.setattr(models, "train_bpe", lambda *given, **how: (times.append(1), train(*given, **how))[1])
    return times


def test_it_is_trained_once_and_is_the_same_when_it_comes_from_the_store(recipe, trained, tmp_path):
    corpus = synthetic_corpus()
    own = recipe.teacher.load_tokenizer(corpus)
    found = [tokenizer_of(recipe, corpus, tmp_path / "store") for _ in range(3)]
    assert len(trained) == 2
    for each in found:
        assert tokenizer_digest(each) == tokenizer_digest(own)
        assert each(TEXT)["input_ids"] == own(TEXT)["input_ids"]
    tokenizer_of(recipe, attrs.evolve(corpus, validation=()), tmp_path / "store")
    assert len(trained) == 2
    tokenizer_of(recipe, attrs.evolve(corpus, train=corpus.train[1:]), tmp_path / "store")
    assert len(trained) == 3


@pytest.mark.parametrize("name", ["tokenizer.json", "facts.json", "tokenizer_config.json"])
def test_a_damaged_entry_is_trained_again_with_a_sentence(recipe, trained, tmp_path, name):
    corpus, progress = synthetic_corpus(), Notes()
    tokenizer_of(recipe, corpus, tmp_path / "store", progress)
    (entry,) = (each for each in (tmp_path / "store" / "tokenizers").iterdir() if each.is_dir())
    (entry / name).write_text((entry / name).read_text()[:-9] + "\n")
    tokenizer_of(recipe, corpus, tmp_path / "store", progress)
    assert len(trained) == 2
    assert len(progress.notes) == 1
    assert progress.notes[0].endswith("its tokenizer is trained again")
