"""The report in a browser: quiet, off-line, usable by keyboard and screen reader, and its filters count right."""

from __future__ import annotations

import pytest
from browser_kit import browser, contrast, faults, opened, overflow, tab_stops  # noqa: F401 - a fixture
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from run_folders import without_baselines, write_lines, write_run_folder

from kdkit.report import run as report
from kdkit.report.numbers.outcomes import same
from kdkit.report.parts import row_browser
from kdkit.report.read.rows import ScoredRow
from kdkit.report.read.run import read_run

ROWS = 75
NASTY = [
    "</script><script>document.title='broken'</script>",
    "<!-- <script>",
    "]]> &lt; &amp; \\u003c \\",
    "\u2028 \u2029 \x7f \x00 \x1b[31m \r \r\n end",
    "\ud800 alone",
    "<img src=x onerror=alert(1)>",
    "\ufeff\ufffe\uffff \U0001f600 \U0010ffff",
    "",
    "__proto__ constructor",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run folder with its report. Not to be changed."""
    path = write_run_folder(tmp_path_factory.mktemp("runs") / "oracle-small", rows=ROWS)
    report.write(path)
    return path


@pytest.fixture(scope="module")
def rows(folder):
    return read_run(folder).rows


@pytest.fixture(scope="module")
def page(browser, folder):  # noqa: F811 - the fixture
    """The page, open. What a test changes in it, it resets; that it fetches and says nothing is checked at the end."""
    with opened(browser, folder / "report.html") as shown:
        yield shown


@pytest.fixture(autouse=True)
def _reset(request):
    yield
    if "page" in request.fixturenames:
        shown = request.getfixturevalue("page")
        shown.get_by_role("button", name="Show all rows").click()
        shown.evaluate("() => new Promise((done) => setTimeout(done))")  # the page shows them once the form is reset


def counted(page):
    """How many rows passed the filters, as it is told; and the ids of those on the page."""
    page.wait_for_function("() => document.getElementById('count').textContent")
    told = page.locator("#count").inner_text().split(" of ")[0]
    return int(told.replace(",", "")), page.locator("#found .id").all_inner_texts()


@pytest.mark.parametrize(("width", "scheme"), [("desk", "light"), ("desk", "dark"), ("phone", "light")])
def test_the_page_is_quiet_fits_its_window_and_can_be_read(browser, folder, width, scheme):  # noqa: F811
    with opened(browser, folder / "report.html", width=width, scheme=scheme) as shown:
        assert overflow(shown) == 0
        assert faults(shown) == []
        ratio, text = contrast(shown)
        assert ratio >= 4.5, text


def test_the_check_of_pages_sees_faults(browser, tmp_path):  # noqa: F811
    bad = "<h1>a</h1><h3>b</h3><h1>c</h1><svg></svg><input><button></button><table><tbody><tr><td>1</table>"
    style = "<style>p {color: #999; background: #fff} div {width: 5000px}</style>"
    (tmp_path / "bad.html").write_text(f"{style}<body>{bad}<p>faint</p><div>wide</div>")
    with opened(browser, tmp_path / "bad.html") as shown:
        assert len(faults(shown)) == 12
        assert overflow(shown) > 0
        assert contrast(shown) == (pytest.approx(2.85, abs=0.01), "faint")


def test_without_javascript_the_examples_stand_there(browser, folder):  # noqa: F811
    with opened(browser, folder / "report.html", javascript=False) as shown:
        assert shown.locator("#fixed .example").count() == 20
        assert not shown.locator("#browser").is_visible()
        assert shown.locator("#fixed ins").first.is_visible()


def test_with_javascript_all_rows_are_there_a_page_at_a_time(page, rows):
    assert page.locator("#fixed").count() == 0
    ids = []
    for number in range(1, 5):
        count, shown = counted(page)
        assert count == ROWS
        assert len(shown) == (20 if number < 4 else 15)
        assert f"page {number} of 4" in page.locator("#count").inner_text()
        ids += shown
        if number < 4:
            page.get_by_role("button", name="Next").first.click()
    assert page.get_by_role("button", name="Next").first.get_attribute("aria-disabled") == "true"
    assert len(set(ids)) == ROWS
    assert {row.id for row in rows} == set(ids)
    page.get_by_role("button", name="Previous").last.click()
    assert "page 3 of 4" in page.locator("#count").inner_text()
    assert page.evaluate("document.activeElement.id") == "count", "the reader is taken to the new page's beginning"


def right(name):
    return lambda row: same(getattr(row, name), row.truth)


@pytest.mark.parametrize(
    ("field", "choice", "passes"),
    [
        ("kind", "is-none", lambda row: "is-none" in row.kinds),
        ("answerable", "no", lambda row: row.answerable is False),
        ("teacher", "right", right("teacher")),
        ("student", "wrong", lambda row: not right("student")(row)),
        ("labels only", "right", right("labels_only")),
        ("student and teacher", "same text", lambda row: same(row.student, row.teacher)),
        ("student and teacher", "different texts", lambda row: not same(row.student, row.teacher)),
    ],
)
def test_each_filter_counts_the_rows_that_pass_it(page, rows, field, choice, passes):
    page.get_by_label(field, exact=True).select_option(label=choice)
    count, shown = counted(page)
    wanted = [row for row in rows if passes(row)]
    assert 0 < count == len(wanted) < ROWS
    assert len(shown) == min(count, 20)


def test_filters_go_together_and_can_be_taken_back(page, rows):
    page.get_by_label("teacher", exact=True).select_option(label="right")
    page.get_by_label("student", exact=True).select_option(label="wrong")
    page.get_by_label("search").fill("TEST_case_1")
    wanted = [
        row
        for row in rows
        if right("teacher")(row) and not right("student")(row) and "test_case_1" in row.id + row.source
    ]
    assert counted(page)[0] == len(wanted) > 0
    page.get_by_label("search").fill("no row has this")
    assert counted(page) == (0, [])
    assert "page 1 of 1" in page.locator("#count").inner_text()
    page.get_by_role("button", name="Show all rows").click()
    page.wait_for_function("() => document.getElementById('count').textContent.startsWith('75 of 75')")


def test_the_count_is_told_to_who_does_not_see_it(page):
    assert page.locator("#count").get_attribute("aria-live") == "polite"
    assert page.locator("#count").get_attribute("role") == "status"


def test_differences_are_marked_with_more_than_colour(page):
    assert page.locator("#found ins").first.evaluate("e => getComputedStyle(e).textDecorationLine") == "underline"
    page.get_by_label("mark differences from").select_option(label="nothing")
    assert page.locator("#found ins").count() == 0
    page.get_by_label("mark differences from").select_option(label="the teacher's text")
    assert page.locator("#found ins").count() > 0
    teachers = page.locator("#found td[data-column=teacher]")
    assert teachers.count() == 20
    assert teachers.locator("ins").count() == 0, "the teacher's text does not differ from itself"


def test_a_source_is_there_once_it_is_asked_for(page):
    source = page.locator("#found details").first
    assert source.locator("pre").count() == 0
    source.locator("summary").press("Enter")
    assert "def test_case" in source.locator("pre").inner_text()


def test_the_tab_key_reaches_everything_and_leaves(browser, folder):  # noqa: F811
    with opened(browser, folder / "report.html") as shown:
        stops = tab_stops(shown)
        assert stops[0] == ("a", "Skip to the content")
        reached = [name for _, name in stops]
        for wanted in ("kind", "answerable", "right teacher", "right student", "right labels-only", "agree", "marks",
                       "search", "Show all rows"):  # fmt: skip
            assert reached.count(wanted) == 1, wanted
        assert reached.count("Previous") == reached.count("Next") == 2
        focusable = "a[href], button, input, select, summary, [tabindex='0']"
        there = shown.locator(focusable).evaluate_all("all => all.filter((each) => each.checkVisibility()).length")
        assert len(stops) == there
        outlined = shown.locator("nav a[href='#scores']")
        outlined.focus()
        shown.keyboard.press("Shift+Tab")
        shown.keyboard.press("Tab")
        assert outlined.evaluate("e => getComputedStyle(e).outlineStyle") == "solid"


def test_nasty_texts_are_read_as_they_were_written(browser, tmp_path):  # noqa: F811
    folder = write_run_folder(tmp_path / "run", rows=len(NASTY))
    held_out = [
        {"id": f"{place} {text}", "source": text, "target": text, "meta": {"kind": text}}
        for place, text in enumerate(NASTY)
    ]
    write_lines(folder / "data" / "test.jsonl", held_out)
    for model, more in (("teacher", ""), ("student", "!"), ("labels-only", "x")):
        written = [{"id": row["id"], "text": row["target"] + more, "seconds": None} for row in held_out]
        write_lines(folder / "predictions" / f"{model}.jsonl", written)
    report.write(folder)
    with opened(browser, folder / "report.html") as shown:
        # As UTF-16 units: a lone half of a character cannot come back from the browser in a string.
        units = shown.evaluate(
            "() => JSON.parse(document.getElementById('rows').textContent).rows.map((row) =>"
            " [row.source, row.truth, row.texts[1].t.filter((_, place) => place % 3 !== 1).join('')].map((text) =>"
            " Array.from({length: text.length}, (_, place) => text.charCodeAt(place))))"
        )
        expected = [[utf16(text), utf16(text), utf16(text + "!")] for text in NASTY]
        assert sorted(units) == sorted(expected)
        assert shown.title() == "oracle-small: distillation report"
        assert shown.locator("#found img, #found script").count() == 0
        assert shown.locator("#found .example").count() == len(NASTY)
        shown.get_by_label("search").fill("onerror=alert(1)")
        assert counted(shown)[0] == 1
        assert faults(shown) == []


def utf16(text):
    data = text.encode("utf-16-le", "surrogatepass")
    return [int.from_bytes(data[place : place + 2], "little") for place in range(0, len(data), 2)]


NASTY_TEXT = st.one_of(
    st.text(st.characters(codec=None), max_size=30),
    st.text(alphabet="<>/!-&scriptSCRIPT \r\n\u2028\u2029\x00\ud83d\ude00", max_size=30),
    st.sampled_from(NASTY),
)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(NASTY_TEXT, min_size=1, max_size=8))
def test_any_text_comes_out_of_the_page_as_it_went_in(browser, texts):  # noqa: F811
    given_rows = [
        ScoredRow(id=f"{place}", source="", truth=text, teacher=None, student=text) for place, text in enumerate(texts)
    ]
    data = row_browser.collect(given_rows, seed=0).json
    shown = getattr(browser, "_kdkit_blank", None) or browser.new_page()
    browser._kdkit_blank = shown
    shown.set_content(f'<!DOCTYPE html><script type="application/json" id="rows">{data}</script><p id="end">end</p>')
    units = shown.evaluate(
        "() => JSON.parse(document.getElementById('rows').textContent).rows.map((row) =>"
        " [Number(row.id), Array.from({length: row.truth.length}, (_, place) => row.truth.charCodeAt(place))])"
    )
    assert sorted(units) == [[place, utf16(text)] for place, text in enumerate(texts)]
    assert shown.locator("body > p#end").count() == 1, "the script element ended where it should"


def test_a_run_without_baselines_opens_as_well(browser, tmp_path):  # noqa: F811
    folder = without_baselines(write_run_folder(tmp_path / "run", rows=12))
    report.write(folder)
    assert "labels only" not in (folder / "report.html").read_text(encoding="utf-8")
    with opened(browser, folder / "report.html", width="phone") as shown:
        assert faults(shown) == []
        assert overflow(shown) == 0
        assert counted(shown)[0] == 12


def test_rows_of_which_the_teacher_is_right_and_the_student_wrong_come_first(page, browser, folder, rows):  # noqa: F811
    first = [row for row in rows if right("teacher")(row) and not right("student")(row)]
    _, shown = counted(page)
    assert len(first) > 0
    assert set(shown[: len(first)]) <= {row.id for row in first}
    assert page.locator("#found th[scope=rowgroup]").first.inner_text().lower() == "teacher right, student wrong"
    with opened(browser, folder / "report.html", javascript=False) as still:
        assert still.locator("#fixed .id").first.inner_text() in {row.id for row in first}


def test_twenty_rows_of_short_texts_fit_on_a_screen(browser, folder):  # noqa: F811
    with opened(browser, folder / "report.html") as shown:
        shown.set_viewport_size({"width": 1200, "height": 800})
        heights = shown.locator("#found .example").evaluate_all("all => all.map((each) => each.offsetHeight)")
        assert len(heights) == 20
        assert sum(heights) <= 1000
