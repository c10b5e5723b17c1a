"""Contexts: the lines before an assertion that bear on what it checks."""

from __future__ import annotations

import ast

import pytest

from kdkit_assertions.checks import oracles
from kdkit_assertions.contexts import LinedTest


def context(code, *, relevant=True, setup="", at_most=0, chars=0):
    function = ast.parse("def test_it():\n" + "\n".join(f"    {line}" for line in code.split("\n"))).body[0]
    lined = LinedTest(function, setup=ast.parse(setup).body, module=(), relevant=relevant)
    place = lined.places[-1]
    (oracle,) = oracles(place.assertion)
    return "\n".join(filter(None, lined.context(place, oracle, at_most=at_most, chars=chars)))


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("a = 1\nb = 2\nassert f(b) == 3", "b = 2\nf(b)"),
        ("a = 1\nb = a\nassert b == 3", "a = 1\nb = a\nb"),
        ("a = 1\na = 2\nassert a == 3", "a = 2\na"),
        ("a = 1\na += 2\nassert a == 3", "a = 1\na += 2\na"),
        ("a = []\na.append(1)\nb.append(a)\nassert a == 3", "a = []\na.append(1)\nb.append(a)\na"),
        ("a = {}\na[1] = 2\na.b.c = 3\nassert a == 3", "a = {}\na[1] = 2\na.b.c = 3\na"),
        ("a = 1\nprint(b)\nassert a == 3", "a = 1\na"),
        ("for a in b:\n    c = 1\n    assert a == 3", "for a in b:\n    a"),
        ("for a in b:\n    c = a\nassert c == 3", "for a in b:\n    c = a\nc"),
        ("for a in b:\n    assert a == 3\nassert c == 3", "c"),
        ("if a:\n    c = 1\nelse:\n    c = 2\nassert c == 3", "if a:\n    c = 1\nelse:\n    c = 2\nc"),
        ("if a:\n    d = 1\nelse:\n    assert c == 3", "if a:\nelse:\n    c"),
        ("with raises(E):\n    a = 1\n    b = 2\n    f(a)", "a = 1\nb = 2\nf(a)"),
        ("a = 1\nc = 2\nwith raises(E):\n    b = a\n    f(b)", "a = 1\nb = a\nf(b)"),
        ("def g():\n    return 1\nh = 2\nassert g() == 1", "def g():\n    return 1\ng()"),
    ],
)
def test_what_bears_on_the_check_is_kept(code, expected):
    assert context(code) == expected


def test_all_lines_are_kept_when_asked_for_but_no_assertion():
    code = "'doc'\na = 1\nassert a == 2\nb = 2\nassert b == 3"
    assert context(code, relevant=False) == "def test_it():\n    a = 1\n    b = 2\n    b"


def test_limits_keep_whole_lines_nearest_to_the_check():
    code = "a = 1\nb = a\nc = b\nassert c == 3"
    assert context(code, at_most=2) == "b = a\nc = b\nc"
    assert context(code, chars=11) == "c = b\nc"
    assert context(code, chars=12) == "b = a\nc = b\nc"
    assert context("for a in b:\n    c = a\n    assert c == 3", at_most=1) == "c = a\nc"


def test_set_up_variables_are_the_objects_own():
    assert context("assert self.a == 3", setup="cls.a = 1\nself.b = 2") == "cls.a = 1\nself.a"
