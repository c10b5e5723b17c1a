"""The report: what it says, that it is safe, and that it is the same for the same folder."""

from __future__ import annotations

import copy
import json
import math
import os
import re
import shlex
import shutil
import sys

import attrs
import pytest
from attrs import evolve
from click.testing import CliRunner
from documents import charts, items, part, sections, tables
from html_outline import outline
from hypothesis import given
from hypothesis import strategies as st
from run_folders import HOSTILE, RECIPE, without_baselines, write_json, write_lines, write_run_folder
from tiny import recipe_table, run_here

from kdkit.api.values import Cost, Difference, Direction, Example
from kdkit.builtin.metrics.text import Text
from kdkit.cli.report import command
from kdkit.errors import DamagedData, MissingInput
from kdkit.report import run as report
from kdkit.report.closing.run import closing_text
from kdkit.report.comparison import compared
from kdkit.report.numbers import outcomes, pairs
from kdkit.report.numbers.pairs import Pair
from kdkit.report.page import formats, markdown
from kdkit.report.page.document import Remarks
from kdkit.report.page.excerpts import Excerpts
from kdkit.report.page.tables import Table
from kdkit.report.parts import cells, costs, examples
from kdkit.report.read.rows import ScoredRow
from kdkit.report.read.run import read_run
from kdkit.report.run import assemble
from kdkit.report.summary import headline_name, lines, summary
from kdkit.system.wording import visible


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run folder with its report, whose every row is shown. Not to be changed."""
    path = write_run_folder(tmp_path_factory.mktemp("runs") / "oracle-small", rows=60)
    (path / "recipe.toml").write_text(RECIPE.replace("examples = 20", "examples = 60"))
    report.write(path)
    return path


@pytest.fixture(scope="module")
def page_text(folder):
    return (folder / "report.html").read_text(encoding="utf-8")


def test_the_page_is_well_formed_and_its_ids_are_unique(page_text):
    seen = outline(page_text)
    assert page_text.startswith("<!DOCTYPE html>")
    assert seen.tags.count("svg") == 7
    assert len(seen.ids) == len(set(seen.ids))
    assert {reference.removeprefix("#") for reference in seen.references} <= set(seen.ids)


def test_the_page_refers_to_nothing_outside_itself(page_text):
    addresses = set(re.findall(r"https?://[^\s\"'<>)]+", page_text))
    assert addresses <= {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}
    assert all(reference.startswith("#") for reference in outline(page_text).references)
    assert "@import" not in page_text


def test_what_a_model_wrote_is_shown_but_never_taken_for_markup(page_text):
    seen = outline(page_text)
    assert seen.tags.count("script") == 2, "the rows, and the code that shows them"
    assert "<script>alert(1)</script>" in "".join(seen.texts)
    assert "\x1b" not in page_text


def test_names_and_reasons_are_as_harmless_as_texts_of_models(tmp_path):
    folder = write_run_folder(tmp_path / "run", rows=12)
    evil = "<script>\x1b\x00\ud800`"
    for name in ("run.json", "data/report.json", "evaluation.json"):
        text = (folder / name).read_text().replace("oracle-small", "EVIL").replace("it has no target", "EVIL")
        text = text.replace('"exact_match"', '"EVIL"').replace('"assertions"', '"EVIL"').replace("Linux", "EVIL")
        (folder / name).write_text(text.replace("EVIL", json.dumps(evil)[1:-1]))
    report.write(folder)
    for name in ("report.html", "report.md"):
        text = (folder / name).read_text(encoding="utf-8")
        assert "\x1b" not in text
        assert "\x00" not in text
    seen = outline((folder / "report.html").read_text(encoding="utf-8"))
    assert seen.tags.count("script") == 2
    assert "".join(seen.texts).count("<script>\u241b\u2400?`") >= 5
    assert "\x1b" not in closing_text(folder)


def test_the_markdown_shows_what_a_model_wrote_inside_a_fence(folder):
    text = (folder / "report.md").read_text(encoding="utf-8")
    assert f"\n`````\n{visible(HOSTILE)}\n`````\n" in text
    outside, fence = [], None
    for line in text.split("\n"):
        ticks = re.match(r"`{3,}", line)
        if fence is None and ticks:
            fence = ticks.group()
        elif fence is not None and line == fence:
            fence = None
        elif fence is None:
            outside.append(line)
    assert fence is None
    assert not any("<script" in line for line in outside)


@given(st.text())
def test_a_fence_is_longer_than_any_run_of_backticks_in_it(text):
    fence, *_, last = markdown.fenced(text).split("\n")
    assert set(fence) == {"`"}
    assert last == fence
    assert fence not in text


@given(st.text())
def test_plain_text_in_markdown_has_no_live_markup(text):
    shown = markdown.plain(text)
    assert "\n" not in shown
    assert "<" not in shown
    assert not re.search(r"(?<!\\)(\\\\)*[`*_\[\]|]", shown)


@given(st.text(st.characters(codec=None)))
def test_visible_text_can_be_written_anywhere(text):
    shown = visible(text)
    shown.encode("utf-8")
    assert not any(ord(character) < 32 and character not in "\n\t" for character in shown)


@given(st.text(), st.integers(10, 50))
def test_a_shortened_text_keeps_its_ends(text, limit):
    shown = formats.shortened(text, limit)
    if len(text) <= limit:
        assert shown == text
    else:
        assert text.startswith(shown.split("\n[... ")[0])
        assert text.endswith(shown.split(" left out ...]\n")[-1])


def test_the_same_folder_gives_the_same_bytes(folder, tmp_path):
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy)
    for name in ("report.html", "report.md"):
        (copy / name).unlink()
    report.write(copy)
    for name in ("report.html", "report.md"):
        assert (copy / name).read_bytes() == (folder / name).read_bytes()


def test_the_report_stage_own_record_does_not_change_the_report(folder, tmp_path):
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy)
    run = json.loads((copy / "run.json").read_text())
    del run["stages"]["report"]
    write_json(copy / "run.json", run | {"status": "running", "finished": None})
    report.write(copy)
    assert (copy / "report.html").read_bytes() == (folder / "report.html").read_bytes()


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ("metrics.jsonl", "no metrics.jsonl"),
        ("evaluation.json", "The evaluation is left out"),
        ("data/report.json", "The account of the data is left out"),
        ("data/test.jsonl", "no data/test.jsonl"),
        ("predictions/teacher.jsonl", "no predictions/teacher.jsonl"),
        ("predictions/student.jsonl", "no predictions/student.jsonl"),
        ("run.json", "The record of the run is left out"),
        ("recipe.toml", "The recipe is left out"),
    ],
)
def test_a_missing_part_is_left_out_and_named(tmp_path, part, said):
    folder = write_run_folder(tmp_path / "run", rows=12)
    (folder / part).unlink()
    report.write(folder)
    for name in ("report.html", "report.md"):
        assert said in (folder / name).read_text(encoding="utf-8").replace("\\", "")
    outline((folder / "report.html").read_text(encoding="utf-8"))
    assert closing_text(folder)


def test_a_recipe_alone_gives_a_report_that_says_what_is_not_there(tmp_path):
    (tmp_path / "recipe.toml").write_text('name = "bare"\n')
    report.write(tmp_path)
    text = (tmp_path / "report.md").read_text()
    assert text.startswith("# bare\n\n**This run has no score of its student yet.**\n")
    assert f"- run folder: {tmp_path.name}\n" in text.replace("\\", "")
    assert text.count("is left out") + text.count("are left out") == 5


def test_a_folder_that_is_no_run_folder_is_refused(tmp_path):
    with pytest.raises(MissingInput, match="is not a run folder"):
        read_run(tmp_path)


@pytest.mark.parametrize("part", ["run.json", "evaluation.json", "recipe.toml", "predictions/student.jsonl"])
def test_a_damaged_part_is_an_error_that_names_the_file(tmp_path, part):
    folder = write_run_folder(tmp_path / "run", rows=12)
    (folder / part).write_text('{"half": \n')
    with pytest.raises(DamagedData, match=re.escape(str(folder / part))):
        read_run(folder)


def test_half_a_last_line_of_the_metrics_is_left_out(tmp_path):
    folder = write_run_folder(tmp_path / "run", rows=12)
    whole = read_run(folder).metrics
    with (folder / "metrics.jsonl").open("a") as lines:
        lines.write('{"stage": "stu')
    facts = read_run(folder)
    assert facts.metrics == whole
    assert any("ends in the middle" in sentence for sentence in facts.missing)


def test_an_unfinished_stage_is_named(tmp_path):
    folder = write_run_folder(tmp_path / "run", rows=12)
    run = json.loads((folder / "run.json").read_text())
    run["stages"]["evaluate"]["status"] = "running"
    del run["stages"]["distill"]
    write_json(folder / "run.json", run)
    missing = read_run(folder).missing
    assert 'Stage "evaluate" is not finished (its process ended before).' in missing
    assert 'Stage "distill" is not finished (not begun).' in missing


def test_a_step_that_was_taken_again_counts_once_with_its_later_line(tmp_path):
    folder = write_run_folder(tmp_path / "run", rows=12)
    line = {"stage": "student", "kind": "train", "step": 1, "epoch": 0.1, "loss": 1.0, "hard": 0.5, "soft": 2.0}
    write_lines(folder / "metrics.jsonl", [line, line | {"step": 2, "epoch": 0.2}, line | {"loss": 9.0}])
    (total,) = [
        curve for curve in charts(assemble(read_run(folder)), "training") if curve.title == "Student: total loss"
    ]
    assert total.training == ((0.1, 9.0), (0.2, 1.0))


def test_a_validation_stands_at_the_step_where_its_epoch_ended(tmp_path):
    folder = write_run_folder(tmp_path / "run", rows=12)
    train = {"stage": "student", "kind": "train", "loss": 1.0, "hard": 0.5, "soft": 2.0}
    validation = train | {"kind": "validation", "text.f1": 0.2, "best": True}
    write_lines(
        folder / "metrics.jsonl",
        [
            train | {"step": 7, "epoch": 0.7},
            validation | {"step": 10, "epoch": 1},
            train | {"step": 13, "epoch": 1.3},  # where training.max_steps ended the second epoch
            validation | {"step": 13, "epoch": 2},
        ],
    )
    page = assemble(read_run(folder))
    (total,) = [curve for curve in charts(page, "training") if curve.title == "Student: total loss"]
    assert [x for x, _ in total.training] == [0.7, 1.3]
    assert [x for x, _ in total.validation] == [1, 1.3]
    assert total.best_x == 1.3
    ((first, last),) = [group.rows for table in tables(page, "training") for group in table.groups]
    assert [(first.label, first.note), (last.label, last.note)] == [("epoch 1", ""), ("epoch 1.3", "best")]


def test_an_epoch_ends_where_it_ends_however_many_steps_the_others_take(tmp_path):
    folder = write_run_folder(tmp_path / "run", rows=12)
    train = {"stage": "student", "kind": "train", "loss": 1.0, "hard": 0.5, "soft": 2.0}
    lines = [train | {"step": 10, "epoch": 1.0}, train | {"step": 22, "epoch": 2.0}]
    ends = [train | {"kind": "validation", "step": step, "epoch": epoch} for step, epoch in ((10, 1), (22, 2))]
    write_lines(folder / "metrics.jsonl", [lines[0], ends[0], lines[1], ends[1]])
    (total,) = [
        curve for curve in charts(assemble(read_run(folder)), "training") if curve.title == "Student: total loss"
    ]
    assert [x for x, _ in total.validation] == [1, 2]


def test_padding_is_a_mean_over_steps_and_a_budget_hides_what_it_replaces(tmp_path):
    folder = write_run_folder(tmp_path / "run", rows=12)
    train = {"stage": "student", "kind": "train", "epoch": 1.0, "loss": 1.0, "hard": 0.5, "soft": 2.0}
    write_lines(folder / "metrics.jsonl", [train | {"step": 30, "padding": 0.1}, train | {"step": 40, "padding": 0.3}])

    def told(training: str) -> dict[str, dict[str, str]]:
        (folder / "recipe.toml").write_text(RECIPE.replace("[training]\n", f"[training]\n{training}\n"))
        return {title: items(blocks) for title, blocks in sections(assemble(read_run(folder))).items()}

    student = told("batch_tokens = 0")["Training of the student"]
    assert (student["padding"], student["batch_size"]) == ("15 %", "32")
    assert "batch_tokens" not in student
    student = told("batch_tokens = 4096")["Training of the student"]
    assert (student["padding"], student["batch_tokens"]) == ("15 %", "4,096")
    assert "batch_size" not in student
    assert "padding" not in told("")["Fine-tuning of the teacher"], "its lines tell of none"


def test_where_a_run_of_before_decided_on_no_headline_the_metric_that_picks_the_best_epoch_leads(tmp_path):
    folder = write_run_folder(tmp_path / "run", rows=200)
    evaluation = json.loads((folder / "evaluation.json").read_text())
    del evaluation["headline"]
    write_json(folder / "evaluation.json", evaluation)
    (folder / "recipe.toml").write_text(RECIPE.replace('best_by = "text.f1"', 'best_by = "assertions.recall"'))
    facts = read_run(folder)
    first = pairs.pairs(facts, against="truth")[0]
    assert (first.suite, first.metric) == ("assertions", "recall")
    assert "Recall 0.266" in assemble(facts).verdict.support
    (folder / "recipe.toml").write_text(RECIPE.replace('best_by = "text.f1"', 'best_by = "loss"'))
    chosen = pairs.headline(read_run(folder))
    assert (chosen.suite, chosen.metric) == ("text", "f1")


def test_the_headline_that_the_run_decided_on_leads_everywhere(tmp_path):
    folder = write_run_folder(tmp_path / "run", rows=200)
    evaluation = json.loads((folder / "evaluation.json").read_text())
    write_json(folder / "evaluation.json", evaluation | {"headline": "text.exact_match"})
    facts = read_run(folder)
    assert (pairs.headline(facts).suite, pairs.headline(facts).metric) == ("text", "exact_match")
    assert pairs.pairs(facts, against="truth")[0].metric == "exact_match"
    assert summary(folder)["headline"] == "text.exact_match"
    stats = compared([folder])
    assert headline_name(stats) == "text.exact_match"
    assert lines(stats)[0][2] == "exact match"


def test_a_score_of_tokens_against_the_teacher_may_be_the_headline(tmp_path):
    folder = write_run_folder(tmp_path / "run", rows=200)
    evaluation = json.loads((folder / "evaluation.json").read_text())
    write_json(folder / "evaluation.json", evaluation | {"headline": "tokens.agreement"})
    pair = pairs.headline(read_run(folder))
    assert (pair.suite, pair.metric, pair.against) == ("tokens", "agreement", "teacher")
    assert summary(folder)["headline"] == "tokens.agreement"
    assert "ame token as the teacher" in assemble(read_run(folder)).verdict.support
    assert headline_name(compared([folder])) == "tokens.agreement"


@pytest.mark.parametrize("value", [0.0, 1.0, -0.5, 1234.5, None])
def test_scores_and_curves_of_a_single_value_are_drawn(tmp_path, value):
    folder = write_run_folder(tmp_path / "run", rows=12)
    evaluation = json.loads((folder / "evaluation.json").read_text())
    for entry in evaluation["scores"]:
        entry |= {"value": value, "low": value, "high": value}
    write_json(folder / "evaluation.json", evaluation)
    line = {"stage": "student", "kind": "validation", "step": 1, "loss": value, "hard": None, "best": True}
    write_lines(folder / "metrics.jsonl", [line])
    report.write(folder)
    text = (folder / "report.html").read_text(encoding="utf-8")
    outline(text)
    assert ("Student: loss" in text) is (value is not None)
    assert "nan" not in text.split('<h2 id="examples">')[0].lower()


def test_losses_say_whether_they_are_means_over_batches(tmp_path):
    folder = write_run_folder(tmp_path / "run", rows=12)
    (tokens,) = [
        group.note
        for table in tables(assemble(read_run(folder)), "scores")
        for group in table.groups
        if group.title == "Loss" and group.note
    ]
    assert tokens == "nats per token, lower is better"
    (folder / "recipe.toml").write_text(RECIPE.replace("bootstrap = 1000", 'bootstrap = 1000\nloss_mean = "batches"'))
    (batches,) = [
        group.note
        for table in tables(assemble(read_run(folder)), "scores")
        for group in table.groups
        if group.title == "Loss" and group.note
    ]
    assert batches == f"{tokens}; means and intervals over batches of 32 rows"


def test_parts_of_the_rows_stand_in_folded_tables(folder):
    found = [table for table in tables(assemble(read_run(folder)), "scores") if "calibration" not in table.title]
    for table in found:
        labels = [row.label for group in table.groups for row in group.rows]
        assert all(("/" in label) is table.title.startswith("By part") for label in labels)
    assert [table.title for table in found if table.folded] == [
        "7 more, within noise",
        "By part of the rows, against the ground truth", "By part of the rows, against the teacher",
    ]  # fmt: skip


def cost(parameters, seconds, spread=0.1, beams=4):
    return Cost(
        parameters=parameters, bytes_on_disk=4 * parameters, seconds_per_sample=seconds,
        seconds_low=seconds * (1 - spread), seconds_high=seconds * (1 + spread), batch_size=4, beams=beams,
    )  # fmt: skip


def apart(value, half, than, direction="higher"):
    ends = {"low": value - half, "high": value + half}
    return Difference(
        suite="text", metric="f1", value=value, count=60, than=than, direction=Direction(direction), **ends
    )


@pytest.mark.parametrize("run_dir", ["runs/quickstart", "runs/my first run", "it's", "/tmp/x/run"])
def test_the_command_that_repeats_a_run_works_where_the_run_was_started(folder, run_dir):
    facts = read_run(folder)
    words = the_command(evolve(facts, run={**facts.run, "run_dir": run_dir}))
    assert words == ["kdkit", "run", f"{run_dir}/recipe.toml", "--run-dir", f"{run_dir}-again"]


def test_of_a_run_in_the_working_folder_the_command_writes_beside_it(folder):
    facts = read_run(folder)
    words = the_command(evolve(facts, run={**facts.run, "run_dir": "."}))
    assert words == ["kdkit", "run", "recipe.toml", "--run-dir", f"../{facts.folder}-again"]


def test_a_run_that_does_not_know_where_it_was_started_is_repeated_from_beside_it(folder):
    facts = read_run(folder)
    old = {key: value for key, value in facts.run.items() if key != "run_dir"}
    assert the_command(evolve(facts, run=old))[2] == f"{facts.folder}/recipe.toml"


def the_command(facts):
    """The words of the command that repeats a run, as a shell reads them."""
    blocks = [block for part in assemble(facts).parts for block in part.blocks]
    return shlex.split(next(block.text for block in blocks if getattr(block, "title", "") == "The command"))


@given(st.floats(-1, 1), st.floats(0, 0.5), st.sampled_from(["higher", "lower"]))
def test_nothing_is_called_better_or_worse_that_is_within_noise(value, half, direction):
    difference = apart(value, half, "teacher", direction)
    pair = Pair(suite="text", metric="f1", against="truth", teacher=None, student=None, difference=difference)
    cell = cells.difference_cell(difference)
    assert pair.within_noise == (cell.verdict == "within noise") == (value - half <= 0 <= value + half)
    if not pair.within_noise:
        assert (cell.verdict == "better") is ((value > 0) is (direction == "higher"))


def test_a_metric_of_which_neither_more_nor_less_is_better_gets_no_verdict():
    assert cells.difference_cell(apart(1.0, 0.1, "teacher", "neither")).verdict == ""


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        (12.0, 10.0, "12.0 tokens against 10.0, 20 % more), and each token takes its time: 83 ms a token, the teacher's 100 ms."),
        (10.4, 10.0, ""),
        (8.0, 10.0, ""),
        (None, 10.0, ""),
    ],
)  # fmt: skip
def test_longer_texts_are_named_where_they_take_the_time(ours, theirs, said):
    teacher, student = (evolve(cost(1000, 1.0), tokens_per_sample=tokens) for tokens in (theirs, ours))
    found = costs.longer(teacher, student)
    assert found.endswith(said) if said else found == ""


@given(st.floats(0, 1, exclude_min=True, exclude_max=True))
def test_a_share_that_is_neither_all_nor_nothing_is_never_shown_as_such(share):
    shown = formats.percent(share)
    if share * 100 not in {0, 100}:  # what no float can tell from all or nothing is shown as that
        assert shown not in {"0 %", "100 %", "0.00 %", "100.00 %"}


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (formats.metric(0.3), "0.300"),
        (formats.metric(-0.0001), "0.000"),
        (formats.metric(1.5), "1.500"),
        (formats.metric(10.04), "10.040"),
        (formats.metric(1.234e18), "1.23e18"),
        (formats.metric(math.nan), formats.NONE),
        (formats.parameters(60_492_288), "60.5 M"),
        (formats.parameters(999_999), "1.00 M"),
        (formats.size(1), "1 byte"),
        (formats.size(512), "512 bytes"),
        (formats.size(999_949), "999.9 KB"),
        (formats.size(999_950), "1.0 MB"),
        (formats.size(241_972_736), "242.0 MB"),
        (formats.size(None), formats.NONE),
        (formats.duration(0.00042), "0.42 ms"),
        (formats.duration(0.0009), "0.90 ms"),
        (formats.duration(0.343), "343 ms"),
        (formats.duration(0.9999), "1.0 s"),
        (formats.duration(59.97), "1 min 00 s"),
        (formats.duration(11619), "3 h 14 min"),
        (formats.percent(0.0041), "0.4 %"),
        (formats.percent(1.0041), "100.4 %"),
        (formats.percent(1.00001), "100.1 %"),
        (formats.percent(2.342), "234 %"),
        (formats.percent(None), formats.NONE),
    ],
)
def test_numbers_are_written_for_readers(shown, text):
    assert shown == text


OUTCOMES = st.lists(st.tuples(st.booleans(), st.sampled_from([None, True, False])), max_size=40)


def rows_of(outcomes):
    return [
        ScoredRow(
            id=f"row-{index}",
            source="s",
            truth="right",
            teacher=None if teacher is None else "right" if teacher else "wrong",
            student="right " if student else "wrong",
        )
        for index, (student, teacher) in enumerate(outcomes)
    ]


@given(st.text(alphabet="a \t\r\n'=", max_size=6), st.text(alphabet="a \t\r\n'=", max_size=6))
def test_right_in_the_report_is_what_the_text_suite_calls_an_exact_match(one, other):
    example = Example(id="row", source="", target=other)
    (matches,) = Text().score([one], [other], [example])["exact_match"]
    assert outcomes.same(one, other) is bool(matches)
    row = ScoredRow(id="row", source="", truth=other, teacher=None, student=one)
    assert (outcomes.kind_of(row) == outcomes.ALONE_RIGHT) is bool(matches)


def test_white_space_inside_a_string_literal_makes_a_text_wrong():
    assert not outcomes.same("== 'a b'", "== 'a  b'")
    assert outcomes.same("== 'a b'\r\n", " == 'a b'")


@given(OUTCOMES, st.integers(0, 20), st.integers(0, 3))
def test_every_kind_of_outcome_is_shown_alike_as_far_as_there_are_rows(outcomes, amount, seed):
    spread = examples.pick(rows_of(outcomes), amount=amount, seed=seed)
    assert len(spread.shown) == min(amount, len(outcomes)) == sum(shown for _, _, shown in spread.kinds)
    most = max((shown for _, _, shown in spread.kinds), default=0)
    assert all(shown == there or shown >= most - 1 for _, there, shown in spread.kinds)


@given(OUTCOMES, st.integers(0, 20), st.randoms(use_true_random=False))
def test_the_choice_of_examples_does_not_hang_on_the_order_of_rows(outcomes, amount, random):
    rows = rows_of(outcomes)
    mixed = rows[:]
    random.shuffle(mixed)
    assert examples.pick(rows, amount=amount, seed=1) == examples.pick(mixed, amount=amount, seed=1)


def test_a_run_of_an_older_version_reads_as_it_did(tmp_path):
    folder = without_baselines(write_run_folder(tmp_path / "run", rows=60))
    page = assemble(read_run(folder))
    assert page.warnings == ()
    compared, apart, *_ = tables(page, "scores")
    assert compared.columns == ("", "student", "teacher", "retention")
    assert apart.columns == ("", "student minus teacher")
    assert not any("Calibration" in chart.title for chart in charts(page, "scores"))
    assert "labels" not in page.verdict.text + page.verdict.detail


def test_the_command_writes_the_report_anew_and_prints_the_table(folder, tmp_path):
    copy = tmp_path / folder.name
    shutil.copytree(folder, copy)
    (copy / "report.html").unlink()
    result = CliRunner().invoke(command, [str(copy)])
    assert result.exit_code == 0, result.output
    assert result.stdout == closing_text(copy)
    assert (copy / "report.html").read_bytes() == (folder / "report.html").read_bytes()


def test_a_colleague_s_folder_is_printed_and_not_written_in(folder, tmp_path, monkeypatch):
    copy = shutil.copytree(folder, tmp_path / "copy")
    for name in ("report.html", "report.md"):
        (copy / name).unlink(missing_ok=True)
    shown = CliRunner().invoke(command, [str(copy)]).stdout
    (copy / "report.html").unlink()
    (copy / "report.md").unlink()
    # As os.access has it of a folder with the mode 0555, or on a disk that is mounted to be read only.
    monkeypatch.setattr("os.access", lambda path, mode: mode != os.W_OK)
    result = CliRunner().invoke(command, [str(copy)], catch_exceptions=False)
    assert (result.exit_code, result.stdout) == (0, shown)
    assert "were not written, since" in result.stderr
    assert not (copy / "report.html").exists()


def test_the_command_prints_json_alone_when_asked(folder):
    result = CliRunner().invoke(command, [str(folder), "--json"])
    summary = json.loads(result.stdout)
    assert summary["verdict"].startswith("The teacher")
    row = next(row for row in summary["rows"] if row["metric"] == "exact_match" and row["against"] == "truth")
    assert row["retention"] == pytest.approx(0.263 / 0.342)
    assert row["within_noise"] is True


def test_the_summary_has_every_models_numbers(folder):
    found = summary(folder)
    row = next(row for row in found["rows"] if (row["suite"], row["metric"], row["against"]) == ("text", "f1", "truth"))
    assert {model: score["value"] for model, score in row["scores"].items()} == {
        "teacher": 0.471, "student": 0.352, "labels-only": 0.301, "untouched": 0.0, "constant": 0.102,
        "nearest": pytest.approx(0.1428),
    }  # fmt: skip
    assert row["student_minus_labels_only"]["value"] == pytest.approx(0.051)
    assert row["student_minus_labels_only"]["within_noise"] is True
    assert row["student_minus_teacher"]["low"] < row["student_minus_teacher"]["value"] < 0
    assert found["costs"]["student"]["latency"] == 0.041
    assert len(found["calibration"]["student"]) == 12
    json.dumps(found, allow_nan=False)


def test_nothing_heavy_is_imported_before_a_report_is_drawn():
    import subprocess
    import sys

    code = (
        "import kdkit.cli.report, kdkit.pipeline.stages.report, sys; "
        "print(sorted({'torch', 'matplotlib', 'jinja2', 'numpy'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.fixture(scope="module")
def real_folder(tmp_path_factory):
    """The folder of a real run, of a tiny model on rows of which one is broken. Not to be changed."""
    folder = tmp_path_factory.mktemp("real")
    recipe_table(folder, test=12)  # writes the data files
    with (folder / "train.jsonl").open("a") as lines:
        lines.write('{"text": "no answer"}\n')
    run_here(folder, test=12, data__skip_broken=True, evaluation__baselines=True)
    return folder / "runs" / "tiny"


def keys(value, path=""):
    """Where in a JSON document something stands; items of a list are one place."""
    if isinstance(value, dict):
        return {f"{path}.{key}" for key in value}.union(*(keys(below, f"{path}.{key}") for key, below in value.items()))
    if isinstance(value, list):
        return set().union(*(keys(item, f"{path}[]") for item in value))
    return set()


@pytest.mark.parametrize("name", ["data/report.json", "evaluation.json"])
def test_the_invented_folder_has_the_keys_of_a_real_one(folder, real_folder, name):
    invented, real = (json.loads((place / name).read_text()) for place in (folder, real_folder))
    assert keys(invented) == keys(real)


def test_the_invented_record_has_no_keys_that_a_real_one_has_not(folder, real_folder):
    invented, real = (json.loads((place / "run.json").read_text()) for place in (folder, real_folder))
    assert invented.keys() == real.keys()
    assert invented["stages"].keys() == real["stages"].keys()
    del invented["plugins"]["kdkit-assertions"]  # which need not be installed
    assert keys(invented) <= keys(real)  # a stage may note more than a report reads


def test_the_invented_losses_are_those_of_a_real_run(folder, real_folder):
    def losses(place):
        scores = json.loads((place / "evaluation.json").read_text())["scores"]
        return {(each["model"], each["against"], each["metric"]) for each in scores if each["suite"] == "loss"}

    assert losses(folder) == losses(real_folder)


@pytest.mark.parametrize("name", ["metrics.jsonl", "predictions/student.jsonl", "predictions/teacher.jsonl"])
def test_the_invented_lines_have_the_keys_of_real_ones(folder, real_folder, name):
    def kinds(place):
        lines = [json.loads(line) for line in (place / name).read_text().splitlines()]
        return {
            (line.get("stage"), line.get("kind"), key, type(value))
            for line in lines
            for key, value in line.items()
            if not key.startswith("text.") and key not in {"id", "text", "is_cut"}
        }

    assert kinds(folder) == kinds(real_folder)


def test_what_was_said_before_training_stands_under_the_scores(folder):
    facts = read_run(folder)
    stages = copy.deepcopy(facts.run["stages"])
    stages["check"]["facts"]["doubts"] = ["generation.max_new_tokens is 8"]
    page = assemble(attrs.evolve(facts, run={**facts.run, "stages": stages}))
    keys = [each.key for each in page.parts]
    assert keys[keys.index("scores") + 1] == "teaching"
    unknown, limit = part(page, "teaching").blocks
    assert unknown == "2.10% of the tokens of targets are the unknown token: the tokenizer does not know that text."
    assert limit == "generation.max_new_tokens is 8."


def test_every_section_of_a_real_run_is_filled(real_folder):
    facts = read_run(real_folder)
    page = assemble(facts)
    assert page.warnings == ()
    assert page.verdict.sentence.startswith("The teacher is not worth imitating")  # on twelve rows
    assert part(page, "examples").each(Excerpts)[0].shown
    told = sections(page)
    assert list(told) == [
        "Data", "Teacher", "Fine-tuning of the teacher", "Student", "Training of the student", "Evaluation",
        "Logit cache", "Time by stage", "Versions", "Where it came from",
    ]  # fmt: skip
    found = [*tables(page, "scores"), *tables(page, "training")]
    for blocks in told.values():
        assert items(blocks) or any(isinstance(block, Table) for block in blocks)
        found += [block for block in blocks if isinstance(block, Table)]
    for table in found:
        rows = [row for group in table.groups for row in group.rows]
        assert rows, table.title
        assert all(len(row.cells) == len(table.columns) - 1 for row in rows)

    rows, lengths, written = (block for block in told["Data"] if isinstance(block, Table))
    assert [row.label for row in written.groups[0].rows] == ["train", "validation", "test"]
    assert [cell.text for cell in written.groups[0].rows[0].cells] == ["0", "0", "0", "0 %", "0 %"]
    assert [(row.label, *(cell.text for cell in row.cells)) for row in rows.groups[0].rows] == [
        ("train", "40", formats.NONE, formats.NONE), ("validation", "10", "100 %", "0"), ("test", "12", "100 %", "5"),
    ]  # fmt: skip
    said = json.loads((real_folder / "data" / "report.json").read_text())["lengths"]
    shown = {
        (group.title, row.label): [cell.text for cell in row.cells] for group in lengths.groups for row in group.rows
    }
    assert shown == {
        (split, side): [f"{said[split][side][key]:.0f}" for key in ("median", "p90", "max", "at_limit")]
        for split in ("train", "validation", "test")
        for side in ("source", "target")
    }
    ((drop,),) = (block.sentences for block in told["Data"] if isinstance(block, Remarks))
    assert drop.startswith("1 row dropped because ")
    assert "train.jsonl:41" in drop

    cache = items(told["Logit cache"])
    assert re.fullmatch(r"[\d.]+ KB", cache["size"])
    assert int(cache["records"]) > 0
    (times,) = told["Time by stage"]
    assert [row.label for row in times.groups[0].rows] == [
        "data", "check", "teacher", "capture", "distill", "baseline", "evaluate", "together",
    ]  # fmt: skip
    assert {"python", "kdkit", "torch", "transformers", "device"} <= items(told["Versions"]).keys()
    assert items(told["Evaluation"])["suites"] == "text"

    curves = {curve.title: curve for curve in charts(page, "training")}
    assert list(curves) == [
        "Teacher: loss", "Student: total loss", "Student: hard loss", "Student: soft loss",
        "Student: text.f1 on validation",
    ]  # fmt: skip
    for curve in curves.values():
        assert curve.x_label == "epoch"
        assert [x for x, _ in curve.validation] == [1, 2]
        assert curve.best_x in {1, 2}
        if curve.y_label == "nats per token":
            assert [x for x, _ in curve.training] == [step / 5 for step in range(1, 11)]
    outline((real_folder / "report.html").read_text(encoding="utf-8"))


def test_links_in_a_stranger_s_folder_lead_the_report_to_no_other_file(tmp_path):
    folder = write_run_folder(tmp_path / "strange", rows=12)
    kept = tmp_path / "kept.txt"
    kept.write_text("years of work")
    for name in ("report.html", "report.md", ".report.html.tmp", ".report.md.tmp"):
        (folder / name).symlink_to(kept)
    done = CliRunner().invoke(command, [str(folder)])
    assert done.exit_code == 0, done.output
    assert kept.read_text() == "years of work"
    assert (folder / "report.html").read_text().startswith("<!DOCTYPE html>")


def test_of_very_many_lines_of_training_some_are_drawn(tmp_path, monkeypatch):
    folder = write_run_folder(tmp_path / "run", rows=12)
    whole = read_run(folder).metrics
    monkeypatch.setattr(sys.modules["kdkit.report.read.run"], "_MOST_LINES", 50)
    facts = read_run(folder)
    kinds = [line["kind"] for line in facts.metrics]
    assert kinds.count("validation") == [line["kind"] for line in whole].count("validation")
    assert len(facts.metrics) < len(whole) / 2
    assert "Of each 4 lines of training in metrics.jsonl one is drawn, for there are very many." in facts.missing


def test_metrics_that_are_equal_for_every_model_are_one_row(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    found = json.loads((copy / "evaluation.json").read_text())
    exact = {
        each["model"]: each
        for each in found["scores"]
        if (each["suite"], each["metric"], each["against"]) == ("text", "exact_match", "truth")
    }
    for each in found["scores"]:
        if each["suite"] == "assertions" and each["metric"] in {"precision", "f1"} and each["against"] == "truth":
            each.update({key: exact[each["model"]][key] for key in ("value", "low", "high", "count")})
    write_json(copy / "evaluation.json", found)
    for table in tables(assemble(read_run(copy)), "scores")[:1]:
        rows = {row.label: (group.title, row.note) for group in table.groups for row in group.rows}
        assert rows["Exact match, precision, F1"] == ("Suite text", "also of suite assertions")
        assert rows["Recall"] == ("Suite assertions", "")


def test_differences_outside_noise_are_listed_and_the_rest_are_folded(folder):
    apart = [table for table in tables(assemble(read_run(folder)), "scores") if "noise" in table.title]
    assert [table.folded for table in apart] == [False, True]
    for table in apart:
        for row in (row for group in table.groups for row in group.rows):
            outside = any(cell.text != formats.NONE and cell.verdict != "within noise" for cell in row.cells)
            assert outside is not table.folded, row.label
