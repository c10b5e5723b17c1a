"""What all pages share: dots on an axis, choices that need no script, tables on screens and on paper."""

from __future__ import annotations

import math
import re
from itertools import pairwise

import attrs
import pytest
from browser_kit import browser, contrast, faults, opened, overflow
from html_outline import outline
from hypothesis import assume, given
from hypothesis import strategies as st

from kdkit.api.values import Interval
from kdkit.report.page import html, markdown
from kdkit.report.page.charts.bars import Bars
from kdkit.report.page.document import Choice, Document, Part, Verdict
from kdkit.report.page.dotplot import Dot, DotPlot, round_numbers
from kdkit.report.page.tables import Cell, Row, Table

__all__ = ["browser"]  # a fixture
finite = st.floats(-1e6, 1e6)


def interval(value, half=math.nan):
    return Interval(value=value, low=value - half, high=value + half, count=9)


def plot(*values, sides=None):
    dots = (Dot(label=f"row {place}", at=interval(value, 0.1), tone="better") for place, value in enumerate(values))
    return DotPlot.of("F1", *dots, sides=sides)


WIDE = Table.of(
    ("", *(f"metric {place}" for place in range(15))),
    [
        Row(label=f"alpha .{row}, temperature {row}", cells=tuple(Cell(f"{place}.125", "-1.123 to +2.345") for place in range(15)))
        for row in range(4)
    ],
    title="All of it",
    note="In small print the interval.",
)  # fmt: skip
CHOICE = Choice(
    label="Metric", options=(("F1", (plot(0.25, 0.75),)), ("Hard loss", (plot(-0.5, 0.5, sides=("worse", "better")),)))
)
PAGE = Document(
    title="a page",
    kind="test",
    description="What it is.",
    verdict=Verdict('It came to "this" & that.'),
    opening=(plot(0.5),),
    warnings=(),
    parts=(
        Part(key="first", title="First", blocks=(CHOICE, WIDE)),
        Part(key="second", title="Second", blocks=(WIDE, CHOICE)),
    ),
    footer="Made.",
)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("pages") / "page.html"
    path.write_text(html.render(PAGE), encoding="utf-8")
    return path


@given(finite, st.floats(1e-6, 1e6), st.integers(2, 9))
def test_ticks_are_few_round_and_within_the_axis(low, span, most):
    assume(span > 1e-9 * abs(low))  # an axis of numbers that floats can tell apart
    ticks = round_numbers(low, low + span, most)
    assert len(ticks) <= most + 1
    assert all(low - 1e-6 * span <= tick <= low + span * (1 + 1e-6) for tick in ticks)
    if len(ticks) > 2:
        gaps = [two - one for one, two in pairwise(ticks)]
        assert max(gaps) == pytest.approx(min(gaps), rel=1e-3)


@given(st.lists(st.tuples(finite, st.floats(0, 1e3)), min_size=1, max_size=6), st.booleans())
def test_an_axis_of_dots_holds_every_value_and_that_of_differences_0(drawn, signed):
    sides = ("worse", "better") if signed else None
    shown = DotPlot.of("F1", *(Dot(label="", at=interval(*each), tone="student") for each in drawn), sides=sides)
    low, high = shown.axis
    assert all(low <= value <= high for value, _ in drawn)
    assert not signed or low < 0 < high
    assert all(0 <= shown.place(value) <= 100 for value, _ in drawn)


def test_of_a_choice_the_first_is_seen_without_a_script_and_another_when_it_is_picked(browser, page_file):
    for javascript in (False, True):
        with opened(browser, page_file, javascript=javascript) as page:
            assert page.locator(".chosen:visible").count() == 2
            assert page.locator(".chosen:visible").first.inner_text().count("F1")
            page.get_by_label("Hard loss").first.check(force=True)
            assert page.locator(".chosen:visible").count() == 2
            assert "worse" in page.locator(".chosen:visible").first.inner_text()


def test_a_choice_is_in_markdown_with_all_of_its_numbers():
    told = markdown.render(PAGE)
    assert told.count("| row 0 |") == 5  # in the opening, and twice in each choice
    assert told.count("<details><summary>Metric: Hard loss</summary>") == 2


def test_the_page_has_an_icon_a_description_and_anchors_that_are_unique():
    text = html.render(PAGE)
    seen = outline(text)
    assert '<link rel="icon" href="data:image/svg+xml,' in text
    assert '<meta name="description" content="It came to &#34;this&#34; &amp; that.">' in text
    assert len(seen.ids) == len(set(seen.ids))
    assert {"first", "second", "on-all-of-it", "on-all-of-it-2"} <= set(seen.ids)
    assert {reference.removeprefix("#") for reference in seen.references} <= set(seen.ids)


def test_a_table_that_is_too_wide_for_paper_is_printed_as_several_that_have_all_of_it():
    parts = html.sheets(WIDE)
    assert [len(each.columns) for each in parts] == [6, 6, 6]
    assert sum((each.columns[1:] for each in parts), ()) == WIDE.columns[1:]
    for place, row in enumerate(WIDE.groups[0].rows):
        assert sum((each.groups[0].rows[place].cells for each in parts), ()) == row.cells
    assert [each.note for each in parts] == ["", "", WIDE.note]
    assert html.sheets(attrs.evolve(WIDE, columns=WIDE.columns[:8])) == [attrs.evolve(WIDE, columns=WIDE.columns[:8])]


def test_on_paper_nothing_is_cut_off(browser, page_file):
    with opened(browser, page_file) as page:
        page.emulate_media(media="print")
        page.set_viewport_size({"width": 695, "height": 900})  # A4 between its margins
        assert overflow(page) == 0
        assert page.evaluate(
            "[...document.querySelectorAll('.scroll')].filter((each) => each.checkVisibility())"
            ".every((each) => each.scrollWidth <= each.clientWidth)"
        )
        for place in range(15):
            assert page.get_by_role("columnheader", name=f"metric {place}", exact=True).count() == 2
        assert page.locator("nav:visible").count() == 0


def test_on_a_phone_the_label_of_a_wide_table_stays_while_its_numbers_move(browser, page_file):
    with opened(browser, page_file, width="phone") as page:
        assert overflow(page) == 0
        label = page.locator(".scroll:visible th[scope=row]").first
        before = label.bounding_box()
        page.evaluate("document.querySelector('.scroll').scrollLeft = 300")
        after = label.bounding_box()
        assert (after["x"], after["width"]) == (before["x"], before["width"])
        assert before["width"] <= 140


@pytest.mark.parametrize(("width", "scheme"), [("desk", "dark"), ("phone", "light")])
def test_in_a_browser_nothing_is_cut_off_pale_or_without_a_name(browser, page_file, width, scheme):
    with opened(browser, page_file, width=width, scheme=scheme) as page:
        assert faults(page) == []
        assert overflow(page) == 0
        ratio, text = contrast(page)
        assert ratio >= 4.5, text


def test_a_layer_whose_loss_overflows_has_a_bar_and_leaves_the_axis_alone():
    def drawn(loss):
        svg = Bars(title="x", x_label="layer", y_label="nats", values=(0.5, loss, 0.2), kept=(0,)).svg(key="k")
        return svg, re.findall(r">([^<>\n]+)</text>", svg)

    without, overflows = drawn(None), drawn(math.inf)
    assert overflows == drawn(math.nan)
    assert overflows[1] == without[1] == ["0", "1", "2", "layer", "0.2", "0.5", "nats"], "the same axis"
    assert len(overflows[0]) > len(without[0]), "and one more bar"
