"""The report of a sweep: what it chooses, what it claims, and that all of it can be read."""

from __future__ import annotations

import json
import math
import re
from itertools import pairwise

import pytest
from browser_kit import browser, contrast, faults, opened, overflow
from click.testing import CliRunner
from documents import figures, items, part, tables
from html_outline import outline
from hypothesis import given
from hypothesis import strategies as st
from run_folders import write_json
from sweep_folders import GRID, write_sweep_folder

from kdkit.api.values import Difference, Direction, Interval, PublishedRun
from kdkit.cli.report import command
from kdkit.errors import MissingInput
from kdkit.evaluation.resampling import compare, mean_over_seeds
from kdkit.evaluation.row_scores import RowKey
from kdkit.report import comparison, summary, sweep
from kdkit.report.numbers import axes, versus_labels
from kdkit.report.numbers.configurations import same_value, short_key
from kdkit.report.numbers.reference import Published
from kdkit.report.numbers.statistics import Unpaired
from kdkit.report.numbers.versus_best import others
from kdkit.report.page import html, markdown
from kdkit.report.page.charts.lines import Line, LineChart, Point, is_log, readable_ticks, tick_gap
from kdkit.report.page.charts.sizes import powers, spread
from kdkit.report.page.charts.svg import reach
from kdkit.report.page.document import Choice, Listing
from kdkit.report.page.formats import metric, setting, signed, signed_interval
from kdkit.report.page.tables import Table
from kdkit.report.parts import along, by_metric, grids, published, sweep_verdict
from kdkit.report.parts.cells import apart
from kdkit.report.read.scored import ScoredRun

