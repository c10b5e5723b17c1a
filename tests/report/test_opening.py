"""The first screen of a run: every model on one axis, the difference that counts, and how the student is used."""

from __future__ import annotations

import math
import shlex

import pytest
from attrs import evolve
from browser_kit import browser, opened  # noqa: F401 - a fixture
from run_folders import write_run_folder

from kdkit.api.values import Interval
from kdkit.report import run as report
from kdkit.report.numbers.conclusion import conclude
from kdkit.report.page.document import Listing
from kdkit.report.page.dotplot import DotPlot
from kdkit.report.parts import opening
from kdkit.report.read.run import read_run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run folder with a student and its report. Not to be changed."""
    path = write_run_folder(tmp_path_factory.mktemp("runs") / "oracle-small", rows=60)
    best = path / "student" / "best"
    best.mkdir(parents=True)
    (best / "README.md").write_text('```python\nopen("PATH/OF/THIS/FOLDER")\n```\n')
    report.write(path)
    return path


def plots(section):
    return [block for block in section.blocks if isinstance(block, DotPlot)]


def test_every_model_stands_on_one_axis_from_what_learnt_nothing_to_the_teacher(folder):
    facts = read_run(folder)
    difference, every = plots(opening.scores(facts, conclude(facts)))
    (group,) = every.groups
    assert [dot.tone for dot in group.dots] == ["constant", "nearest", "untouched", "labels-only", "student", "teacher"]
    assert every.ends == (0.0, 1.0), "the teacher's interval goes beyond a half"
    (dots,) = (each.dots for each in difference.groups)
    assert [dot.label for dot in dots] == ["student minus labels only", "student minus teacher"]
    assert dots[0].tone == "within noise"
    for dot in dots:
        assert difference.ends[0] == -difference.ends[1] <= dot.at.low < dot.at.high <= difference.ends[1]
    assert difference.sides == ("student worse", "student better")


def test_blocks_of_texts_are_called_that_and_have_no_answers(folder):
    facts = read_run(folder)
    said = report.assemble(facts).verdict.detail
    assert opening.scores(facts, conclude(facts)).title.endswith(" on 60 test rows")
    assert "is measured against the true answers of 60 test rows, and differences are taken row by row" in said
    texts = evolve(facts, recipe={**facts.recipe, "data": {"name": "jsonl", "text": "text"}})
    assert opening.scores(texts, conclude(texts)).title.endswith(" on 60 test blocks")
    said = report.assemble(texts).verdict.detail
    assert "is measured against the text of 60 test blocks, and differences are taken block by block" in said


def test_the_drawing_says_what_the_baselines_answer_that_it_shows(folder):
    facts = read_run(folder)
    found = conclude(facts)
    *_, every = plots(opening.scores(facts, found))
    assert every.note == (
        "Bars are 95 % intervals. Constant answer: the most frequent training target; "
        "nearest row: that of the most similar training row; untouched student: the teacher's layers before any "
        "training, what pruning alone leaves."
    )
    named = evolve(facts, recipe={**facts.recipe, "student": {"name": "hf-seq2seq", "model": "t5-small"}})
    *_, every = plots(opening.scores(named, found))
    assert every.note.endswith("untouched student: before any training.")
    *_, every = plots(opening.scores(facts, evolve(found, pair=evolve(found.pair, baselines={}))))
    assert every.note == "Bars are 95 % intervals."


def test_beside_a_teacher_that_is_not_worth_imitating_no_difference_is_drawn(folder):
    facts = read_run(folder)
    found = conclude(facts)
    worse = evolve(found.teacher[0], verdict="worse")
    (every,) = plots(opening.scores(facts, evolve(found, teacher=(worse,))))
    assert every.groups


@pytest.mark.parametrize(
    ("values", "ends"),
    [
        ((0.1, 0.58), (0.0, 1.0)),
        ((0.02, 0.18), (0.0, 0.2)),
        ((0.0, 0.0), (0.0, 0.05)),
        ((0.1, 12.0), None),
        ((-0.5, 0.5), None),
    ],
)
def test_the_axis_is_that_of_shares_or_ends_at_a_round_number(values, ends):
    assert opening.axis_ends(Interval(value=value, low=math.nan, high=value, count=3) for value in values) == ends


def test_a_student_is_told_with_what_it_costs_and_what_to_type(folder):
    facts = read_run(folder)
    section = opening.student(facts, conclude(facts))
    table, *rest = section.blocks
    assert [[cell.text for cell in row.cells] for row in table.groups[0].rows] == [
        ["1.19 M", "4.41 M", "27 %"], ["4.8 MB", "17.7 MB", "27 %"],
    ]  # fmt: skip
    texts = {block.title: block.text for block in rest if isinstance(block, Listing)}
    assert texts["Its folder"] == "runs/oracle-small/student/best"
    assert texts["Generate text with it"] == "kdkit predict runs/oracle-small \\\n  --input rows.jsonl"
    assert texts["The same in Python"] == 'open("runs/oracle-small/student/best")'
    assert texts["Next: give the teacher all the weight"] == (
        "kdkit run runs/oracle-small/recipe.toml \\\n  -o loss.alpha=1 \\\n  --run-dir runs/oracle-small-alpha-1\n"
        "kdkit report runs/oracle-small \\\n  runs/oracle-small-alpha-1"
    )


@pytest.mark.parametrize("folder_name", ["runs/a", "runs/" + "a-very-long-name-" * 5])
def test_a_command_in_lines_is_the_same_command_and_breaks_within_no_word(folder_name):
    command = f"kdkit run {folder_name}/recipe.toml -o loss.alpha=0.5 -o training.seed=3 --run-dir {folder_name}-again"
    told = opening.in_lines(command)
    assert shlex.split(told.replace("\\\n", "")) == command.split()
    assert "-o loss.alpha=0.5" in told, "an option and its value are on one line"
    quoted = "kdkit run 'a b/recipe.toml' -o loss.alpha=0.5 --run-dir 'a b-again'"
    assert opening.in_lines(quoted) == quoted


def test_a_button_copies_a_listing(browser, folder):  # noqa: F811 - the fixture
    with opened(browser, folder / "report.html") as shown:
        box = shown.locator(".listing").first
        box.get_by_role("button").click()
        shown.wait_for_function("() => document.querySelector('.listing button').textContent !== 'Copy'")
        assert box.get_by_role("button").inner_text() in {"Copied", "Marked"}
    with opened(browser, folder / "report.html", javascript=False) as shown:
        assert shown.locator(".listing button").count() == 0


def test_the_first_screen_holds_the_verdict_the_drawing_and_the_commands(browser, folder):  # noqa: F811
    with opened(browser, folder / "report.html") as shown:
        shown.set_viewport_size({"width": 1200, "height": 800})
        for text in ("The teacher is worth imitating", "student minus labels only", "kdkit predict runs/oracle-small"):
            box = shown.get_by_text(text).first.bounding_box()
            assert box["y"] + box["height"] <= 800, text
