"""Pages in headless Chromium: one browser for all tests of a process, and what every page of a report has to keep to."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from functools import cache

import attrs
import pytest

WIDTHS = {"desk": 1100, "phone": 390}
# What a page must not have, each found as the outline of the element at fault.
FAULTS = """() => {
  const named = (element) => (element.getAttribute("aria-label") || element.textContent).trim() !== "";
  const outline = (element) => element.outerHTML.slice(0, 120);
  const all = (selector) => [...document.querySelectorAll(selector)];
  const faults = [];
  const check = (what, elements) => faults.push(...elements.map((element) => what + ": " + outline(element)));
  check("picture without a name", all("svg, img").filter((each) => !each.getAttribute("aria-label") && !each.alt));
  check("field without a label", all("input, select, textarea").filter((each) => !each.labels.length));
  check("button or link without a name", all("button, a, summary").filter((each) => !named(each)));
  check("table without column heads", all("table").filter((each) => !each.querySelector("thead th[scope=col]")));
  check("row without a head", all("tbody tr").filter((each) => !each.querySelector("th[scope]")));
  check("region without a name", all("[role=region]").filter((each) => !each.getAttribute("aria-label")));
  check("id of two elements", all("[id]").filter((each, place, list) =>
    list.findIndex((other) => other.id === each.id) !== place));
  const headings = all("h1, h2, h3, h4, h5, h6").map((each) => Number(each.tagName[1]));
  if (headings.filter((level) => level === 1).length !== 1) faults.push("not one h1: " + headings);
  headings.forEach((level, place) => {
    if (place && level > headings[place - 1] + 1) faults.push("a level is skipped: " + headings.slice(0, place + 1));
  });
  for (const landmark of ["header", "nav", "main", "footer"])
    if (all("body " + landmark).length !== 1) faults.push("not one " + landmark);
  if (!document.documentElement.lang) faults.push("no language");
  return faults;
}"""
# The least contrast of text with what is behind it, and the text.
CONTRAST = """() => {
  const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = (colour) => channels(colour).slice(0, 3).map((value) => value / 255)
    .map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4))
    .reduce((sum, value, place) => sum + value * [0.2126, 0.7152, 0.0722][place], 0);
  const behind = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const colour = getComputedStyle(each).backgroundColor;
      if ((channels(colour)[3] ?? 1) > 0) return colour;
    }
    return "rgb(255, 255, 255)";
  };
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let least = { ratio: 21, text: "" };
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    if (element.closest("script, style, [aria-disabled=true]")) continue;
    const style = getComputedStyle(element);
    const both = [light(element.closest("svg") ? style.fill : style.color), light(behind(element))].sort((one, other) => one - other);
    const ratio = (both[1] + 0.05) / (both[0] + 0.05);
    if (ratio < least.ratio) least = { ratio, text: walker.currentNode.data.trim().slice(0, 60) };
  }
  return least;
}"""


@attrs.define
class Seen:
    """What happened while a page was open: messages on the console, errors, and addresses that were asked for."""

    console: list[str] = attrs.field(factory=list)
    errors: list[str] = attrs.field(factory=list)
    requests: list[str] = attrs.field(factory=list)


@cache
def _browser():
    """The browser, and what stops it; skips the test where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    driver = sync_api.sync_playwright().start()
    arguments = ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-dev-shm-usage"]
    return driver, driver.chromium.launch(executable_path=chromium, args=arguments)


@pytest.fixture(scope="session")
def browser():
    """Chromium, once for all tests. Import this fixture in a test module to use it."""
    driver, started = _browser()
    yield started
    if _browser.cache_info().currsize:  # each module that imports this has a fixture of its own, and all one browser
        _browser.cache_clear()
        started.close()
        driver.stop()


@contextmanager
def opened(browser, path, *, width="desk", scheme="light", javascript=True):
    """The page of a file, and what happens on it; at its end it has fetched nothing and said nothing."""
    context = browser.new_context(
        viewport={"width": WIDTHS[width], "height": 800}, color_scheme=scheme, java_script_enabled=javascript
    )
    page, seen = context.new_page(), Seen()
    page.on("console", lambda message: seen.console.append(message.text))
    page.on("pageerror", lambda error: seen.errors.append(str(error)))
    page.on("request", lambda request: seen.requests.append(request.url))
    page.set_default_timeout(5000)
    try:
        page.goto(path.as_uri())
        yield page
        assert seen == Seen(requests=[path.as_uri()])
    finally:
        context.close()


def faults(page):
    """What a screen reader or a keyboard would stumble over."""
    return page.evaluate(FAULTS)


def overflow(page):
    """By how many pixels the page is wider than its window."""
    return page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")


def contrast(page):
    """The least contrast ratio of a text that is seen, and that text."""
    found = page.evaluate(CONTRAST)
    return found["ratio"], found["text"]


def tab_stops(page, *, at_most=400):
    """What the Tab key reaches in turn, each as tag and name, until it leaves the page."""
    stops = []
    for _ in range(at_most):
        page.keyboard.press("Tab")
        stop = page.evaluate(
            "() => { const each = document.activeElement; return each === document.body ? null :"
            " [each.tagName.toLowerCase(), each.getAttribute('aria-label') || each.name || each.textContent.trim()] }"
        )
        if stop is None:
            return stops
        stops.append(tuple(stop))
    raise AssertionError("the Tab key never leaves the page")