__all__ = ["browser"]  # a fixture
F1 = RowKey("student", "truth", "text", "f1")
EVIL = '<script>alert(1)</script>" `|\x1b'


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The thesis's shape of sweep. Not to be changed."""
    return write_sweep_folder(tmp_path_factory.mktemp("sweeps") / "shape")


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small sweep, reported. Its trials are not to be changed."""
    path = write_sweep_folder(tmp_path_factory.mktemp("sweeps") / "small", GRID[1:3], seeds=(1, 2), rows=40)
    sweep.write(path)
    return path


@pytest.fixture(scope="module")
def report(folder):
    return sweep.assemble(folder)


def change_json(path, change):
    value = json.loads(path.read_text())
    change(value)
    write_json(path, value)


def trial_of(folder, seed=1, **values):
    """The folder of a trial: `trial_of(folder, alpha=0.5, temperature=1.0)`."""
    wanted = {f"loss.{key}": value for key, value in values.items()}
    listed = json.loads((folder / "sweep.json").read_text())["trials"]
    return next(folder / "trials" / each["id"] for each in listed if (each["values"], each["seed"]) == (wanted, seed))


def configuration(report, **values):
    wanted = {f"loss.{key}": value for key, value in values.items()}
    return next(each for each in report.stats.configurations if each.values == wanted)


def test_trials_that_differ_by_their_seed_alone_are_one_configuration(report):
    assert [each.values for each in report.stats.configurations] == GRID
    assert {len(each.runs) for each in report.stats.configurations} == {3}


def test_the_best_is_chosen_on_the_validation_rows_whatever_the_test_rows_say(tmp_path):
    path = write_sweep_folder(tmp_path / "sweep", GRID[1:3], seeds=(1, 2))
    for seed in (1, 2):
        place = trial_of(path, seed, alpha=0.1, temperature=1.0) / "run.json"
        change_json(place, lambda run: run["stages"]["distill"]["facts"].update(best_value=0.99))
    found = sweep.assemble(path)
    assert found.selection.best.values == {"loss.alpha": 0.1, "loss.temperature": 1.0}
    told = found.stats.measure(found.selection.best, F1).value
    assert told < found.stats.measure(configuration(found, alpha=0.5, temperature=1.0), F1).value
    assert "alpha 0.1, temperature 1, the best on the validation rows," in found.document.verdict.sentence
    assert "0.99" not in found.document.verdict.sentence


def test_the_metric_that_is_reported_chooses_whatever_picked_the_epochs(tmp_path):
    path = write_sweep_folder(tmp_path / "sweep", GRID[:3], best_by="loss", seeds=(1,), rows=40)
    found = sweep.assemble(path)
    assert found.selection.by == "text.f1"
    assert found.document.verdict.detail.startswith("Chosen by its F1 on the validation rows, reported on 40 test rows")


def without_validation_scores(path):
    for place in path.glob("trials/*/evaluation.json"):
        change_json(place, lambda evaluation: evaluation.update(validation_scores=[]))


def test_a_loss_that_depends_on_alpha_chooses_nothing_where_alpha_varies(tmp_path):
    path = write_sweep_folder(tmp_path / "sweep", GRID[:3], best_by="loss", seeds=(1,), rows=40)
    without_validation_scores(path)
    assert sweep.assemble(path).selection.best is None
    for place in path.glob("trials/*/evaluation.json"):
        change_json(place, hard_on_validation)
    found = sweep.assemble(path)
    assert found.selection.by == "the hard loss"
    assert 'training.best_by is "loss", which is not comparable' in " ".join(part(found.document, "best").each(str))


def hard_on_validation(evaluation):
    (hard,) = (each for each in evaluation["scores"] if (each["model"], each["metric"]) == ("student", "hard"))
    evaluation["validation_scores"].append(hard)


def test_a_loss_chooses_the_lowest_where_it_is_the_same_loss(tmp_path):
    trials = [{"training.epochs": epochs} for epochs in (1, 2)]
    path = write_sweep_folder(tmp_path / "sweep", trials, best_by="loss", seeds=(1,), rows=40)
    without_validation_scores(path)
    listed = json.loads((path / "sweep.json").read_text())["trials"]
    for each, value in zip(listed, (1.5, 0.5), strict=True):
        place = path / "trials" / each["id"] / "run.json"
        change_json(place, lambda run, value=value: run["stages"]["distill"]["facts"].update(best_value=value))
    found = sweep.assemble(path)
    assert (found.selection.by, found.selection.best.values) == ("loss", {"training.epochs": 2})


def test_scores_and_differences_are_those_of_the_paired_bootstrap_over_rows_and_seeds(report):
    best, other = (configuration(report, alpha=0.5, temperature=t) for t in (1.0, 2.0))
    rows = {each: [run.rows for run in each.runs] for each in (best, other)}
    resampling = {"resamples": 200, "seed": 42}
    mean = mean_over_seeds(rows[best], F1, **resampling)
    measure = report.stats.measure(best, F1)
    assert (measure.value, measure.low, measure.high) == (mean.value, mean.low, mean.high)
    assert report.stats.difference(best, other, F1) == compare(rows[best], rows[other], F1, F1, **resampling)
    labels = F1._replace(model="labels-only")
    gain = versus_labels.against_labels(report.stats, best, F1)
    assert gain == compare(rows[best], rows[best], F1, labels, **resampling)


def test_where_no_run_has_the_baseline_a_trial_of_alpha_0_stands_for_labels_only(tmp_path):
    found = sweep.assemble(write_sweep_folder(tmp_path / "sweep", GRID[:3], baselines=False, rows=40))
    best, trained = (configuration(found, alpha=alpha, temperature=1.0) for alpha in (0.5, 0.0))
    gain = versus_labels.against_labels(found.stats, best, F1)
    assert gain == found.stats.difference(best, trained, F1)
    assert not isinstance(gain, Unpaired)


def test_a_configuration_that_does_as_well_is_named_as_within_noise_and_one_that_does_not_is_not(tmp_path):
    trials = [{"loss.temperature": temperature} for temperature in (1.0, 1.05, 64.0)]
    found = sweep.assemble(write_sweep_folder(tmp_path / "sweep", trials, rows=400))
    best = found.selection.best
    kinds = {each.configuration.values["loss.temperature"]: each.kind for each in others(found.stats, best, F1)}
    assert kinds == {1.05: "within noise", 64.0: "worse"}
    (table,) = by_metric.of_sweep(found.stats, "test").each(Table)
    row = next(row for row in table.groups[0].rows if row.label == "F1")
    assert [row.cells[index].text for index in (0, 2, 3, 4)] == [
        "temperature 1", "none", "temperature 1.05", "temperature 64",
    ]  # fmt: skip
    assert "Of the 2 other configurations 1 is within noise of it and 1 is worse." in found.document.verdict.detail


def choose(path, value, *, seeds=(1, 2, 3), **values):
    """What picked the best epochs of a configuration is so much on the validation rows."""
    for seed in seeds:
        place = trial_of(path, seed, **values) / "run.json"
        change_json(place, lambda run: run["stages"]["distill"]["facts"].update(best_value=value))


def test_a_configuration_that_is_better_on_test_than_the_best_on_validation_is_named_with_its_difference(tmp_path):
    trials = [{"loss.temperature": temperature} for temperature in (1.0, 64.0)]
    path = write_sweep_folder(tmp_path / "sweep", trials, rows=400)
    choose(path, 0.99, temperature=64.0)
    found = sweep.assemble(path)
    (judged,) = others(found.stats, found.selection.best, F1)
    assert (judged.kind, found.selection.best.label) == ("better", "temperature 64")
    apart = found.stats.difference(judged.configuration, found.selection.best, F1)
    told = f"temperature 1 ({signed(apart.value)}, {signed_interval(apart)})"
    assert f"The other configuration is better on test: {told}." in found.document.verdict.detail
    shown = tables(found.document, "by-metric")
    assert all(row.cells[0].text == "temperature 1" for table in shown for row in table.groups[0].rows)


@pytest.mark.parametrize(
    ("temperature", "said"),
    [
        (1.0, "Distillation helps: "),
        (64.0, "Distillation did not help: "),
        (2.7, "Distillation is not shown to help: "),
    ],
)
def test_a_sweep_says_whether_its_chosen_configuration_is_better_than_labels_only_and_shows_both(
    tmp_path, temperature, said
):
    path = write_sweep_folder(tmp_path / "sweep", [{"loss.temperature": temperature}], rows=400)
    found = sweep.assemble(path)
    gain = versus_labels.against_labels(found.stats, found.selection.best, F1)
    assert found.document.verdict.sentence.startswith(said)
    scores, difference = found.document.opening
    assert [(dot.label, dot.tone) for dot in scores.groups[0].dots] == [
        (f"temperature {temperature:g}", "student"), ("labels only", "labels-only"),
    ]  # fmt: skip
    ((shown,),) = (group.dots for group in difference.groups)
    assert (shown.at, shown.tone) == (gain, gain.verdict)
    assert difference.sides == ("labels only is better", "distilled is better")


def test_every_configuration_is_drawn_against_labels_only_the_best_first(report):
    (choice,) = part(report.document, "gains").each(Choice)
    assert [name for name, _ in choice.options] == ["F1", "Exact match", "Hard loss"]
    f1, _, hard = (plot for _, (plot,) in choice.options)
    learning = [each for each in report.stats.configurations if each.values["loss.alpha"]]
    gains = {each.label: versus_labels.against_labels(report.stats, each, F1) for each in learning}
    shown = [dot for group in f1.groups for dot in group.dots]
    assert {dot.label: dot.at for dot in shown} == gains
    assert [dot.at.value for dot in shown] == sorted((gain.value for gain in gains.values()), reverse=True)
    assert [dot.tone for dot in shown] == [gains[dot.label].verdict for dot in shown]
    lowest_first = [dot.at.value for group in hard.groups for dot in group.dots]
    assert lowest_first == sorted(lowest_first)
    assert hard.sides == ("distilled is better", "labels only is better")


def test_where_labels_only_changes_along_the_axis_the_page_opens_with_the_curve_of_the_gain(tmp_path):
    trials = [{"training.rows": rows} for rows in (500, 5_000, 50_000)]
    path = write_sweep_folder(tmp_path / "sweep", trials, rows=400)
    found = sweep.assemble(path)
    gains = {
        each.values["training.rows"]: versus_labels.against_labels(found.stats, each, F1)
        for each in found.stats.configurations
    }
    (block,) = found.document.opening
    chart = block.figures[0].chart
    (line,) = chart.lines
    assert {point.x: point.at for point in line.points} == gains
    assert is_log([point.x for point in line.points])
    assert [(level.model, level.at.value) for level in chart.levels] == [("labels-only", 0)]
    assert found.document.verdict.sentence.startswith("Distillation beats labels only in F1 with training rows ")
    low, high = chart_ends(chart)
    assert low < 0 < high
    # Its own scores stand beside those of labels only, which is a line as well.
    along_rows = along.along(found.stats, "training.rows", (F1,), None).chart
    assert [each.label for each in along_rows.lines] == ["distilled", "labels only"]
    assert [level.model for level in along_rows.levels] == ["teacher"]
    assert chart.png().startswith(b"\x89PNG")


def chart_ends(chart):
    return reach([*(point.at for line in chart.lines for point in line.points), *(level.at for level in chart.levels)])


def verdict_along(kinds):
    """The sentence on an axis at whose places the gain is of these kinds."""
    ends = {"better": (0.1, 0.3), "worse": (-0.3, -0.1), "within noise": (-0.1, 0.3)}
    gains = [
        Difference(suite="text", metric="f1", value=sum(ends[kind]) / 2, low=ends[kind][0], high=ends[kind][1], count=9)
        for kind in kinds
    ]
    return sweep_verdict.told_along([(10.0 * (place + 1), gain) for place, gain in enumerate(gains)], "F1", "rows")


def test_a_finding_along_an_axis_names_where_distillation_is_better_worse_and_where_neither_is_told():
    better, worse, noise = "better", "worse", "within noise"
    assert verdict_along([better] * 3 + [noise] * 3) == (
        "Distillation beats labels only in F1 with rows from 10 to 30; from 40 to 60 the two cannot be told apart."
    )
    assert verdict_along([better, noise, better, worse]) == (
        "Distillation beats labels only in F1 with rows at 10 and 30; it is worse at 40; at 20 the two cannot be told "
        "apart."
    )
    assert verdict_along([noise] * 3) == "Distillation does not beat labels only in F1 at any value of rows."
    assert verdict_along([noise, worse, worse]) == (
        "Distillation does not beat labels only in F1 at any value of rows, and is worse at 20 and 30."
    )


def test_what_has_fewer_seeds_than_others_is_not_the_best_but_judged_on_the_seeds_of_both(tmp_path):
    trials = [{"loss.temperature": temperature} for temperature in (1.0, 2.0, 64.0)]
    path = write_sweep_folder(tmp_path / "sweep", trials, rows=400)
    for seed in (2, 3):
        change_json(trial_of(path, seed, temperature=64.0) / "run.json", lambda run: run.update(status="failed"))
    choose(path, 0.9, temperature=64.0, seeds=(1,))
    choose(path, 0.8, temperature=1.0)
    found = sweep.assemble(path)
    assert found.selection.best.label == "temperature 1"
    assert "among the 2 of 3 that have 3 seeds" in found.selection.note
    judged = {each.configuration.label: each for each in others(found.stats, found.selection.best, F1)}
    assert {label: (each.seeds, each.is_on_fewer) for label, each in judged.items()} == {
        "temperature 2": (3, False), "temperature 64": (1, True),
    }  # fmt: skip
    assert judged["temperature 64"].kind == "worse"
    assert "The one with fewer seeds is worse, on the seeds that both have." in found.document.verdict.detail
    (line,) = along.along(found.stats, "loss.temperature", (F1,), None).chart.lines
    assert [point.x for point in line.points] == [1.0, 2.0, 64.0]
    row = by_metric.of_sweep(found.stats, "test").each(Table)[0].groups[0].rows[0]
    assert row.cells[-1].text == "1 worse"


def test_where_no_two_have_all_seeds_configurations_are_ranked_on_those_that_all_have(tmp_path):
    path = write_sweep_folder(tmp_path / "sweep", [{"loss.temperature": each} for each in (1.0, 2.0)], rows=100)
    for seed in (2, 3):
        change_json(trial_of(path, seed, temperature=2.0) / "run.json", lambda run: run.update(status="failed"))
    choose(path, 0.9, temperature=1.0, seeds=(1,))
    choose(path, 0.8, temperature=2.0, seeds=(1,))
    found = sweep.assemble(path)
    assert found.selection.best.label == "temperature 1"  # of seed 1 alone; its mean over seeds is below .8
    assert "ranked on what all have, seed 1" in found.selection.note


def test_every_configuration_stands_beside_labels_only(tmp_path):
    path = write_sweep_folder(tmp_path / "sweep", [{"loss.temperature": each} for each in (1.0, 2.0)], rows=100)
    found = sweep.assemble(path)
    (table,) = tables(found.document, "gains")
    assert [row.label for row in table.groups[0].rows] == ["temperature 1", "temperature 2"]
    column = next(index for index, name in enumerate(table.columns) if "F1 (" in name)
    for row, configuration in zip(table.groups[0].rows, found.stats.configurations, strict=True):
        gain = versus_labels.against_labels(found.stats, configuration, F1)
        assert row.cells[column - 1].text == signed(gain.value)


def test_axes_that_change_together_are_one(tmp_path):
    trials = [{"loss.alpha": a, "loss.temperature": t} for a, t in ((0.1, 1.0), (0.5, 2.0), (0.9, 4.0))]
    found = sweep.assemble(write_sweep_folder(tmp_path / "sweep", trials, seeds=(1,), rows=40))
    assert axes.numeric_axes(found.stats.configurations) == ["loss.alpha"]
    figure = along.along(found.stats, "loss.alpha", (F1,), None)
    assert [[point.x for point in line.points] for line in figure.chart.lines] == [[0.1, 0.5, 0.9]]
    assert figure.table.groups[0].rows[1].label == "alpha 0.5, temperature 2"
    assert grids.figures(found.stats, F1) == []
    assert part(found.document, "along-0").title == "What loss.alpha with loss.temperature does"


def test_scores_that_are_equal_everywhere_are_told_once_by_all_their_names(tmp_path):
    path = write_sweep_folder(tmp_path / "sweep", GRID[1:3], seeds=(1,), rows=40)

    def equal(evaluation):
        by_key = {(each["model"], each["against"], each["metric"]): each for each in evaluation["scores"]}
        for (model, against, name), each in by_key.items():
            if name == "exact_match":
                each.update({key: by_key[model, against, "f1"][key] for key in ("value", "low", "high", "count")})

    before = sweep.assemble(path)
    for place in path.glob("trials/*/evaluation.json"):
        change_json(place, equal)
    after = sweep.assemble(path)
    titles = [[figure.chart.title for figure in figures(found.document, "along-0")] for found in (before, after)]
    assert len(titles[1]) == len(titles[0]) - 2  # by itself, and minus labels only
    assert "F1, exact match" in titles[1]
    assert tables(after.document, "scores")[0].columns == ("", "exact match, F1")
    assert "exact match, F1" in [row.label for row in tables(after.document, "best")[0].groups[0].rows]


def test_beside_a_best_of_labels_only_there_is_no_second_column_of_it(tmp_path):
    path = write_sweep_folder(tmp_path / "sweep", GRID[:2], seeds=(1,), rows=40)
    choose(path, 0.99, seeds=(1,), alpha=0.0, temperature=1.0)
    document = sweep.assemble(path).document
    assert tables(document, "best")[0].columns == ("", "chosen", "the next best", "difference")
    assert document.verdict.sentence.startswith("Nothing beat labels only: ")


def test_a_baseline_has_one_row_of_losses_though_its_soft_loss_varies_with_alpha(tmp_path):
    path = write_sweep_folder(tmp_path / "sweep", GRID[1:3], seeds=(1,), rows=40)

    def soft(evaluation, value):
        (hard,) = (each for each in evaluation["scores"] if (each["model"], each["metric"]) == ("labels-only", "hard"))
        evaluation["scores"].append({**hard, "against": "teacher", "metric": "soft", "value": value})

    for value, place in enumerate(sorted(path.glob("trials/*/evaluation.json"))):
        change_json(place, lambda evaluation, value=value: soft(evaluation, value))
    table = next(table for table in tables(sweep.assemble(path).document, "scores") if table.title == "Losses")
    rows = {row.label: [cell.text for cell in row.cells] for row in table.groups[1].rows}
    assert len(rows) == len(table.groups[1].rows)
    assert rows["labels only"][table.columns.index("soft") - 1] == "\u2013"
    assert rows["labels only"][table.columns.index("hard") - 1] != "\u2013"


def test_two_seeds_are_warned_of_once(small):
    assert (small / "report.md").read_text(encoding="utf-8").count("Two seeds tell almost nothing") == 1


def at(value, half=math.nan):
    return Interval(value=value, low=value - half, high=value + half, count=1)


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(0, 100)), min_size=1, max_size=9))
def test_an_axis_holds_all_values_and_no_interval_dwarfs_them(drawn):
    low, high = reach(at(value, half) for value, half in drawn)
    values = [value for value, _ in drawn]
    span = max(values) - min(values)
    assert low < min(values)
    assert max(values) < high
    assert high - low <= 1.2 * (5 * span + 0.5 * max(map(abs, values))) + 0.2


LONG = "learning_rate 0.0001, train a-file-with-a-very-long-name-indeed.jsonl"


@pytest.mark.parametrize("labels", [["a", "b"], [f"{LONG}, temperature {each}" for each in (1, 2)]])
def test_a_legend_stays_within_its_figure_and_tells_its_lines_apart(browser, tmp_path, labels):
    lines = tuple(
        Line(label=label, points=(Point(x=1, at=at(1.0)), Point(x=2, at=at(place))))
        for place, label in enumerate(labels)
    )
    chart = LineChart(title="t", x_label="x", y_label="y", lines=lines)
    page_file = tmp_path / "page.html"
    page_file.write_text(f"<!doctype html><html lang=en><body>{chart.svg(key='k')}</body></html>")
    with opened(browser, page_file) as page:
        over = page.evaluate(
            "[...document.querySelectorAll('svg text')].map((each) => each.getBoundingClientRect().right"
            " - document.querySelector('svg').getBoundingClientRect().right)"
        )
        assert max(over) <= 1
        shown = page.evaluate("document.querySelector('svg').textContent")
        assert all(label.rpartition(", ")[2] in shown for label in labels)


@given(st.floats(-1, 1), st.floats(0, 0.5), st.floats(0, 0.5), st.sampled_from(Direction))
def test_better_and_worse_are_said_only_of_differences_whose_interval_leaves_out_0(value, below, above, direction):
    ends = {"low": value - below, "high": value + above}
    verdict = apart(Difference(suite="s", metric="m", value=value, count=9, direction=direction, **ends)).verdict
    if ends["low"] <= 0 <= ends["high"]:
        assert verdict == "within noise"
    elif direction == "neither":
        assert verdict == ""
    else:
        assert verdict == ("better" if (value > 0) == (direction == "higher") else "worse")


def test_the_best_by_a_metric_of_which_less_is_better_has_the_least_of_it(tmp_path):
    path = write_sweep_folder(
        tmp_path / "sweep", GRID[1:4], seeds=(1,), rows=40, metrics=("does_not_run",), best_by="text.does_not_run"
    )

    def lower(evaluation):
        for each in (*evaluation["scores"], *evaluation["validation_scores"]):
            if each["suite"] == "text":
                each["direction"] = "lower"

    for place in path.glob("trials/*/evaluation.json"):
        change_json(place, lower)
    for alpha, value in ((0.1, 0.6), (0.5, 0.2), (0.9, 0.4)):
        choose(path, value, seeds=(1,), alpha=alpha, temperature=1.0)
    found = sweep.assemble(path)
    assert [value for _, value in found.selection.ranked] == [0.2, 0.4, 0.6]
    best, key = found.selection.best, RowKey("student", "truth", "text", "does_not_run")
    for judged in others(found.stats, best, key):
        assert judged.kind in {"within noise", "worse" if judged.found.value > 0 else "better"}
    (table,) = (
        table for table in tables(found.document, "scores") if table.title.startswith("Suite text, against the truth")
    )
    assert table.note.endswith(" Lower is better.")


def test_without_test_rows_the_page_says_that_the_choice_flatters(tmp_path):
    found = sweep.assemble(write_sweep_folder(tmp_path / "sweep", GRID[:2], split="validation", seeds=(1,), rows=40))
    assert any("There is no test split" in warning for warning in found.document.warnings)
    assert any("flatter the best" in sentence for sentence in part(found.document, "best").each(str))


def test_every_figure_has_a_table_of_its_own_with_the_values_drawn(report):
    shown = [figure for part in report.document.parts for figure in figures(report.document, part.key)]
    assert len(shown) >= 10
    for figure in shown:
        told = {cell.text for group in figure.table.groups for row in group.rows for cell in row.cells}
        drawn = [point.at.value for line in figure.chart.lines for point in line.points]
        assert len(drawn) >= 4
        assert {(signed if figure.chart.signed else metric)(value) for value in drawn} <= told


def test_along_an_axis_a_line_holds_the_trials_that_differ_in_it_alone(report):
    chart = along.along(report.stats, "loss.temperature", (F1,), None).chart
    (line,) = chart.lines
    assert (line.label, [point.x for point in line.points]) == ("alpha 0.5", [0.1, 0.5, 1.0, 2.0, 4.0])
    assert [level.model for level in chart.levels] == ["teacher", "labels-only"]
    assert all(level.at.low < level.at.value < level.at.high for level in chart.levels)


def test_a_heat_map_is_drawn_of_axes_that_cross_and_of_no_others(tmp_path, report):
    assert grids.figures(report.stats, (F1,)) == []
    crossing = [{"loss.alpha": a, "loss.temperature": t} for a in (0.1, 0.5) for t in (1.0, 2.0)]
    found = sweep.assemble(write_sweep_folder(tmp_path / "sweep", crossing, seeds=(1,), rows=40))
    (figure,) = grids.figures(found.stats, (F1,))
    assert (figure.chart.columns, figure.chart.rows) == (("0.1", "0.5"), ("1", "2"))
    assert figure.chart.values[1][0] == found.stats.measure(configuration(found, alpha=0.1, temperature=2.0), F1).value


def test_what_is_within_noise_of_the_best_has_the_colour_of_the_best_on_a_heat_map(tmp_path):
    crossing = [{"loss.alpha": a, "loss.temperature": t} for a in (0.1, 0.5) for t in (1.0, 1.05, 64.0)]
    found = sweep.assemble(write_sweep_folder(tmp_path / "sweep", crossing, rows=400))
    (figure,) = grids.figures(found.stats, (F1,))
    chart, shown = figure.chart, {}
    for row, temperature in enumerate((1.0, 1.05, 64.0)):
        for column, alpha in enumerate((0.1, 0.5)):
            shown[row, column] = configuration(found, alpha=alpha, temperature=temperature)
    best = shown[chart.best]
    strongest = chart.strength(*chart.best)
    for place, each in shown.items():
        alike = each is best or found.stats.difference(each, best, F1).holds_zero
        assert (chart.strength(*place) == strongest) is alike
    assert 1 < sum(chart.strength(*place) == strongest for place in shown) < len(shown)


def test_a_codec_study_sets_bytes_a_token_against_quality(tmp_path):
    trials = [{"codec.name": name} for name in ("u8-lz4", "topk", "subspace")]
    found = sweep.assemble(write_sweep_folder(tmp_path / "sweep", trials, seeds=(1, 2), rows=40))
    chart = figures(found.document, "codecs")[0].chart
    assert [(point.label, point.size) for point in chart.points] == [
        ("subspace", 375.25), ("topk", 512.0), ("u8-lz4", 4099.5),
    ]  # fmt: skip
    assert all(point.at.low < point.at.high for point in chart.points)


def test_sizes_have_ticks_at_powers_of_ten_or_else_between_them():
    assert powers(9, 12_000) == [10, 100, 1_000, 10_000]
    assert powers(375, 4_100) == [500, 1_000, 2_000]
    assert powers(3, 4) == [3, 4]


@given(st.lists(st.floats(0, 1), min_size=1, max_size=9).map(sorted), st.floats(0.001, 0.2))
def test_names_beside_a_chart_keep_their_order_and_their_distance(wanted, gap):
    placed = spread(wanted, gap)
    assert len(placed) == len(wanted)
    assert all(two - one >= gap * (1 - 1e-6) - 1e-9 for one, two in pairwise(placed))
    if all(two - one >= gap for one, two in pairwise(wanted)):
        assert placed == pytest.approx(wanted)


def test_a_share_that_is_all_but_1_for_every_model_is_not_drawn(tmp_path):
    path = write_sweep_folder(tmp_path / "sweep", GRID[1:3], seeds=(1,), rows=40)

    def all_parse(evaluation):
        for each in evaluation["scores"]:
            if each["metric"] == "exact_match":
                each.update(value=0.995, low=0.99, high=1.0)

    assert "Exact match" in [name for name, _ in part(sweep.assemble(path).document, "along-0").each(Choice)[0].options]
    for place in path.glob("trials/*/evaluation.json"):
        change_json(place, all_parse)
    (choice,) = part(sweep.assemble(path).document, "along-0").each(Choice)
    assert [name for name, _ in choice.options] == ["F1", "Hard loss"]


def test_published_values_stand_beside_the_trial_that_is_set_up_alike(report):
    runs = [
        PublishedRun(name="one", values={"loss.alpha": 0.5, "loss.temperature": 1}, scores={F1[1:]: 0.25}),
        PublishedRun(name="other", values={"loss.alpha": 0.5, "loss.temperature": 3}, scores={F1[1:]: 0.5}),
    ]
    reference = Published(source="Somebody, 2025", runs=tuple(runs))
    best = configuration(report, alpha=0.5, temperature=1.0)
    assert [reference.score(each, F1) for each in report.stats.configurations] == [
        0.25 if each is best else None for each in report.stats.configurations
    ]
    beside, rest = published.tables(report.stats, reference)
    (row,) = beside.groups[0].rows
    ours = report.stats.measure(best, F1).value
    assert (row.label, row.note) == ("alpha 0.5, temperature 1", "one")
    assert row.cells[0].note == f"0.250, +{ours - 0.25:.3f}"
    assert [row.note for row in rest.groups[0].rows] == ["other"]
    (line,) = along.along(report.stats, "loss.temperature", (F1,), reference).chart.lines
    assert [(point.x, point.at.value) for point in line.published] == [(1.0, 0.25)]


def test_a_reference_that_cannot_be_had_is_a_warning_and_not_the_end(tmp_path):
    path = write_sweep_folder(tmp_path / "sweep", GRID[:2], seeds=(1,), rows=40, reference={"name": "lost"})
    assert any("published values are left out" in warning for warning in sweep.assemble(path).document.warnings)


def test_failed_and_waiting_trials_are_told_with_their_errors_and_left_out_of_the_numbers(tmp_path):
    path = write_sweep_folder(tmp_path / "sweep", GRID[:3], seeds=(1,), rows=40)
    failed, waiting = (trial_of(path, alpha=alpha, temperature=1.0) for alpha in (0.0, 0.1))
    change_json(failed / "run.json", lambda run: run.update(status="failed"))
    (path / "logs").mkdir()
    (path / "logs" / f"{failed.name}.log").write_text(f"stage data\nError: {EVIL} went wrong\n")
    for file in waiting.iterdir():
        file.unlink()
    found = sweep.assemble(path)
    assert [each.label for each in found.stats.configurations] == ["alpha 0.5, temperature 1"]
    assert any("1 of 3 trials done, 1 failed, 1 waiting." in warning for warning in found.document.warnings)
    (listing,) = part(found.document, "failed").each(Listing)
    assert listing.title.startswith("alpha 0, temperature 1, seed 1")
    assert "went wrong" in listing.text
    page = outline(html.render(found.document))
    assert page.tags.count("script") == 1, "the code that copies a listing"
    assert "\x1b" not in markdown.render(found.document)


def test_a_sweep_without_a_finished_trial_is_reported_too(tmp_path):
    path = write_sweep_folder(tmp_path / "sweep", GRID[:1], seeds=(1,), rows=40)
    change_json(trial_of(path, alpha=0.0, temperature=1.0) / "run.json", lambda run: run.update(status="interrupted"))
    found = sweep.write(path)
    assert found.document.verdict.sentence == "No trial of this sweep is scored yet."
    outline((path / "report.html").read_text(encoding="utf-8"))


def test_trials_of_different_versions_are_warned_of(tmp_path):
    path = write_sweep_folder(tmp_path / "sweep", GRID[:2], seeds=(1,), rows=40)
    place = trial_of(path, alpha=0.1, temperature=1.0) / "run.json"
    change_json(place, lambda run: run["versions"].update(torch="9.9"))
    found = sweep.assemble(path)
    assert "The runs were made with different versions of torch: 1.0.2, 9.9." in found.document.warnings
    assert items(part(found.document, "origin").blocks)["torch"] == "1.0.2, 9.9"


def test_seeds_that_are_not_the_same_for_all_are_warned_of(tmp_path):
    path = write_sweep_folder(tmp_path / "sweep", GRID[:2], seeds=(1, 2), rows=40)
    change_json(trial_of(path, 2, alpha=0.1, temperature=1.0) / "run.json", lambda run: run.update(status="failed"))
    assert any("have 1 to 2 seeds" in warning for warning in sweep.assemble(path).document.warnings)


def test_runs_without_row_scores_have_means_and_no_intervals_over_seeds(tmp_path):
    path = write_sweep_folder(tmp_path / "sweep", GRID[2:4], seeds=(1, 2), rows=40)
    for file in path.glob("trials/*/rows.npz"):
        file.unlink()
    stats = comparison.compared(sorted(path.glob("trials/*")))
    one, other = stats.configurations
    measure = stats.measure(one, F1)
    assert measure.value == pytest.approx(sum(run.scores[F1].value for run in one.runs) / 2)
    assert math.isnan(measure.low)
    assert stats.difference(one, other, F1) == Unpaired(reason="a run has no rows.npz")
    assert any("no rows.npz" in warning for warning in comparison.assemble(stats).warnings)


def test_the_page_is_well_formed_refers_to_nothing_outside_and_is_the_same_each_time(small):
    text = (small / "report.html").read_text(encoding="utf-8")
    seen = outline(text)
    assert len(seen.ids) == len(set(seen.ids))
    assert all(reference.startswith("#") for reference in seen.references)
    assert {reference.removeprefix("#") for reference in seen.references} <= set(seen.ids)
    assert set(re.findall(r"https?://[^\s\"'<>)]+", text)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    markdown = (small / "report.md").read_bytes()
    sweep.write(small)
    assert (small / "report.html").read_text(encoding="utf-8") == text
    assert (small / "report.md").read_bytes() == markdown


def test_what_a_sweep_is_called_is_never_taken_for_markup(tmp_path):
    path = write_sweep_folder(tmp_path / "sweep", [{"data.train": EVIL}, {"data.train": "b"}], seeds=(1,), rows=30)
    change_json(path / "sweep.json", lambda table: table.update(name=EVIL, description=EVIL))
    found = sweep.write(path)
    assert EVIL in found.document.title
    page = outline((path / "report.html").read_text(encoding="utf-8"))
    assert page.tags.count("script") == 1, "the code that copies a listing"
    assert "<script>" not in (path / "report.md").read_text(encoding="utf-8").split("```")[0]


def test_the_command_writes_the_report_and_prints_what_it_came_to(small):
    verdict = sweep.assemble(small).document.verdict.sentence
    shown = CliRunner().invoke(command, [str(small)], catch_exceptions=False)
    assert verdict in " ".join(shown.output.split("\n\n")[-2].split()), "below the table, however long that is"
    assert "alpha 0.1, temperature 1  2" in shown.output
    assert shown.output.rstrip().endswith("report.html")
    told = json.loads(CliRunner().invoke(command, [str(small), "--json"], catch_exceptions=False).output)
    assert (told["verdict"], told["chosen_by"]) == (verdict, "text.f1")
    assert told["best"] == {"loss.alpha": 0.5, "loss.temperature": 1.0}
    assert told["trials"] == {"done": 4}
    assert len(told["configurations"]) == 2
    assert {each["than"] for each in told["differences"]} == {"alpha 0.5, temperature 1"}


def test_the_table_of_a_terminal_never_has_a_loss_that_depends_on_alpha(tmp_path):
    path = write_sweep_folder(tmp_path / "sweep", GRID[1:3], best_by="loss", metrics=(), seeds=(1,), rows=30)
    columns, rows = summary.lines(sweep.assemble(path).stats)
    assert columns == ["", "seeds", "hard loss", "95 % interval", "minus labels only"]
    assert [row[0] for row in rows] == ["alpha 0.1, temperature 1", "alpha 0.5, temperature 1"]


def test_a_folder_that_is_neither_a_run_nor_a_sweep_is_refused(tmp_path):
    with pytest.raises(MissingInput):
        CliRunner().invoke(command, [str(tmp_path)], catch_exceptions=False)
    with pytest.raises(MissingInput):
        sweep.write(tmp_path)


@given(st.sets(st.floats(0.001, 1000), min_size=1, max_size=20))
def test_ticks_keep_both_ends_and_their_distance(values):
    log = is_log(list(values))
    ticks = readable_ticks(list(values), log=log)
    assert set(ticks) <= values
    assert {min(values), max(values)} <= set(ticks)
    assert ticks == sorted(ticks)
    if len(ticks) > 2:
        placed = [math.log(tick) if log else tick for tick in ticks]
        span = placed[-1] - placed[0]
        needed = [tick_gap(one, two) for one, two in pairwise(ticks)]
        distances = [two - one for one, two in pairwise(placed)]
        assert all(there >= gap * span * 0.999 for there, gap in zip(distances, needed, strict=True))


SETTINGS = st.one_of(st.booleans(), st.integers(-5, 5), st.sampled_from([0.5, 1.0, 2.0]), st.sampled_from(["1", "a"]))


@given(SETTINGS, SETTINGS)
def test_values_of_recipes_are_the_same_if_toml_says_the_same_number(one, other):
    expected = one == other and isinstance(one, bool) == isinstance(other, bool) and isinstance(one, str) == isinstance(other, str)  # fmt: skip
    assert same_value(one, other) is expected
    assert same_value(one, one)


def test_keys_are_as_short_as_they_can_be_told_apart():
    keys = ["loss.alpha", "training.epochs", "teacher.fine_tune.epochs", "codec.name"]
    assert [short_key(key, keys) for key in keys] == ["alpha", "training.epochs", "fine_tune.epochs", "codec"]
    assert setting({"name": "topk", "k": 8}) == "topk (k 8)"


def test_what_learnt_from_labels_only_is_known_by_its_evaluation(report):
    assert [each.values["loss.alpha"] for each in report.stats.configurations if not each.runs[0].needs_teacher] == [0]
    assert isinstance(report.stats.configurations[0].runs[0], ScoredRun)


@pytest.mark.parametrize(("width", "scheme"), [("desk", "dark"), ("phone", "light")])
def test_in_a_browser_nothing_is_fetched_cut_off_pale_or_without_a_name(small, browser, width, scheme):
    with opened(browser, small / "report.html", width=width, scheme=scheme) as page:
        assert faults(page) == []
        assert overflow(page) == 0
        assert page.evaluate(
            "[...document.querySelectorAll('figure')].every((each) => each.querySelector('svg + details table'))"
        )
        page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true })")
        assert overflow(page) == 0
        ratio, text = contrast(page)
        assert ratio >= 4.5, text
