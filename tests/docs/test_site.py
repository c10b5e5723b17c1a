"""What the site of the documentation is made of, without Sphinx: `make docs` builds the whole, warnings being errors."""

from __future__ import annotations

import importlib
import inspect
import sys
from itertools import chain

import pytest
from pages import FENCE, ROOT, read

import kdkit

SITE = ROOT / "docs" / "site"
KINDS = ["Tutorial", "How-to", "Reference", "Explanation", "Results"]


@pytest.fixture(scope="module", autouse=True)
def _site():
    sys.path.insert(0, str(SITE))
    yield
    sys.path.remove(str(SITE))


def module(name):
    return importlib.import_module(name)


def test_listings_fit_the_page():
    """As many columns as a window of 1,200 pixels shows (`static/kdkit.css`); what is longer would scroll sideways."""
    listings = [
        (path, each) for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")] for each in FENCE.finditer(read(path))
    ]
    assert len(listings) > 100
    assert [(path.name, line) for path, each in listings for line in each["code"].splitlines() if len(line) > 119] == []


def test_the_navigation_has_every_page_once_under_a_kind():
    listed = module("navigation").listed(read(ROOT / "docs" / "README.md"))
    assert list(listed) == KINDS
    pages = list(chain.from_iterable(listed.values()))
    assert len(pages) == len(set(pages))
    there = {f"docs/{page.stem}" for page in (ROOT / "docs").glob("*.md")} - {"docs/README"}
    assert set(pages) == there | {"docs/results/README", "CHANGELOG"}


def test_the_navigation_is_read_off_the_tables():
    page = "# All\n\n[x](x.md)\n\n## One\n\n| page | about |\n|---|---|\n| [a.md](a.md) | see [b](b.md) |\n| [C](../C.md) | c |\n\n## None\n"
    assert module("navigation").listed(page) == {"One": ["docs/a", "C"]}


def test_the_api_has_every_public_name_of_every_room_once():
    api = module("api_pages")
    for room in api.ROOMS:
        pages = [page for page in api.PAGES if page.room == room]
        names = list(chain.from_iterable(chain.from_iterable(api.names_of(page).values()) for page in pages))
        public = importlib.import_module(room)
        assert sorted(names) == sorted(n for n in public.__all__ if not inspect.ismodule(getattr(public, n)))
    assert "autoclass:: kdkit.api.Codec\n" in api.text_of(next(page for page in api.PAGES if page.file == "codecs"))


def test_what_is_neither_class_nor_function_has_the_text_below_it():
    api = module("api_pages")
    assert "   Where in a run folder a tracker may keep files." in list(api._object("kdkit.api", "TRACKING_FOLDER"))
    assert "   ``validators.gt(0)``" in list(api._object("kdkit.api", "positive"))


@pytest.mark.parametrize(
    ("docstring", "rst"),
    [
        ("A `kdkit.api.Codec`.", "A :py:obj:`kdkit.api.Codec <kdkit.api.Codec>`."),
        ("See `FittedCodec.bind`s.", "See :py:obj:`FittedCodec.bind <kdkit.api.FittedCodec.bind>`\\ s."),
        ("Of `x`, 2**-11 and |x|.", "Of ``x``, 2\\*\\*-11 and \\|x\\|."),
        ("- one `a*b`\n- two", "- one ``a*b``\n- two"),
        ("So:\n\n    f(*args)\n\n    g\n\nAfter.", "So:\n\n.. code-block:: python\n\n    f(*args)\n\n    g\n\nAfter."),
        ("Args:\n    x: One\n        or two.\n\n    y: Three.", "Args:\n    x: One\n        or two.\n\n    y: Three."),
    ],
)  # fmt: skip
def test_docstrings_become_what_sphinx_reads(docstring, rst):
    assert "\n".join(module("docstrings").as_rst(docstring.splitlines())) == rst


def test_the_options_of_a_class_are_in_its_text():
    lines = [":ivar epochs: Passes over the training rows."]
    assert set(lines) <= set(module("docstrings")._options_of(kdkit.api.Training))
