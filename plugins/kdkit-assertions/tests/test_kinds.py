"""Kinds of assertions."""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import networkx as nx
import pytest

from kdkit_assertions import checks
from kdkit_assertions.kinds import kind_of
from kdkit_assertions.statements import split_statements

JAVA = {
    "assertEquals(3, x)": "equals",
    "Assert.assertEquals(3, x)": "equals",
    "org.junit.Assert.assertEquals(3, x)": "equals",
    "assertNotEquals(3, x)": "not_equals",
    "assertTrue(x == 3)": "true",
    "assertFalse(x)": "false",
    "assertNull(x)": "null",
    "assertNotNull(x)": "not_null",
    "assertSame(x, y)": "same",
    "assertNotSame(x, y)": "not_same",
    "assertArrayEquals(x, y)": "array_equals",
    "assertInstanceOf(A.class, y)": "instance_of",
    "assertThat(x).isEqualTo(y)": "that",
    "assertThrows(E.class, () -> { f(); })": "throws",
    "assertDoesNotThrow(() -> f())": "does_not_throw",
    'fail("no")': "fail",
    "verify(mock).call()": "verify",
    "assertEverything(x)": "other",
    "list.size()": "other",
    "int x = 3": "other",
}
PYTHON = {
    "assert x == 3": "equals",
    "assert f(a < b)[c is d] == {1: 2}": "equals",
    'assert x == "a < b"': "equals",
    "assert (x == 3)": "equals",
    "assert (x) == 3": "equals",
    "assert(x == 3)": "equals",
    'assert x == 3, "message is not lost"': "equals",
    "assert x != 3": "not_equals",
    "assert x is None": "is",
    "assert x is not None": "is_not",
    "assert x in y": "in",
    "assert x not in y": "not_in",
    "assert x < y": "compares",
    "assert x << 1 == y >> 1": "equals",
    "assert [x is y]": "true",
    "assert x >= y": "compares",
    "assert x": "true",
    "assert f(x)": "true",
    "assert not x": "false",
    "assert not f(x == y)": "false",
    "assert x == 1 and y": "equals",
    "assert all(x == y for x in z)": "true",
    "assert is_zero(x)": "true",
    "raises(ValueError, lambda: f(x))": "raises",
    "pytest.raises(ValueError, f)": "raises",
    "with pytest.raises(ValueError):\n    f(x)": "raises",
    "self.assertEqual(x, y)": "equals",
    "self.assertIsNone(x)": "is",
    "self.assertIsNot(x, y)": "is_not",
    "self.assertRaises(E, f)": "raises",
    "self.assertGreaterEqual(x, y)": "compares",
    "np.testing.assert_allclose(x, y)": "almost_equals",
    "assert x == pytest.approx(3)": "almost_equals",
    "assert isinstance(x, C)": "instance_of",
    "assert not isinstance(x, C)": "not_instance_of",
    "assert isinstance(x, C) == y": "equals",
    "assert x == 1 or y": "true",
    "assert (x if y else z)": "true",
    "assert not x and y == 1": "false",
    "with pytest.raises(ValueError):": "raises",
    "with warns(W):": "warns",
    "self.assertWarns(W, f)": "warns",
    "self.assert_(x)": "true",
    "_assert_graphs_equal(x, y)": "equals",
    "assert_equal(x, y)": "equals",
    "x == 3": "other",
    "f(x)": "other",
}
BARE_ENDS = {
    "== 3": "equals",
    "== approx(3)": "almost_equals",
    "== x == y": "equals",
    "!= 3": "not_equals",
    "is None": "is",
    "is True": "is",
    "is true": "true",
    "is false": "false",
    "is not None": "is_not",
    "in (1, 2)": "in",
    "not in (1, 2)": "not_in",
    "<= 3": "compares",
    "isinstance C": "instance_of",
    "isinstance (C, D)": "instance_of",
    "not isinstance C": "not_instance_of",
    "raises ValueError": "raises",
    "warns DeprecationWarning": "warns",
}


@pytest.mark.parametrize(("statement", "kind"), JAVA.items())
def test_kinds_of_java_assertions(statement, kind):
    (spelling,) = split_statements(statement, "java")
    assert kind_of(spelling) == kind
    assert kind_of(f"{statement};") == kind


@pytest.mark.parametrize(("statement", "kind"), [*PYTHON.items(), *BARE_ENDS.items()])
def test_kinds_of_python_assertions(statement, kind):
    (spelling,) = split_statements(statement, "python")
    assert kind_of(spelling) == kind
    assert kind_of(statement) == kind


@pytest.mark.parametrize(
    "text", ["", ";", "assert", "assert(", "assert ()", ")", "==", "not", '"', "is", "assertEquals"]
)
def test_whatever_is_no_assertion_has_a_kind_too(text):
    assert kind_of(text) in {"other", "true", "false", "equals", "is"}


def test_kinds_are_those_of_the_data_set_for_every_assertion_of_networkx():
    folder = Path(nx.__file__).parent / "classes" / "tests"
    seen = Counter()
    for path in sorted(folder.glob("test_*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            statement = checks.one_line(node) if isinstance(node, ast.Assert | ast.Expr | ast.With) else ""
            if statement and checks.oracles(node):
                assert split_statements(statement, "python") != []
                assert kind_of(statement) == checks.kind_of(node), statement
                seen[checks.kind_of(node)] += 1
            for oracle in checks.oracles(node) if statement else ():
                assert kind_of(oracle.expected) == oracle.kind, oracle.expected
    assert seen.total() > 500
