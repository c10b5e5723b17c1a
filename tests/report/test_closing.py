"""The end of a run in a terminal: on one screen what matters, in full every score."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner
from run_folders import without_baselines, write_json, write_run_folder

from kdkit.cli.report import command
from kdkit.evaluation.record import read_report
from kdkit.report.closing.run import closing, closing_text
from kdkit.report.numbers.alike import alike
from kdkit.report.numbers.pairs import pairs
from kdkit.report.page import html, terminal
from kdkit.report.read.run import read_run
from kdkit.report.run import assemble

LABELS = ("cost:", "student:", "use it:", "report:", "next:")
M = "\u2212"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run folder, with a student and where the command that made it was started from."""
    path = write_run_folder(tmp_path_factory.mktemp("closing") / "oracle-small", rows=60)
    (path / "student" / "best").mkdir(parents=True)
    return path


def changed(folder, tmp_path, change):
    """A copy whose scores and differences are changed by a function."""
    copy = shutil.copytree(folder, tmp_path / folder.name)
    found = json.loads((copy / "evaluation.json").read_text())
    for part in ("scores", "differences"):
        found[part] = [new for entry in found[part] if (new := change(entry)) is not None]
    write_json(copy / "evaluation.json", found)
    return copy


def table_of(text):
    """The lines of the table, heads and the hint below it left out."""
    lines = text.splitlines()
    first = next(index for index, line in enumerate(lines) if line.endswith("student minus labels only"))
    last = next(index for index, line in enumerate(lines) if line.startswith("All scores: "))
    return lines[first + 1 : last]


def test_the_end_fits_on_a_screen_and_says_what_came_of_it_and_what_to_do(folder, monkeypatch):
    monkeypatch.chdir(folder.parent)
    folder = Path(folder.name)
    text = closing_text(folder)
    assert "\x1b" not in text
    assert terminal.height(closing(folder)) <= 23, "with the prompt, 24 lines of 80 columns"
    assert text.startswith(assemble(read_run(folder)).verdict.sentence[:60])
    rows = table_of(text)
    assert len(rows) == 6
    assert rows[0] == f"F1 of text{'0.352   0.301    0.471':>42}  +0.051 ({M}0.052 to +0.154)"
    assert re.search(r"^Hard loss \(less is better\) +1\.934 +2\.006 +1\.742  \S+ \(\S+ to \S+\)$", text, re.MULTILINE)
    assert [label for line in text.splitlines() for label in LABELS if line.startswith(label)] == list(LABELS)
    assert "kdkit predict " in text
    assert f"All scores: kdkit report {folder} --full" in text
    wide = [line for line in text.splitlines() if len(line) > 80]
    assert all(re.match(r"(All scores|student|use it|report): |  +kdkit ", line) for line in wide), (
        "but paths and commands"
    )


def test_where_paths_are_long_there_are_fewer_rows(folder):
    assert terminal.height(closing(folder / ".." / folder.name)) <= 23
    assert 3 <= len(table_of(closing_text(folder / ".." / folder.name))) < 6


def test_metrics_that_are_equal_for_all_models_are_one_row(folder, tmp_path, monkeypatch):
    scores = json.loads((folder / "evaluation.json").read_text())["scores"]
    f1 = {
        (each["model"], each["against"]): each
        for each in scores
        if (each["suite"], each["metric"]) == ("assertions", "f1")
    }

    def same(entry):
        is_other = entry["suite"] == "assertions" and entry["metric"] in {"precision", "recall"} and "against" in entry
        return {**f1[entry["model"], entry["against"]], "metric": entry["metric"]} if is_other else entry

    copy = changed(folder, tmp_path, same)
    groups = alike(pairs(read_run(copy), against="truth"))
    assert ["precision", "recall", "f1"] in [[pair.metric for pair in group] for group in groups]
    monkeypatch.chdir(copy.parent)
    rows = table_of(closing_text(Path(copy.name)))
    assert sum(row.startswith("F1 of assertions (2 equal) ") for row in rows) == 1
    assert not any(row.startswith(("Precision", "Recall")) for row in rows)


