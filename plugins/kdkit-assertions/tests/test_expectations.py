"""Generated oracles in place of true ones, and what it says how a test ended."""

from __future__ import annotations

import ast

import pytest

from kdkit_assertions.calling import verdict_of
from kdkit_assertions.expectations import Misfit, with_expectation


@pytest.mark.parametrize(
    ("assertion", "index", "text", "expected"),
    [
        ("assert f(2) == 3", 0, "> 1", "assert f(2) > 1"),
        ("assert 3 == f(2)", 0, "== 4", "assert f(2) == 4"),
        ("assert a and b == 1 and c", 1, "!= 2", "assert a and b != 2 and c"),
        ("assert a, 'message'", 0, "is false", "assert not a, 'message'"),
        ("self.assertEqual(f(2), 3, 'm')", 0, "== 4", "self.assertEqual(f(2), 4, 'm')"),
        ("self.assertEqual(3, f(2))", 0, "== 4", "self.assertEqual(4, f(2))"),
        ("self.assertEqual(f(2), 3)", 0, "is None", "assert f(2) is None"),
        ("self.assertIsNone(a, 'm')", 0, "is 3", "assert a is 3"),
        ("assert_allclose(a, b, rtol=1)", 0, "== approx(c)", "assert_allclose(a, c, rtol=1)"),
        ("raises(E, lambda: f(x), match='m')", 0, "raises D", "raises(D, lambda: f(x), match='m')"),
        ("raises(E, lambda: f(x))", 0, "is true", "assert f(x)"),
        ("with raises(E) as e:\n    g()\n    f(x)", 0, "raises D", "with raises(D) as e:\n    g()\n    f(x)"),
        ("with raises(E):\n    g()\n    f(x)", 0, "== 1", "g()\nassert f(x) == 1"),
    ],
)
def test_an_oracle_is_put_into_its_assertion(assertion, index, text, expected):
    (node,) = ast.parse(assertion).body
    made = ast.fix_missing_locations(ast.Module(body=with_expectation(node, index, text), type_ignores=[]))
    assert ast.unparse(made) == expected


@pytest.mark.parametrize("text", ["", "== 3 or True", "3", "+ 1", "f()"])
def test_what_is_no_oracle_is_refused(text):
    (node,) = ast.parse("assert f(2) == 3").body
    with pytest.raises((Misfit, SyntaxError)):
        with_expectation(node, 0, text)


def test_how_a_test_ended_is_told_by_what_it_raised():
    known = {name: type(name, (Exception,), {}) for name in ("XFail", "XPass", "Failed", "Skipped")}
    assert verdict_of(AssertionError()) == "fails"
    assert verdict_of(known["Failed"]()) == "fails"
    assert verdict_of(known["XPass"]()) == "holds"
    assert verdict_of(known["Skipped"]()) == "not_runnable"
    assert verdict_of(SystemExit(0)) == "does_not_run"
    wrapped = known["XFail"]()
    wrapped.__context__ = AssertionError()
    assert verdict_of(wrapped) == "fails"
