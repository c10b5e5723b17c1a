"""The reference `thesis-codet5`: the numbers as they were published."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import kdkit
from kdkit.api import Reference
from kdkit.testing import check_reference
from kdkit_assertions.thesis_metrics import ThesisAssertions
from kdkit_assertions.thesis_reference import ThesisCodeT5

PUBLISHED = Path(__file__).parents[4] / "shared" / "thesis_results.json"


def test_the_twelve_runs_are_there_and_differ_in_alpha_and_temperature():
    runs = ThesisCodeT5().runs()
    settings = [(run.values["loss.alpha"], run.values["loss.temperature"]) for run in runs]
    assert sorted(settings) == sorted(
        [(0.5, t) for t in (0.1, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0)] + [(a, 1.0) for a in (0.1, 0.2, 0.6, 0.7, 0.9)]
    )
    assert len({run.name for run in runs}) == 12
    assert all(set(run.values) == {"loss.alpha", "loss.temperature"} for run in runs)


def test_scores_are_named_as_the_suite_names_them():
    metrics = ThesisAssertions().score([], [], [])
    expected = {(against, "assertions-thesis", metric) for against in ("truth", "teacher") for metric in metrics}
    expected |= {("truth", "loss", "hard"), ("teacher", "loss", "soft"), ("truth and teacher", "loss", "total")}
    for run in ThesisCodeT5().runs():
        assert set(run.scores) == expected


def test_the_published_losses_add_up():
    """alpha * soft + (1 - alpha) * hard, which would show a number in the wrong column or row."""
    for run in ThesisCodeT5().runs():
        alpha = run.values["loss.alpha"]
        hard, soft = run.scores["truth", "loss", "hard"], run.scores["teacher", "loss", "soft"]
        assert alpha * soft + (1 - alpha) * hard == pytest.approx(
            run.scores["truth and teacher", "loss", "total"], abs=2e-6
        )


def test_one_run_as_it_is_printed_in_the_thesis():
    run = next(run for run in ThesisCodeT5().runs() if run.name == "alpha 0.5, T 1")
    assert run.scores["truth", "assertions-thesis", "f1"] == 0.291594
    assert run.scores["teacher", "assertions-thesis", "f1"] == 0.360211
    assert run.numbers == {"model size (MiB)": 230.76, "inference (ms a row)": 427.744754, "training (s)": 11620.28}


def test_the_plugin_registers_it_with_its_source():
    reference = kdkit.load_plugins().get("references", "thesis-codet5").load()()
    assert isinstance(reference, Reference)
    assert "TU Delft" in reference.source
    assert "10.5281/zenodo.15716434" in reference.source


@pytest.mark.shared
@pytest.mark.skipif(not PUBLISHED.is_file(), reason="needs the data folder beside the checkout")
def test_every_number_is_the_published_one():
    rows = json.loads(PUBLISHED.read_text())["rows"]
    for row, run in zip(rows, ThesisCodeT5().runs(), strict=True):
        assert run.values == {"loss.alpha": row["alpha"], "loss.temperature": row["temperature"]}
        for against, column in (("truth", "vs_ground_truth"), ("teacher", "vs_teacher")):
            for metric in ("precision", "recall", "f1", "accuracy", "similarity"):
                assert run.scores[against, "assertions-thesis", metric] == row[f"{column}.{metric}"]
        assert run.numbers["inference (ms a row)"] == row["inference_ms_per_sample"]


def test_it_keeps_the_promises_of_references():
    check_reference(ThesisCodeT5())
