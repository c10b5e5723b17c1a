"""The texts of a report: their differences, and the rows that its page carries."""

from __future__ import annotations

import base64
import hashlib
import json
import re

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from run_folders import RECIPE, write_run_folder

from kdkit.report import run as report
from kdkit.report.numbers import outcomes
from kdkit.report.page import html, textdiff
from kdkit.report.parts import row_browser
from kdkit.report.read.rows import ScoredRow
from kdkit.report.read.run import read_run
from kdkit.system.wording import visible

TEXTS = st.text(st.sampled_from("ab1_ =!()\n\t<>\u00e9\U0001f600"), max_size=30) | st.text(max_size=20)

ROWS = st.builds(
    ScoredRow,
    id=st.just(""),
    source=TEXTS,
    truth=TEXTS,
    teacher=TEXTS | st.none(),
    student=TEXTS,
    labels_only=TEXTS | st.none(),
    kinds=st.lists(st.sampled_from(["equals", "raises"]), unique=True).map(tuple),
    answerable=st.booleans() | st.none(),
)


@given(TEXTS, TEXTS)
def test_pieces_are_both_texts_and_nothing_else(old, new):
    found = textdiff.pieces(old, new)
    assert len(found) % 3 == 1
    assert "".join(piece for place, piece in enumerate(found) if place % 3 != 2) == old
    assert "".join(piece for place, piece in enumerate(found) if place % 3 != 1) == new
    if old == new:
        assert found == [old]
    assert all(gone or added for gone, added in zip(found[1::3], found[2::3], strict=True))


@given(st.text(st.characters(codec=None)))
def test_json_in_the_page_is_read_as_it_was_written_and_ends_no_element(text):
    written = row_browser.safe_json({"text": text})
    assert json.loads(written) == {"text": text}
    assert not set(written) & set("<>&\u2028\u2029\r\n\x00\x7f")
    assert visible(written) == written, "what makes a page harmless leaves it alone"
    written.encode("utf-8")


@settings(max_examples=50)
@given(st.lists(ROWS, max_size=6), st.integers(0, 8), st.integers(0, 4000))
def test_the_rows_of_a_page_keep_to_their_limits_and_are_counted(drawn, most, budget):
    rows = [evolve(row, id=f"row-{place}") for place, row in enumerate(drawn)]
    data = row_browser.collect(rows, seed=1, most=most, budget=budget)
    listed = json.loads(data.json)["rows"]
    assert len(listed) == data.shown <= min(most, len(rows))
    assert data.total == len(rows)
    assert sum(len(row_browser.safe_json(row).encode()) for row in listed) <= budget
    assert data.note.startswith(("All ", f"{data.shown:,} of {data.total:,} "))
    right = {row.id: outcomes.same(row.student, row.truth) for row in rows}
    place = [model for model, _ in data.models].index("student") if listed else 0
    assert all(row["texts"][place]["r"] is right[row["id"]] for row in listed)


def test_a_recipe_that_wants_no_examples_has_no_texts_in_its_report(tmp_path):
    folder = write_run_folder(tmp_path / "run", rows=12)
    (folder / "recipe.toml").write_text(RECIPE.replace("examples = 20", "examples = 0"))
    report.write(folder)
    for name in ("report.html", "report.md"):
        assert "test_case_0" not in (folder / name).read_text(encoding="utf-8")


def test_the_policy_of_the_page_allows_its_own_script_and_no_other(tmp_path):
    page_text = html.render(report.assemble(read_run(write_run_folder(tmp_path / "run", rows=12))))
    (code,) = re.findall(r"<script>(.*?)</script>", page_text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page_text)
    rules = dict(rule.split(" ", 1) for rule in policy.replace("&#39;", "'").split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["script-src"] == f"'sha256-{digest}'"
    assert rules["img-src"] == "data:"
    assert rules.keys() == {"default-src", "img-src", "script-src", "style-src", "base-uri", "form-action"}


def test_a_page_for_many_rows_stays_small(tmp_path):
    rows = [
        ScoredRow(id=f"{place:05}", source="x" * 5000, truth="== 1", teacher="== 1", student="== 2")
        for place in range(3000)
    ]
    data = row_browser.collect(rows, seed=0)
    assert len(data.json.encode()) <= row_browser.BYTES + 5 * row_browser.ROWS
    assert data.shown < data.total == 3000
    assert data.note.startswith(f"{data.shown:,} of 3,000 held-out rows")
