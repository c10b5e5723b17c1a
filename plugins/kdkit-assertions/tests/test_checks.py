"""What counts as an assertion, and what it expects of what."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdkit_assertions.checks import KINDS, assertions, is_assertion, kind_of, one_line, oracles

CASES = [
    ("assert f(2) == 3", [("equals", "f(2)", "== 3")]),
    ("assert 3 == f(2)", [("equals", "f(2)", "== 3")]),
    ("assert 3 < f(2)", [("compares", "3", "< f(2)")]),
    ("assert f(2) == (yield_ if a else b)", [("equals", "f(2)", "== (yield_ if a else b)")]),
    ("assert a == (b == c)", [("equals", "a", "== (b == c)")]),
    ("assert a == b == c", [("equals", "a", "== b == c")]),
    ("assert a != b, 'message'", [("not_equals", "a", "!= b")]),
    ("assert a is not None", [("is_not", "a", "is not None")]),
    ("assert a not in (1, 2)", [("not_in", "a", "not in (1, 2)")]),
    ("assert a", [("true", "a", "is true")]),
    ("assert not a", [("false", "a", "is false")]),
    ("assert a is True", [("is", "a", "is True")]),
    ("assert a == 1 and not b", [("equals", "a", "== 1"), ("false", "b", "is false")]),
    ("assert isinstance(a, (int, str))", [("instance_of", "a", "isinstance (int, str)")]),
    ("assert not isinstance(a, int)", [("not_instance_of", "a", "not isinstance int")]),
    ("assert a == pytest.approx(0.5)", [("almost_equals", "a", "== pytest.approx(0.5)")]),
    ("self.assertAlmostEqual(a, 0.5, places=3)", [("almost_equals", "a", "== approx(0.5)")]),
    ("np.testing.assert_allclose(a, [1, 2], rtol=1)", [("almost_equals", "a", "== approx([1, 2])")]),
    ("self.assertEqual(a, {1: 2})", [("equals", "a", "== {1: 2}")]),
    ("self.assertIsNone(a)", [("is", "a", "is None")]),
    ("self.assertFalse(a)", [("false", "a", "is false")]),
    ("raises(ValueError, lambda: f(1))", [("raises", "f(1)", "raises ValueError")]),
    ("raises(ValueError, f, 1, k=2)", [("raises", "f(1, k=2)", "raises ValueError")]),
    ("raises(ValueError, 'f(1)')", [("raises", "f(1)", "raises ValueError")]),
    ("with pytest.raises(E, match='x'):\n    f(1)", [("raises", "f(1)", "raises E")]),
    ("with a, self.assertRaises(E) as error:\n    x = 1\n    f(x)", [("raises", "f(x)", "raises E")]),
    ("with warns(W):\n    f(1)", [("warns", "f(1)", "warns W")]),
    ("assert_something_else(a)", []),
    ("assert True", []),
    ("self.assertEqual(*pair)", []),
]


@pytest.mark.parametrize(("code", "expected"), CASES)
def test_an_assertion_is_what_is_checked_then_what_is_expected(code, expected):
    (node,) = ast.parse(code).body
    assert is_assertion(node)
    assert [(o.kind, ast.unparse(o.checked), o.expected) for o in oracles(node)] == expected
    assert kind_of(node) == (expected[0][0] if expected else "other")
    assert kind_of(node) in KINDS


@pytest.mark.parametrize("code", ["f(2)", "assertion = 3", "check(a == b)", "with open(p) as f:\n    pass", "a == b"])
def test_other_statements_are_no_assertions(code):
    assert not is_assertion(ast.parse(code).body[0])


def test_assertions_are_found_in_blocks_but_not_in_functions_or_in_what_should_raise():
    code = """
if a:
    assert 1 == f()
else:
    try:
        assert 2 == f()
    except E as e:
        assert 3 == f()
    finally:
        assert 4 == f()
with raises(AssertionError):
    assert 0 == f()
def g():
    assert 0 == f()
match a:
    case 1:
        assert 5 == f()
while a:
    assert 6 == f()
"""
    lines = [one_line(node) for node in assertions(ast.parse(code).body)]
    assert lines == [
        "assert 1 == f()",
        "assert 2 == f()",
        "assert 3 == f()",
        "assert 4 == f()",
        "with raises(AssertionError):",
        "assert 5 == f()",
        "assert 6 == f()",
    ]


def test_an_assertion_is_one_line():
    code = 'assert f(\n    """a\nb""",  # comment\n) == f"""{x}\ny"""'
    line = one_line(ast.parse(code).body[0])
    assert "\n" not in line
    assert ast.dump(ast.parse(line)) == ast.dump(ast.parse(code))


names = st.sampled_from(["a", "b.c", "f(x)", "d[0]", "(a if b else c)", "(lambda: a)", "(a, b)", "-a", "(a == b)"])
operators = st.sampled_from(["==", "!=", "is", "is not", "in", "not in", "<", "<=", ">", ">="])


@given(names, operators, names)
def test_what_is_checked_and_what_is_expected_make_up_the_condition(left, operator, right):
    (node,) = ast.parse(f"assert {left} {operator} {right}").body
    (oracle,) = oracles(node)
    again = ast.parse(f"assert ({ast.unparse(oracle.checked)}) {oracle.expected}").body[0]
    assert ast.dump(again) == ast.dump(node)
