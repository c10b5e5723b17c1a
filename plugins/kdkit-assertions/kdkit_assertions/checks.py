"""Which statements of a test are its assertions, and what each asserts.

| statement | kind |
|---|---|
| `assert a == b` and chains such as `a == b == c` | equals |
| `assert a != b` | not_equals |
| `assert a is b` / `assert a is not b` | is / is_not |
| `assert a in b` / `assert a not in b` | in / not_in |
| `assert a < b`, `<=`, `>`, `>=` | compares |
| `assert a == pytest.approx(b)`, `assertAlmostEqual(a, b)`, `assert_allclose(a, b)` | almost_equals |
| `assert isinstance(a, C)` / `assert not isinstance(a, C)` | instance_of / not_instance_of |
| `assert a` / `assert not a` | true / false |
| `raises(E, ...)`, `with raises(E):`, `assertRaises` | raises |
| `warns(W, ...)`, `with warns(W):`, `assertWarns` | warns |
| `self.assertEqual(a, b)` and its like | as the `assert` that it stands for |
| any other call of `assert...(...)`, and `assert` of a constant | other |

`oracles` turns an assertion into pairs of *what is checked* and *what is expected of it*: `assert f(2) == 3` is `f(2)`
and `== 3`. The expectation is written as an operator and its right side, or as `is true`, `is false` (in lower case:
the value's truth, as distinct from `is True`), `isinstance C`, `not isinstance C`, `== approx(b)`, `raises E`,
`warns W`. `assert a and b` gives two. A literal on the left changes sides. Tolerances and patterns of messages are left
out.
"""

from __future__ import annotations

import ast
from functools import cached_property
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator

KINDS = (
    "equals", "not_equals", "is", "is_not", "in", "not_in", "compares", "almost_equals", "instance_of",
    "not_instance_of", "true", "false", "raises", "warns", "other",
)  # fmt: skip

_OPERATORS: dict[type[ast.cmpop], str] = {
    ast.Eq: "equals", ast.NotEq: "not_equals", ast.Is: "is", ast.IsNot: "is_not", ast.In: "in", ast.NotIn: "not_in",
    ast.Lt: "compares", ast.LtE: "compares", ast.Gt: "compares", ast.GtE: "compares",
}  # fmt: skip

# Calls of two arguments that stand for a comparison.
_COMPARING: dict[str, type[ast.cmpop]] = {
    "assertEqual": ast.Eq, "assertEquals": ast.Eq, "assertListEqual": ast.Eq, "assertDictEqual": ast.Eq,
    "assertSetEqual": ast.Eq, "assertTupleEqual": ast.Eq, "assertSequenceEqual": ast.Eq,
    "assertMultiLineEqual": ast.Eq, "assertCountEqual": ast.Eq, "assert_equal": ast.Eq, "assert_array_equal": ast.Eq,
    "assert_nodes_equal": ast.Eq, "assert_edges_equal": ast.Eq, "assert_graphs_equal": ast.Eq,
    "assertNotEqual": ast.NotEq, "assertIs": ast.Is, "assertIsNot": ast.IsNot, "assertIn": ast.In,
    "assertNotIn": ast.NotIn, "assertLess": ast.Lt, "assertLessEqual": ast.LtE, "assertGreater": ast.Gt,
    "assertGreaterEqual": ast.GtE,
}  # fmt: skip
_ALMOST = frozenset(
    {"assertAlmostEqual", "assert_almost_equal", "assert_allclose", "assert_array_almost_equal", "assert_approx_equal"}
)
_NONE: dict[str, type[ast.cmpop]] = {"assertIsNone": ast.Is, "assertIsNotNone": ast.IsNot}
_TRUTH = {"assertTrue": True, "assert_": True, "assertFalse": False}
_INSTANCE = {"assertIsInstance": True, "assertNotIsInstance": False}
_RAISING = {
    "raises": "raises", "assertRaises": "raises", "assertRaisesRegex": "raises", "assert_raises": "raises",
    "warns": "warns", "assertWarns": "warns", "assertWarnsRegex": "warns",
}  # fmt: skip


