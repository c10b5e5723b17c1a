"""Masked tests keep the author's layout and lose nothing but assertions."""

from __future__ import annotations

import ast

from hypothesis import given
from hypothesis import strategies as st

from kdkit_assertions.checks import assertions, one_line
from kdkit_assertions.masking import masked_windows
from kdkit_assertions.mining import Parsed


def windows(code, at_most=100):
    parsed = Parsed(module="m", lines=[f"{line}\n" for line in code.split("\n")], tree=ast.parse(code))
    return parsed.tree.body[0], list(masked_windows(parsed, parsed.tree.body[0], at_most=at_most))


def leaf(indent):
    pad = "    " * indent
    return st.sampled_from(
        [
            f"{pad}x = 'é'; assert f('é') == 1\n",
            f"{pad}assert f(\n{pad}    2,\n{pad}) == 2  # two\n",
            f"{pad}assert é is None\n",
            f"{pad}# a comment\n{pad}y = 1\n",
            f"{pad}with raises(E) as e:  # why\n{pad}    f(3)\n",
            f"{pad}with (\n{pad}    raises(E),  # or: F\n{pad}):\n{pad}    f(3)\n",
            f"{pad}with raises(E, match='#:'): f(4)\n",
            f"{pad}raises(E, lambda: f(5))\n",
        ]
    )


def block(indent):
    body = st.lists(leaf(indent + 1), min_size=1, max_size=3).map("".join)
    return st.one_of(leaf(indent), body.map(lambda text: "    " * indent + f"for i in z:\n{text}"))


tests = st.lists(block(1), min_size=1, max_size=7).map(lambda parts: "@mark\ndef test_it():\n" + "".join(parts))


@given(tests, st.integers(1, 4))
def test_windows_share_out_the_assertions_evenly_and_in_order(code, at_most):
    function, found = windows(code, at_most)
    expected = list(assertions(function.body))
    assert [one_line(n) for w in found for n in w.assertions] == [one_line(n) for n in expected]
    sizes = [len(window.assertions) for window in found]
    assert not sizes or (max(sizes) <= at_most and max(sizes) - min(sizes) <= 1)


@given(tests, st.integers(1, 4))
def test_each_placeholder_stands_once_and_in_order(code, at_most):
    for window in windows(code, at_most)[1]:
        places = [window.text.find(f"<ASSERT_{number}>") for number in range(len(window.assertions))]
        assert -1 not in places
        assert places == sorted(places)
        assert window.text.count("<ASSERT_") == len(places)
        assert not {one_line(n) for n in window.assertions} & {line.strip() for line in window.text.splitlines()}


@given(tests, st.integers(1, 4))
def test_placeholders_filled_in_make_a_test_with_just_these_assertions(code, at_most):
    """The masked text is Python once its assertions are back, and nothing of other assertions is left in it."""
    for window in windows(code, at_most)[1]:
        filled = window.text
        for number, node in enumerate(window.assertions):
            filled = filled.replace(f"<ASSERT_{number}>", one_line(node))
        again = list(assertions(ast.parse(filled).body[0].body))
        assert [one_line(n) for n in again] == [one_line(n) for n in window.assertions]


def test_a_comment_behind_an_assertion_goes_with_it():
    _, (window,) = windows("def test_it():\n    assert f() == 6  # six\n    # another\n    x = 1  # kept\n")
    assert window.text == "def test_it():\n    <ASSERT_0>\n    # another\n    x = 1  # kept"


def test_a_method_is_dedented_with_its_decorators():
    code = "class A:\n    @slow\n    def test_it(self):\n        assert f()\n"
    parsed = Parsed(module="m", lines=[f"{line}\n" for line in code.split("\n")], tree=ast.parse(code))
    (window,) = masked_windows(parsed, parsed.tree.body[0].body[0], at_most=1)
    assert window.text == "@slow\ndef test_it(self):\n    <ASSERT_0>"


def test_a_test_without_assertions_has_no_window():
    assert windows("def test_it():\n    f()\n")[1] == []
