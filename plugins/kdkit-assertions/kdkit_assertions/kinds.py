"""Kinds of assertions: what a statement asserts, in one word."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from kdkit_assertions.statements import spell, tokens_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit_assertions.statements import Token

_COMPARISON = re.compile(r"==|!=|\bis not\b|\bis\b|\bnot in\b|\bin\b|\binstanceof\b|(?<!<)<(?!<)|(?<!>)>(?!>)")
_KIND_OF_COMPARISON = {
    "==": "equals",
    "!=": "not_equals",
    "is": "is",
    "is not": "is_not",
    "in": "in",
    "not in": "not_in",
    "instanceof": "instance_of",
    "<": "compares",
    ">": "compares",
}
_ALTERNATIVES = re.compile(r"\b(?:or|if|lambda)\b|\|\||\?")
_AND = re.compile(r"\band\b|&&")
_NOT = re.compile(r"not\b(?! in\b)|!(?!=)")
_APPROX = re.compile(r"[=!]=(?:[\w$]+\.)*approx\(\)")
_IS_INSTANCE = re.compile(r"isinstance(?:\(\)$| )")

_ASSERT_STATEMENT = re.compile(r"assert\b\s*(.*?);?", re.DOTALL)
_ASSERT_CALL = re.compile(r"(?:[\w$]+\.)*_*assert([\w$]+)\(\)")
_KNOWN_CALL = re.compile(r"(?:with )?(?:[\w$]+\.)*_*(raises|warns|fail|verify)\b")
_BARE_END = re.compile(r"(?:[=!<>]|(?:is|not|in|isinstance)\b).*", re.DOTALL)

# Names after `assert`, as words with underscores: those of JUnit, AssertJ and Truth stand for themselves ...
_NAMED = {
    *("equals", "not_equals", "true", "false", "null", "not_null", "same", "not_same", "instance_of"),
    *("not_instance_of", "array_equals", "iterable_equals", "lines_match", "that", "that_thrown_by", "all", "timeout"),
    *("throws", "throws_exactly", "does_not_throw", "is", "is_not", "in", "not_in", "raises", "warns", "almost_equals"),
}
# ... and those of unittest, NumPy and NetworkX are called what the `assert` statement for the same would be.
_ALIASES = {
    "": "true",
    "equal": "equals",
    "array_equal": "equals",
    "count_equal": "equals",
    "dict_equal": "equals",
    "edges_equal": "equals",
    "graphs_equal": "equals",
    "list_equal": "equals",
    "multi_line_equal": "equals",
    "nodes_equal": "equals",
    "sequence_equal": "equals",
    "set_equal": "equals",
    "tuple_equal": "equals",
    "not_equal": "not_equals",
    "is_none": "is",
    "is_not_none": "is_not",
    "is_instance": "instance_of",
    "not_is_instance": "not_instance_of",
    "raises_regex": "raises",
    "warns_regex": "warns",
    "allclose": "almost_equals",
    "almost_equal": "almost_equals",
    "approx_equal": "almost_equals",
    "array_almost_equal": "almost_equals",
    "greater": "compares",
    "greater_equal": "compares",
    "less": "compares",
    "less_equal": "compares",
}


def kind_of(statement: str) -> str:
    """The kind of an assertion: "equals", "throws", "is", ...; "other" where none is known.

    A call is known by its name: `assertNotNull(x)` and `Assert.assertNotNull(x)` are "not_null",
    `self.assertEqual(x, y)` is "equals", `pytest.raises(E)` "raises". An `assert` statement, or the bare end of one
    (`== 3`, `is None`, `is true`), is known by its comparison: "equals", "almost_equals", "not_equals", "is", "is_not",
    "in", "not_in", "compares", "instance_of", "not_instance_of"; without one it is "true" or, negated, "false". Of a
    conjunction the first part counts.

    Args:
        statement: One statement, as `split_statements` gives it.
    """
    tokens = list(tokens_of(statement, "python"))
    outline = _outline(tokens)
    if condition := _ASSERT_STATEMENT.fullmatch(outline):
        inner = _outline([token._replace(depth=token.depth - 1) for token in tokens if token.depth > 0])
        in_parentheses = condition[1] == "()" and tokens[1].text == "("
        return _kind_of_condition(inner if in_parentheses else condition[1])
    if call := _ASSERT_CALL.match(outline):
        return _kind_of_name(call[1])
    if call := _KNOWN_CALL.match(outline):
        return call[1]
    if outline in {"is true", "is false"}:  # how the `python-tests` data set writes that a value counts as true
        return outline.removeprefix("is ")
    return _kind_of_condition(outline) if _BARE_END.fullmatch(outline) else "other"


def _outline(tokens: Sequence[Token]) -> str:
    """The tokens outside brackets, each bracket with all that it holds written as `()` and each literal as `0`."""
    shown = []
    for token in tokens:
        if token.depth == 0 and token.text in ("(", "[", "{"):
            shown.append(token._replace(text="()"))
        elif token.depth == 0 and token.text not in (")", "]", "}"):
            shown.append(token._replace(text="0") if token.kind == "literal" else token)
    return spell(shown)


def _kind_of_condition(outline: str) -> str:
    condition = outline.partition(",")[0]
    if _ALTERNATIVES.search(condition):
        return "true"
    first = _AND.split(condition)[0].strip()
    if negation := _NOT.match(first):
        return "not_instance_of" if _IS_INSTANCE.match(first[negation.end() :].strip()) else "false"
    if _IS_INSTANCE.match(first):
        return "instance_of"
    comparison = _COMPARISON.search(first)
    if comparison is None:
        return "true"
    return "almost_equals" if _APPROX.match(first, comparison.start()) else _KIND_OF_COMPARISON[comparison[0]]


def _kind_of_name(name: str) -> str:
    """The kind of what `name` says after `assert`: `NotNull` or `_not_null`."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower().strip("_")
    return _ALIASES.get(words, words if words in _NAMED else "other")