@attrs.frozen(kw_only=True, eq=False)
class Oracle:
    """What is expected of a piece of code.

    Attributes:
        kind: One of `KINDS`.
        checked: What is checked.
        form: How what is expected of it is written: "raises {}".
        value: What stands in the form; of a comparison all of it, `_` in place of what is checked.
        before: Statements that run inside the assertion before what is checked (the body of a `with raises`).
    """

    kind: str
    checked: ast.expr | ast.stmt
    form: str
    value: ast.expr | None = None
    before: tuple[ast.stmt, ...] = ()

    @cached_property
    def expected(self) -> str:
        """What is expected, as text."""
        return self.form if self.value is None else self.form.format(_text(self.value).removeprefix("_ "))


def is_assertion(node: ast.stmt) -> bool:
    """Whether a statement is an assertion."""
    if isinstance(node, ast.Assert):
        return True
    if isinstance(node, ast.Expr):
        name = called_name(node.value).lstrip("_")
        return name in _RAISING or name.startswith("assert")
    return isinstance(node, ast.With | ast.AsyncWith) and _raising_item(node) is not None


def assertions(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """The assertions among some statements and the blocks in them, in the order of their text.

    Neither functions defined inside a test (their assertions are their own) nor the body of a `with raises` (it is
    expected to end early: an `assert` in it is what should raise) are searched.
    """
    for node in body:
        if is_assertion(node):
            yield node
        else:
            for block in blocks(node):
                yield from assertions(block)


_COMPOUND = (
    ast.For, ast.AsyncFor, ast.While, ast.If, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match,
)  # fmt: skip


def blocks(node: ast.stmt) -> Iterator[list[ast.stmt]]:
    """The blocks of a compound statement; none for other statements and for definitions."""
    if not isinstance(node, _COMPOUND):
        return
    if isinstance(node, ast.Match):
        yield from (case.body for case in node.cases)
        return
    yield node.body
    if isinstance(node, ast.Try | ast.TryStar):
        yield from (handler.body for handler in node.handlers)
    yield getattr(node, "orelse", [])
    yield getattr(node, "finalbody", [])


def openings(node: ast.stmt) -> Iterator[tuple[str, list[ast.stmt]]]:
    """The same blocks, each with the line that opens it."""
    match node:
        case ast.For() | ast.AsyncFor():
            yield f"for {ast.unparse(node.target)} in {ast.unparse(node.iter)}:", node.body
            yield "else:", node.orelse
        case ast.While():
            yield f"while {ast.unparse(node.test)}:", node.body
            yield "else:", node.orelse
        case ast.If():
            yield f"if {ast.unparse(node.test)}:", node.body
            yield "else:", node.orelse
        case ast.With() | ast.AsyncWith():
            yield f"with {', '.join(map(ast.unparse, node.items))}:", node.body
        case ast.Try() | ast.TryStar():
            yield "try:", node.body
            for handler in node.handlers:
                what = f" {ast.unparse(handler.type)}" if handler.type else ""
                yield f"except{what}{f' as {handler.name}' if handler.name else ''}:", handler.body
            yield "else:", node.orelse
            yield "finally:", node.finalbody
        case ast.Match():
            for case in node.cases:
                yield f"case {ast.unparse(case.pattern)}:", case.body


def one_line(node: ast.stmt) -> str:
    """An assertion's text on one line, as `ast.unparse` writes it; of a `with raises` the line that opens it."""
    if isinstance(node, ast.With | ast.AsyncWith):
        text = f"with {', '.join(map(ast.unparse, node.items))}:"
    else:
        text = ast.unparse(node)
    return text.replace("\n", "\\n")  # only within an f-string can a line end have been written out


def kind_of(node: ast.stmt) -> str:
    """An assertion's kind; of a conjunction that of its first part."""
    found = oracles(node)
    return found[0].kind if found else "other"


def oracles(node: ast.stmt) -> tuple[Oracle, ...]:
    """What an assertion expects of what; nothing for kind other."""
    if isinstance(node, ast.Assert):
        return tuple(_of_condition(node.test))
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        return tuple(_of_call(node.value))
    if isinstance(node, ast.With | ast.AsyncWith) and (item := _raising_item(node)) is not None and item.args:
        kind = _RAISING[called_name(item).lstrip("_")]
        *before, checked = node.body
        return (Oracle(kind=kind, checked=checked, form=f"{kind} {{}}", value=item.args[0], before=tuple(before)),)
    return ()


def called_name(node: ast.expr) -> str:
    """The last name of a called function; empty if the node is not a call or has no name."""
    if isinstance(node, ast.Call):
        if isinstance(node.func, ast.Name):
            return node.func.id
        if isinstance(node.func, ast.Attribute):
            return node.func.attr
    return ""


def _raising_item(node: ast.With | ast.AsyncWith) -> ast.Call | None:
    for item in node.items:
        if isinstance(item.context_expr, ast.Call) and called_name(item.context_expr).lstrip("_") in _RAISING:
            return item.context_expr
    return None


def _text(node: ast.expr) -> str:
    return ast.unparse(node).replace("\n", "\\n")


def _of_condition(test: ast.expr) -> Iterator[Oracle]:
    if isinstance(test, ast.BoolOp) and isinstance(test.op, ast.And):
        for part in test.values:
            yield from _of_condition(part)
    elif isinstance(test, ast.Compare):
        yield _of_comparison(test)
    elif isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        yield _of_truth(test.operand, expected=False)
    elif not isinstance(test, ast.Constant):
        yield _of_truth(test, expected=True)


def _of_comparison(test: ast.Compare) -> Oracle:
    left, right = test.left, test.comparators[0]
    symmetric = len(test.ops) == 1 and isinstance(test.ops[0], ast.Eq | ast.NotEq)
    if symmetric and _is_literal(left) and not _is_literal(right):
        left, right = right, left
    comparators = [right, *test.comparators[1:]]
    # Written with a stand-in on the left, so that the right side gets the brackets that it needs there.
    whole = ast.Compare(left=ast.Name(id="_", ctx=ast.Load()), ops=test.ops, comparators=comparators)
    kind = "almost_equals" if called_name(right) == "approx" else _OPERATORS[type(test.ops[0])]
    return Oracle(kind=kind, checked=left, form="{}", value=whole)


def _is_literal(node: ast.expr) -> bool:
    if isinstance(node, ast.UnaryOp):
        return _is_literal(node.operand)
    if isinstance(node, ast.List | ast.Tuple | ast.Set):
        return all(map(_is_literal, node.elts))
    return isinstance(node, ast.Constant)


def _of_truth(value: ast.expr, *, expected: bool) -> Oracle:
    if isinstance(value, ast.Call) and called_name(value) == "isinstance" and len(value.args) == 2:
        checked, cls = value.args
        if expected:
            return Oracle(kind="instance_of", checked=checked, form="isinstance {}", value=cls)
        return Oracle(kind="not_instance_of", checked=checked, form="not isinstance {}", value=cls)
    word = "true" if expected else "false"
    return Oracle(kind=word, checked=value, form=f"is {word}")


def _of_call(call: ast.Call) -> Iterator[Oracle]:
    name, args = called_name(call).lstrip("_"), call.args
    if any(isinstance(arg, ast.Starred) for arg in args[:2]):
        return
    if name in _RAISING and len(args) >= 2:
        kind = _RAISING[name]
        yield Oracle(kind=kind, checked=_what_raises(call), form=f"{kind} {{}}", value=args[0])
    elif name in _COMPARING and len(args) >= 2:
        yield _of_comparison(ast.Compare(left=args[0], ops=[_COMPARING[name]()], comparators=[args[1]]))
    elif name in _ALMOST and len(args) >= 2:
        yield Oracle(kind="almost_equals", checked=args[0], form="== approx({})", value=args[1])
    elif name in _NONE and args:
        yield _of_comparison(ast.Compare(left=args[0], ops=[_NONE[name]()], comparators=[ast.Constant(value=None)]))
    elif name in _INSTANCE and len(args) >= 2:
        yield _of_truth(
            ast.Call(func=ast.Name(id="isinstance", ctx=ast.Load()), args=args[:2], keywords=[]),
            expected=_INSTANCE[name],
        )
    elif name in _TRUTH and args:
        yield _of_truth(args[0], expected=_TRUTH[name])


def _what_raises(call: ast.Call) -> ast.expr:
    """What `raises(E, code, *arguments)` runs: a function without arguments, code as text, or a call in parts."""
    function, *arguments = call.args[1:]
    if isinstance(function, ast.Lambda) and not arguments and not function.args.args:
        return function.body
    if isinstance(function, ast.Constant) and isinstance(function.value, str):
        return ast.Name(id=function.value.strip(), ctx=ast.Load())  # written as it stands
    return ast.copy_location(ast.Call(func=function, args=arguments, keywords=call.keywords), call)
