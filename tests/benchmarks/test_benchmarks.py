"""The benchmarks themselves, with tiny models: they run, and their sides do the same work where they say so."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest
import tiny

pytestmark = pytest.mark.slow
FOLDER = Path(__file__).parents[2] / "benchmarks"


def quick(name: str, *arguments: str, repeats: tuple[str, ...] = ("--repeats", "1")) -> dict:
    """What a benchmark prints as JSON in its quick mode; nothing else is on its standard output."""
    code, said, errors = tiny.script(FOLDER / name, "--quick", "--json", *repeats, *arguments)
    assert code == 0, errors
    found = json.loads(said)
    assert found["machine"]["threads"] == 1
    assert found["machine"]["matrix_gflops"] > 0
    assert found["machine"]["versions"]["torch"]
    return found


@pytest.fixture(scope="module")
def train_step():
    return quick("train_step.py", "--dropout", "0")


@pytest.fixture(scope="module")
def generate():
    return quick("generate.py", "--rows", "12")


def test_every_side_of_a_training_is_measured(train_step):
    assert len(train_step["sides"]) == 9
    for side in train_step["sides"].values():
        assert len(side["seconds"]) == 1
        assert side["examples_per_second"] == pytest.approx(side["rows"] / side["seconds"][0])
        assert side["peak_bytes"] > 50e6
        assert 0 <= side["padding"] < 1


def test_the_same_batches_have_the_same_losses_in_both_trainers(train_step):
    """Forward pass, loss, clipping, optimizer and rates: of several steps from the same weights."""
    sides = train_step["sides"]
    theirs, ours = sides["Seq2SeqTrainer"], sides["kdkit CE"]
    assert theirs["rows"] == ours["rows"] > 8
    assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
    assert ours["padding"] == theirs["padding"]


def test_kdkits_own_batches_hold_the_same_rows_with_less_padding(train_step):
    same, own = (train_step["sides"][name] for name in ("kdkit CE", "kdkit CE, own batches"))
    assert own["rows"] == same["rows"]
    assert own["padding"] < same["padding"]
    assert own["gflop_an_example"] < same["gflop_an_example"]


def test_all_full_vocabulary_caches_give_the_loss_of_the_teacher_itself(train_step):
    sides = train_step["sides"]
    for codec in ("u8-lz4", "float", "subspace"):
        assert sides[f"kdkit KD, {codec}"]["loss"] == pytest.approx(sides["on-line KD"]["loss"], rel=1e-3)
    assert sides["kdkit KD, topk"]["loss"] < sides["on-line KD"]["loss"]  # a coarser distribution


def test_ratios_are_of_examples_a_second_with_their_targets_beside_them(train_step):
    sides, ratios = train_step["sides"], train_step["ratios"]
    for name, each in ratios.items():
        faster, slower = (sides[side]["examples_per_second"] for side in name.split(" / "))
        assert each["ratio"] == pytest.approx(faster / slower)
        assert each["limit"] > 0
        assert ("target" in each) == ("met" in each)
    targets = {name: each["target"] for name, each in ratios.items() if "target" in each}
    assert targets["kdkit CE / Seq2SeqTrainer"] == 1.0
    assert targets["kdkit CE, own batches / Seq2SeqTrainer"] == 1.5
    assert targets["kdkit KD, subspace / kdkit CE, own batches"] == 0.9
    assert targets["kdkit KD, u8-lz4 / kdkit CE, own batches"] == 0.8
    assert targets["kdkit KD, u8-lz4 / on-line KD"] == 2.0
    assert targets["kdkit KD, u8-lz4 / the thesis's way"] == 8.0


def test_the_padded_way_of_generation_writes_the_same_texts(generate):
    assert all(side["texts_that_differ"] == 0 for side in generate["sides"].values())


def test_a_source_is_encoded_once_however_many_beams(generate):
    for side in generate["sides"].values():
        assert side["encoder_rows"] == generate["setting"]["rows"] == 12
        assert side["peak_bytes"] > 50e6
    tokens = {name: side["encoder_tokens"] for name, side in generate["sides"].items()}
    assert tokens["kdkit, batches of 4"] < tokens["the thesis's way"] == 12 * 128


def test_a_batch_ends_when_all_its_texts_have_ended(generate):
    """One more than the longest target of a batch would show in the steps, and the limit of 64 all the more."""
    assert generate["sides"]["kdkit, batches of 16"]["decoder_steps"] < 30
    assert all(each["target"] == 3.0 for each in generate["ratios"].values())


def test_sizes_grow_and_each_step_has_its_seconds_and_its_memory():
    found = quick("scale.py", repeats=())
    small, large = found["sizes"].values()
    assert small["seconds"].keys() - large["seconds"].keys() == {"capture", "evaluate", "report"}
    assert [size["rows"] for size in found["sizes"].values()] == [100, 200]
    for size in found["sizes"].values():
        assert size["seconds"].keys() == size["private_bytes"].keys()
        assert min(size["seconds"].values()) >= 0 < size["seconds"]["read"]
        assert min(size["private_bytes"].values()) > 10e6
        assert min(size["rows_a_second"].values()) > 0
    rate = found["ratios"]["encoding: kdkit's rate over the tokenizer's"]
    assert rate["met"] == (rate["ratio"] >= rate["target"])


def test_decoder_only_sides_do_the_same_steps():
    found = quick("causal_step.py", "--parts", "train", "capture")
    sides = found["train"]["sides"]
    ours, theirs = sides["kdkit, labels"], sides["transformers' Trainer, labels"]
    assert ours["tokens"] == theirs["tokens"] > 100
    assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-4)
    assert {"kdkit, KD from subspace", "kdkit, KD from topk", "kdkit, KD from u8-lz4"} <= set(sides)
    ratio = found["train"]["ratios"]["kdkit, KD from subspace / kdkit, labels"]
    assert ratio["target"] == 0.88
    assert 0.5 < ratio["limit"] < 1
    assert found["capture"]["ratios"]["kdkit, capture by subspace / plain forward pass, no head"]["ratio"] > 0


def test_the_page_of_what_a_corpus_costs_is_made_of_what_was_measured(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    scale = importlib.import_module("scale")
    folder = FOLDER.parent / "docs" / "results" / "scale"
    found = json.loads((folder / "measured.json").read_text())
    assert found["ratios"] == scale.ratios(found["sizes"])
    assert scale.page(found) == (folder / "report.md").read_text()
