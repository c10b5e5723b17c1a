"""The data set `python-functions`, on a small package written for the purpose."""

from __future__ import annotations

import sys
from collections import Counter

import pytest

from kdkit.api import SPLITS, DataSource, KeyedSource, Silent
from kdkit.errors import MissingInput, UsageError
from kdkit_assertions.python_functions import PythonFunctions

CODE = '''
raise AssertionError("a mined package must not be imported")


@staticmethod
def area{n}(width, height=1):
    """The area.

    >>> area(2, 3)
    """
    def inner():
        return "é"

    return width * height + {n}


class Box{n}:
    def grow(self, by):
        by = by + {n}
        return by

    def short(self):
        pass
'''


@pytest.fixture
def quiet(tmp_path, monkeypatch):
    """Two packages that must not be imported, of forty modules each, with a test module that holds no row."""
    for package in ("quiet", "other"):
        root = tmp_path / package
        (root / "tests").mkdir(parents=True)
        for number in range(40):
            name = "__init__" if not number else f"m{number}"
            (root / f"{name}.py").write_text(CODE.format(n=number if package == "quiet" else number + 100))
        (root / "tests" / "test_m.py").write_text("def test_it():\n    a = 1\n    assert a\n")
        (root / "broken.py").write_text("def (:\n")
        (root / "copy.py").write_text(CODE.format(n=1))
    monkeypatch.syspath_prepend(str(tmp_path))


def load(**options):
    return PythonFunctions(**{"packages": ("quiet",), **options}).load(Silent())


def rows_of(corpus):
    return [row for split in SPLITS for row in corpus.split(split)]


def test_functions_and_methods_are_texts_as_they_stand(quiet):
    assert isinstance(PythonFunctions(), DataSource)
    corpus = load()
    rows = {row.id: row for row in rows_of(corpus)}
    assert "quiet" not in sys.modules
    assert {row.form for row in rows.values()} == {"text"}
    whole = rows["quiet.m7::area7"]
    assert whole.target.startswith('@staticmethod\ndef area7(width, height=1):\n    """The area.\n')
    assert whole.target.endswith("    return width * height + 7\n")
    assert rows["quiet.m7::Box7.grow"].target == "def grow(self, by):\n    by = by + 7\n    return by\n"
    assert not any("inner" in id_.partition("::")[2] or "test" in id_ for id_ in rows)
    assert whole.meta["module"] == "quiet.m7"
    reasons = {drop.reason: drop.count for drop in corpus.drops}
    assert reasons["its module cannot be read or does not parse (each such module counts once)"] == 1
    assert reasons["it has fewer lines than min_lines"] == 41


def test_a_docstring_goes_by_option(quiet):
    rows = {row.id: row for row in rows_of(load(docstrings=False))}
    assert rows["quiet.m7::area7"].target.startswith("@staticmethod\ndef area7(width, height=1):\n    def inner():\n")


def test_modules_or_packages_are_held_out_whole_and_what_they_have_is_not_trained_on(quiet):
    corpus = load(test_share=0.2)
    modules = {split: {row.meta["module"] for row in corpus.split(split)} for split in SPLITS}
    assert not modules["train"] & (modules["validation"] | modules["test"])
    texts = Counter(row.target for row in rows_of(corpus))
    assert max(texts.values()) == 1  # quiet.copy has what quiet.m1 has
    both = load(packages=("quiet", "other"), split_by="package", test_packages=("other",))
    assert {row.meta["module"].partition(".")[0] for row in both.test} == {"other"}
    assert {row.meta["module"].partition(".")[0] for row in (*both.train, *both.validation)} == {"quiet"}


def test_options_choose_and_limit_rows(quiet):
    assert len(load(train_rows=5).train) == 5
    assert max(len(row.target) for row in rows_of(load(max_chars=60))) <= 60
    with pytest.raises(UsageError, match="the functions of quiet give no usable row for train"):
        load(min_lines=1000)
    with pytest.raises(MissingInput, match='"no_such_package" is not installed, so its code cannot be read'):
        load(packages=("no_such_package",))
    with pytest.raises(UsageError, match=r'test_packages has an effect only with split_by = "package"'):
        load(test_packages=("quiet",))


def test_rows_are_kept_by_what_they_depend_on(quiet, tmp_path):
    source = PythonFunctions(packages=("quiet",))
    assert isinstance(source, KeyedSource)
    before = source.inputs()
    assert before == source.inputs()
    (tmp_path / "quiet" / "m3.py").write_text("X = 1\n")
    assert source.inputs() != before
