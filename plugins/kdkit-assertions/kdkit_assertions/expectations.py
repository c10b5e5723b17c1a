"""Generated oracles (`== 3`, `is None`, `is true`, `raises ValueError`, ...) as assertions in place of a true one.

What is checked stays; what is expected of it is replaced. Where the true assertion is a call and the text says the same
kind of thing (`assertEqual(f(2), 3)` and `== 4`, `assert_allclose(a, b, rtol=1e-3)` and `== approx(c)`), the call
stays, with its tolerance, and only its expected argument is replaced; everywhere else the oracle is written out:
`assert f(2) == 4`. An expected exception is a `try` that fails where nothing is raised.
"""

from __future__ import annotations

import ast
import copy
from typing import TYPE_CHECKING

import attrs

from kdkit_assertions.checks import called_name, oracles

if TYPE_CHECKING:
    from collections.abc import Mapping

    from kdkit_assertions.checks import Oracle


class Misfit(Exception):
    """A text that is not an assertion, or that does not fit in its place."""


@attrs.frozen(kw_only=True, eq=False)
class Expectation:
    """What a text expects.

    Attributes:
        kind: "compares", "approx", "true", "false", "instance_of", "not_instance_of", "raises" or "warns".
        value: The comparison with `_` on its left, the class, or the exception.
    """

    kind: str
    value: ast.expr | None = None


# Each is the beginning of a text, and the kind that it says.
_FORMS = {
    "raises ": "raises",
    "warns ": "warns",
    "isinstance ": "instance_of",
    "not isinstance ": "not_instance_of",
}

_RAISES = """
_kdkit_expected = EXPECTED
try:
    BODY
except _kdkit_expected:
    pass
else:
    raise AssertionError
"""
_WARNS = """
import warnings as _kdkit_warnings
with _kdkit_warnings.catch_warnings(record=True) as _kdkit_seen:
    _kdkit_warnings.simplefilter("always")
    BODY
assert any(issubclass(_kdkit_one.category, EXPECTED) for _kdkit_one in _kdkit_seen)
"""


def parse_expectation(text: str) -> Expectation:
    """What a text expects.

    Raises:
        Misfit: It does not read as an oracle.
        SyntaxError: It is not Python.
    """
    text = text.strip()
    if text in {"is true", "is false"}:
        return Expectation(kind=text.removeprefix("is "))
    for beginning, kind in _FORMS.items():
        if text.startswith(beginning):
            return Expectation(kind=kind, value=_expression(text.removeprefix(beginning)))
    whole = _expression(f"_ {text}")
    if not (isinstance(whole, ast.Compare) and isinstance(whole.left, ast.Name) and whole.left.id == "_"):
        raise Misfit(f"{text} is not an oracle")
    is_approx = len(whole.ops) == 1 and isinstance(whole.ops[0], ast.Eq)
    is_approx = is_approx and called_name(whole.comparators[0]) == "approx"
    return Expectation(kind="approx" if is_approx else "compares", value=whole)


def _expression(text: str) -> ast.expr:
    return ast.parse(text.strip(), mode="eval").body


def with_expectation(assertion: ast.stmt, index: int, text: str) -> list[ast.stmt]:
    """A true assertion with one of its oracles replaced.

    Args:
        assertion: The true assertion; its tree is changed.
        index: Which of its oracles.
        text: The generated oracle.

    Raises:
        Misfit: The text does not read as an oracle, or what is checked is no expression.
        SyntaxError: The text is not Python.
    """
    expectation = parse_expectation(text)
    oracle = oracles(assertion)[index]
    if expectation.kind in {"raises", "warns"}:
        return _expecting_event(assertion, oracle, expectation)
    checked = oracle.checked.value if isinstance(oracle.checked, ast.Expr) else oracle.checked
    if not isinstance(checked, ast.expr):
        raise Misfit("what is checked is a statement, which has no value")
    if isinstance(assertion, ast.Expr) and isinstance(assertion.value, ast.Call):
        if _same_call(assertion.value, oracle, expectation):
            return [assertion]
        return [_assert(_condition(checked, expectation))]
    if isinstance(assertion, ast.Assert):
        assertion.test = _with_part(assertion.test, index, _condition(checked, expectation))
        return [assertion]
    return [*oracle.before, _assert(_condition(checked, expectation))]


