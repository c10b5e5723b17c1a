"""`kdkit report A B C`: what differs between runs, and that only what can be paired is."""

from __future__ import annotations

import json
import math

import pytest
from browser_kit import browser, contrast, faults, opened, overflow
from click.testing import CliRunner
from documents import part, tables
from html_outline import outline
from sweep_folders import write_sweep_folder, write_trial

from kdkit.cli.report import command
from kdkit.errors import MissingInput, UsageError
from kdkit.evaluation.resampling import compare
from kdkit.evaluation.row_scores import RowKey
from kdkit.report import comparison
from kdkit.report.numbers.statistics import Unpaired
from kdkit.report.page import formats
from kdkit.report.page.html import render

__all__ = ["browser"]  # a fixture
F1 = RowKey("student", "truth", "text", "f1")


@pytest.fixture
def trial(tmp_path):
    """Writes a run: `trial("a", alpha=0.1, seed=2)`."""

    def write(name, *, seed=1, rows=40, **values):
        return write_trial(
            tmp_path / name, {f"loss.{key}": value for key, value in values.items()}, seed=seed, rows=rows
        )

    return write


def test_runs_that_differ_by_the_seed_of_training_alone_are_seeds_of_one_configuration(trial):
    folders = [trial("a", alpha=0.1), trial("b", alpha=0.5), trial("c", alpha=0.1, seed=2)]
    stats = comparison.compared(folders)
    assert [[run.name for run in each.runs] for each in stats.configurations] == [["a", "c"], ["b"]]
    assert [each.label for each in stats.configurations] == ["alpha 0.1", "alpha 0.5"]


def test_the_same_run_done_twice_is_no_second_seed(trial):
    stats = comparison.compared([trial("a", alpha=0.1), trial("b", alpha=0.1)])
    assert [[run.name for run in each.runs] for each in stats.configurations] == [["a"], ["b"]]
    assert [each.label for each in stats.configurations] == ["a", "b"]
    apart = stats.difference(stats.configurations[1], stats.configurations[0], F1)
    assert apart.value == apart.low == apart.high == 0


def test_only_the_keys_that_differ_are_shown(trial):
    document = comparison.assemble(comparison.compared([trial("a", alpha=0.1, temperature=2.0), trial("b", alpha=0.5)]))
    (table,) = tables(document, "recipes")
    assert [(row.label, *(cell.text for cell in row.cells)) for row in table.groups[0].rows] == [
        ("loss.alpha", "0.1", "0.5"), ("loss.temperature", "2", "1"),
    ]  # fmt: skip


def test_what_changes_no_number_is_no_difference(trial):
    one, other = trial("a", alpha=0.1), trial("b", alpha=0.1)
    text = (other / "recipe.toml").read_text()
    (other / "recipe.toml").write_text(text.replace('name = "alpha-and-temperature"', 'name = "another"'))
    document = comparison.assemble(comparison.compared([one, other]))
    assert tables(document, "recipes") == ()
    assert "The recipes are the same." in part(document, "recipes").each(str)


def test_what_changes_no_score_that_is_compared_is_in_no_label(trial):
    one, other = trial("a", alpha=0.1), trial("b", alpha=0.5)
    text = (other / "recipe.toml").read_text()
    (other / "recipe.toml").write_text(text.replace("bootstrap = 200", "bootstrap = 200\nbaselines = false"))
    assert "baselines = false" in (other / "recipe.toml").read_text()
    assert [each.label for each in comparison.compared([one, other]).configurations] == ["alpha 0.1", "alpha 0.5"]


def test_differences_are_those_of_the_paired_bootstrap_and_turn_their_sign_with_the_order(trial):
    folders = [trial("a", alpha=0.1), trial("b", alpha=0.5)]
    stats, turned = comparison.compared(folders), comparison.compared(folders[::-1])
    first, second = stats.configurations
    apart = stats.difference(second, first, F1)
    assert apart == compare([second.runs[0].rows], [first.runs[0].rows], F1, F1, resamples=200, seed=42)
    back = turned.difference(turned.configurations[1], turned.configurations[0], F1)
    assert (back.value, back.low, back.high) == pytest.approx((-apart.value, -apart.high, -apart.low))
    table = tables(comparison.assemble(stats), "differences")[0]
    row = next(row for row in table.groups[0].rows if row.label == "F1")
    assert row.cells[1].text.lstrip(f"+{formats.MINUS}") == f"{abs(apart.value):.3f}"


def test_the_page_opens_with_every_other_configuration_minus_the_first(trial):
    stats = comparison.compared([trial(name, alpha=alpha) for name, alpha in (("a", 0.1), ("b", 0.5), ("c", 0.9))])
    first, *rest = stats.configurations
    document = comparison.assemble(stats)
    (choice,) = document.opening
    assert [name for name, _ in choice.options] == ["F1", "Exact match", "Hard loss"]
    (plot,) = choice.options[0][1]
    assert [(dot.label, dot.at) for group in plot.groups for dot in group.dots] == [
        (each.label, stats.difference(each, first, F1)) for each in rest
    ]
    named = comparison.assemble(
        comparison.compared([trial(name, alpha=0.1, temperature=t) for name, t in (("d", 1.0), ("e", 64.0))])
    )
    assert named.verdict.sentence.startswith(("With temperature 64, F1 is ", "Temperature 64 is within noise of"))