def test_of_a_teacher_that_is_not_worth_it_the_baselines_are_shown_and_no_gain(folder, tmp_path):
    def weak(entry):
        is_headline = (entry.get("model"), entry["suite"], entry["metric"], entry.get("against")) == (
            "teacher", "text", "f1", "truth",
        )  # fmt: skip
        return {**entry, "value": 0.05, "low": 0.02, "high": 0.08} if is_headline else entry

    text = closing_text(changed(folder, tmp_path, weak))
    assert text.startswith("The teacher is not worth imitating")
    assert re.search(r"^ +labels +nearest$\n^ +student +only +teacher +constant +row$", text, re.MULTILINE)
    (row,) = re.findall(r"^F1 .*$", text, re.MULTILINE)
    score = read_report(folder).score("labels-only", "text.f1").value
    assert row.split()[2:4] == [f"{score:.3f}", "0.050"], "labels only beat this teacher"
    assert "beat" not in text.partition("F1 ")[0]
    assert "epochs" in text.split("next:")[1]


def test_without_a_student_of_labels_only_the_teacher_is_what_it_is_compared_with(tmp_path):
    folder = without_baselines(write_run_folder(tmp_path / "run", rows=60))
    text = closing_text(folder)
    assert re.search(r"^ +student +teacher +student minus teacher$", text, re.MULTILINE)
    assert "labels" not in text


def test_a_run_without_scores_says_so_and_where_its_report_is(tmp_path):
    folder = write_run_folder(tmp_path / "run", rows=12)
    (folder / "evaluation.json").unlink()
    assert closing_text(folder) == (f"This run has no score of its student yet.\n\nreport: {folder / 'report.html'}\n")


@pytest.mark.parametrize(
    ("is_old", "line"),
    [
        (False, r"^  Exact match +0\.263 +0\.238 +0\.342 +0\.000 +0\.061 +0\.085 +77 %$"),
        (False, r"^  Exact match +within noise +within noise$"),
        (False, rf"^  Hard +{M}0\.072 \({M}0\.102 to {M}0\.042\) +\u2013$"),
        (True, r"^  Exact match +0\.263 +0\.342 +77 % +within noise$"),
        (True, r"^time per sample +12 ms +31 ms +40 %$"),
    ],
)
def test_in_full_every_score_is_there_in_eighty_columns(tmp_path, is_old, line):
    folder = write_run_folder(tmp_path / "run", rows=60)
    text = closing_text(without_baselines(folder) if is_old else folder, full=True)
    assert "\x1b" not in text
    table = text.partition("\ncost: ")[0]
    assert all(len(line) <= 80 for line in table.splitlines())
    assert re.search(line, table, re.MULTILINE)
    assert ("labels" in table) is not is_old
    assert re.search(rf"^report: +{folder / 'report.html'}$", text, re.MULTILINE)


@pytest.mark.parametrize("full", [False, True])
def test_long_names_still_fit_eighty_columns(tmp_path, full, monkeypatch):
    def longer(entry):
        entry["metric"] = entry["metric"].replace("exact_match", "exact_match_of_" + "answerable_" * 8 + "rows")
        entry["suite"] = entry["suite"].replace("text", "text" * 30)
        return entry

    folder = changed(write_run_folder(tmp_path / "first" / "run", rows=12), tmp_path, longer)
    monkeypatch.chdir(folder.parent)
    table = closing_text(Path(folder.name), full=full).partition("\ncost: ")[0]
    assert all(len(line) <= 80 for line in table.splitlines())
    assert "0.471" in table, "F1 of the suite with the long name"
    assert full or terminal.height(closing(Path(folder.name))) <= 23
    assert "answerable" in html.render(assemble(read_run(folder)))


def test_on_a_terminal_what_is_noise_is_dim_and_what_is_better_green(folder):
    from rich.console import Console

    console = Console(width=80, force_terminal=True, color_system="standard", file=None)
    with console.capture() as captured:
        console.print(closing(folder), crop=False)
    shown = captured.get()
    assert f"\x1b[2m+0.051 ({M}0.052 to +0.154)" in shown
    assert f"\x1b[32m{M}0.072 ({M}0.102 to {M}0.042)" in shown
    assert str(folder / "report.html") in shown


def test_the_command_prints_a_screen_and_with_full_everything(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / folder.name)
    for options, full in (([], False), (["--full"], True)):
        result = CliRunner().invoke(command, [str(copy), *options])
        assert (result.exit_code, result.stdout) == (0, closing_text(copy, full=full))