def _assert(condition: ast.expr) -> ast.stmt:
    return ast.Assert(test=condition, msg=None)


def _condition(checked: ast.expr, expectation: Expectation) -> ast.expr:
    if isinstance(expectation.value, ast.Compare) and expectation.kind in {"compares", "approx"}:
        compared = expectation.value
        return ast.Compare(left=checked, ops=compared.ops, comparators=compared.comparators)
    if expectation.kind == "true":
        return checked
    if expectation.kind == "false":
        return ast.UnaryOp(op=ast.Not(), operand=checked)
    assert expectation.value is not None
    is_one: ast.expr = ast.Call(
        func=ast.Name(id="isinstance", ctx=ast.Load()), args=[checked, expectation.value], keywords=[]
    )
    return is_one if expectation.kind == "instance_of" else ast.UnaryOp(op=ast.Not(), operand=is_one)


def _same_call(call: ast.Call, oracle: Oracle, expectation: Expectation) -> bool:
    """Whether the call can say what is expected, which is then put into it."""
    if not isinstance(expectation.value, ast.Compare) or len(expectation.value.ops) != 1:
        return False
    compared, new = expectation.value, expectation.value.comparators[0]
    if isinstance(oracle.value, ast.Compare):
        old: ast.expr | None = oracle.value.comparators[0]
        is_same = expectation.kind == "compares" and type(oracle.value.ops[0]) is type(compared.ops[0])
    else:
        old = oracle.value
        is_same = expectation.kind == "approx" and oracle.kind == "almost_equals"
        new = new.args[0] if isinstance(new, ast.Call) and new.args else new
    for position, argument in enumerate(call.args[:2]):
        if is_same and argument is old:
            call.args[position] = new
            return True
    return False  # as where what is expected is in the call's name: assertIsNone


def _with_part(test: ast.expr, index: int, new: ast.expr) -> ast.expr:
    """A condition with one of its parts, as `oracles` counts them, replaced."""
    if not (isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And)):
        return new
    for position, part in enumerate(test.values):
        count = len(oracles(ast.Assert(test=part, msg=None)))
        if index < count:
            test.values[position] = _with_part(part, index, new)
            return test
        index -= count
    raise AssertionError("the condition has as many parts as oracles")


def _expecting_event(assertion: ast.stmt, oracle: Oracle, expectation: Expectation) -> list[ast.stmt]:
    assert expectation.value is not None
    if oracle.kind == expectation.kind:  # it is a call, or the opening of a `with`: its other arguments stay
        opening: ast.expr | None = None
        if isinstance(assertion, ast.Expr):
            opening = assertion.value
        elif isinstance(assertion, ast.With | ast.AsyncWith):
            opening = next(item.context_expr for item in assertion.items if _expects(item.context_expr, oracle))
        assert isinstance(opening, ast.Call)
        opening.args[0] = expectation.value
        return [assertion]
    checked = oracle.checked if isinstance(oracle.checked, ast.stmt) else ast.Expr(value=oracle.checked)
    template = _RAISES if expectation.kind == "raises" else _WARNS
    return _filled(template, {"EXPECTED": expectation.value}, [*oracle.before, checked])


def _expects(node: ast.expr, oracle: Oracle) -> bool:
    return isinstance(node, ast.Call) and bool(node.args) and node.args[0] is oracle.value


def _filled(template: str, values: Mapping[str, ast.expr], body: list[ast.stmt]) -> list[ast.stmt]:
    """The statements of a template, with its names in capitals replaced."""

    class Filler(ast.NodeTransformer):
        def visit_Expr(self, node: ast.Expr) -> ast.AST | list[ast.stmt]:
            if isinstance(node.value, ast.Name) and node.value.id == "BODY":
                return body
            return self.generic_visit(node)

        def visit_Name(self, node: ast.Name) -> ast.AST:
            return copy.deepcopy(values[node.id]) if node.id in values else node

    filled = Filler().visit(ast.parse(template))
    assert isinstance(filled, ast.Module)
    return filled.body