def test_many_others_are_counted_in_the_verdict_and_stand_below_each_other(trial):
    runs = [
        trial(f"run-{place}", temperature=t, rows=200)
        for place, t in enumerate((1.0, 1.05, 1.1, 1.15, 64.0, 65.0, 66.0))
    ]
    stats = comparison.compared(runs)
    first, *rest = stats.configurations
    kinds = [stats.difference(each, first, F1).verdict for each in rest]
    worse, noise = kinds.count("worse"), kinds.count("within noise")
    assert worse + noise == 6
    assert worse > 1
    document = comparison.assemble(stats)
    assert document.verdict.sentence == (
        f"Of 6 configurations beside temperature 1, {worse} are worse and {noise} {'is' if noise == 1 else 'are'} within "
        "noise of it in F1."
    )
    (table, _) = tables(document, "differences")
    assert [row.label for row in table.groups[0].rows] == [each.label for each in stats.configurations]
    assert "F1 (text)" in table.columns


def test_runs_on_other_rows_are_not_paired_and_the_page_says_so(trial):
    document = comparison.assemble(comparison.compared([trial("a", alpha=0.1), trial("b", alpha=0.5, rows=30)]))
    assert tables(document, "differences") == ()
    assert part(document, "differences").each(str) == (
        "alpha 0.5 has no paired differences: they were scored on different rows.",
    )
    assert "cannot be compared row by row" in document.verdict.sentence


def test_seeds_are_paired_with_the_same_seeds_alone(trial):
    folders = [trial("a", alpha=0.1), trial("b", alpha=0.1, seed=2), trial("c", alpha=0.5, seed=2)]
    stats = comparison.compared(folders)
    both, one = stats.configurations
    apart = stats.difference(both, one, F1)
    assert apart == compare([both.runs[1].rows], [one.runs[0].rows], F1, F1, resamples=200, seed=42)
    (three,) = comparison.compared([trial("d", alpha=0.9, seed=3)]).configurations
    assert stats.difference(both, three, F1) == Unpaired(reason="they have no seed in common")


def test_runs_that_differ_in_much_are_called_by_their_folders(trial):
    one, other = trial("a", alpha=0.1, temperature=2.0, divergence="js", beta=0.5), trial("b", alpha=0.5)
    assert [each.label for each in comparison.compared([one, other]).configurations] == ["a", "b"]


def test_without_row_scores_there_are_values_and_no_differences(trial):
    folders = [trial("a", alpha=0.1), trial("b", alpha=0.5)]
    (folders[1] / "rows.npz").unlink()
    stats = comparison.compared(folders)
    measure = stats.measure(stats.configurations[1], F1)
    assert math.isfinite(measure.low)  # of one run, its own interval
    document = comparison.assemble(stats)
    assert any("no rows.npz" in warning for warning in document.warnings)


def test_the_command_writes_the_page_where_it_is_told_and_in_this_folder_else(trial, tmp_path, monkeypatch):
    folders = [str(trial("a", alpha=0.1)), str(trial("b", alpha=0.5))]
    monkeypatch.chdir(tmp_path)
    shown = CliRunner().invoke(command, folders, catch_exceptions=False)
    assert shown.output.rstrip().endswith("report: comparison.html")
    assert "alpha 0.1  1" in shown.output
    page = outline((tmp_path / "comparison.html").read_text(encoding="utf-8"))
    assert "What differs" in page.texts
    assert (tmp_path / "comparison.md").read_text(encoding="utf-8").startswith("# Comparison of 2 runs")
    arguments = [*folders, "--output", "there.html", "--json"]
    told = json.loads(CliRunner().invoke(command, arguments, catch_exceptions=False).output)
    assert (told["html"], told["markdown"], told["differing"]) == ("there.html", "there.md", ["loss.alpha"])
    assert (tmp_path / "there.html").is_file()
    (f1,) = (each for each in told["differences"] if (each["against"], each["metric"]) == ("truth", "f1"))
    assert f1["low"] <= f1["value"] <= f1["high"]


def test_a_sweep_stands_for_all_of_its_trials_that_are_done(trial, tmp_path):
    path = write_sweep_folder(tmp_path / "sweep", [{"loss.alpha": 0.1}, {"loss.alpha": 0.9}], seeds=(1,), rows=40)
    arguments = [str(path), str(trial("a", alpha=0.5)), "--json", "--output", str(tmp_path / "page.html")]
    told = json.loads(CliRunner().invoke(command, arguments, catch_exceptions=False).output)
    assert [each["values"] for each in told["configurations"]] == [{"loss.alpha": a} for a in (0.1, 0.9, 0.5)]


def test_what_cannot_be_compared_is_refused_in_a_sentence(trial, tmp_path):
    one, other = trial("a", alpha=0.1), trial("b", alpha=0.5)
    with pytest.raises(UsageError, match="is only for comparing several runs"):
        CliRunner().invoke(command, [str(one), "--output", "x.html"], catch_exceptions=False)
    with pytest.raises(UsageError, match=r"must end in \.html"):
        CliRunner().invoke(command, [str(one), str(other), "--output", "x.md"], catch_exceptions=False)
    (other / "evaluation.json").unlink()
    with pytest.raises(MissingInput, match=r"has no evaluation\.json yet"):
        comparison.compared([one, other])
    with pytest.raises(MissingInput, match="is not a run folder"):
        comparison.compared([one, tmp_path])


def test_names_of_folders_are_never_taken_for_markup(trial):
    document = comparison.assemble(comparison.compared([trial("<script>", alpha=0.1), trial("b", alpha=0.1)]))
    assert "script" not in outline(render(document)).tags


def test_in_a_browser_nothing_is_fetched_cut_off_pale_or_without_a_name(trial, browser, tmp_path):
    comparison.write([trial("a", alpha=0.1), trial("b", alpha=0.5)], tmp_path / "page.html")
    with opened(browser, tmp_path / "page.html", width="phone") as page:
        assert faults(page) == []
        assert overflow(page) == 0
        ratio, text = contrast(page)
        assert ratio >= 4.5, text
