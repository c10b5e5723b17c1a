"""Rows of the oracle task of `python-tests`."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import attrs

from kdkit.api import Cut, Example
from kdkit_assertions.checks import called_name, oracles
from kdkit_assertions.contexts import Line, LinedTest
from kdkit_assertions.focal import defined_names
from kdkit_assertions.mining import TARGET_TOO_LONG, descendants, facts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdkit_assertions.checks import Oracle
    from kdkit_assertions.contexts import Place
    from kdkit_assertions.mining import MinedTest, Package, Parsed, Skipped


class OracleRows:
    """Makes the rows of the oracle task.

    The source is the context and then, on its last line, what is checked; the target is what is expected of it. A row
    is `answerable` where what is checked calls something by a name that the package's own code defines.
    """

    def __init__(
        self,
        package: Package,
        *,
        kinds: frozenset[str],
        relevant: bool,
        context_lines: int,
        max_context_chars: int,
        max_checked_chars: int,
        max_target_chars: int,
    ) -> None:
        self.package, self.kinds, self.relevant = package, kinds, relevant
        self.context_lines, self.max_context_chars = context_lines, max_context_chars
        self.max_checked_chars, self.max_target_chars = max_checked_chars, max_target_chars
        self.names = defined_names(package)

    def module(self, parsed: Parsed) -> OracleModule:
        """Begin a test module."""
        assignments = [node for node in parsed.tree.body if isinstance(node, ast.Assign | ast.AnnAssign)]
        return OracleModule(self, tuple(Line(0, (node,)) for node in assignments))


@attrs.frozen(eq=False)
class OracleModule:
    """A test module of which rows are made; `assignments` are those at its top level."""

    maker: OracleRows
    assignments: tuple[Line, ...]

    def rows(self, test: MinedTest, skipped: Skipped) -> Iterator[Example]:
        """The rows of a test."""
        lines = LinedTest(test.node, setup=test.setup, module=self.assignments, relevant=self.maker.relevant)
        number = 0
        for place in lines.places:
            found = oracles(place.assertion)
            if not found:
                where = f"{test.id}, line {place.assertion.lineno}"
                skipped["its assertion does not compare an expression with an expected value"].append(where)
            for oracle in found:
                made = self._row(f"{test.id}#{number}", test, lines, place, oracle)
                number += 1
                if isinstance(made, Example):
                    yield made
                else:
                    skipped[made].append(f"{test.id}#{number - 1}")

    def _row(self, id_: str, test: MinedTest, lines: LinedTest, place: Place, oracle: Oracle) -> Example | str:
        """The row of an oracle, or why there is none."""
        maker = self.maker
        if oracle.kind not in maker.kinds:
            return "its kind is not among kinds"
        if maker.max_target_chars and len(oracle.expected) > maker.max_target_chars:
            return TARGET_TOO_LONG
        context, checked = lines.context(place, oracle, at_most=maker.context_lines, chars=maker.max_context_chars)
        if maker.max_checked_chars and len(checked) > maker.max_checked_chars:
            return "what it checks is longer than max_checked_chars"
        cut = Cut(start=0, end=len(context), drop_start=0, drop_end=len(context) + 1, keep="tail")
        return Example(
            id=id_,
            source=f"{context}\n{checked}" if context else checked,
            target=oracle.expected,
            cuts=(cut,) if context else (),
            meta=facts(
                maker.package,
                test,
                task="oracle",
                line=place.assertion.lineno,
                kinds=[oracle.kind],
                answerable=any(
                    isinstance(part, ast.Call) and called_name(part) in maker.names
                    for part in descendants(oracle.checked)
                ),
            ),
        )
