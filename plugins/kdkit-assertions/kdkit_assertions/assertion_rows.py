"""Rows of the assertion task of `python-tests`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.api import Example
from kdkit_assertions.checks import called_name, kind_of, one_line
from kdkit_assertions.contexts import LinedTest
from kdkit_assertions.focal import Calls, FocalIndex, Imports
from kdkit_assertions.masking import masked_windows
from kdkit_assertions.mining import TARGET_TOO_LONG, facts
from kdkit_assertions.prompt import assertion_prompt

if TYPE_CHECKING:
    import ast
    from collections.abc import Iterator, Sequence

    from kdkit_assertions.focal import Definition
    from kdkit_assertions.masking import MaskedTest
    from kdkit_assertions.mining import MinedTest, Package, Parsed, Skipped


class AssertionRows:
    """Makes the rows of the assertion task.

    The source is the thesis's prompt: focal code, then a window of the test with its assertions masked; the target is
    these assertions, one a line. A row is `answerable` where the masked test still calls a function that is shown as
    focal code.
    """

    def __init__(
        self, package: Package, *, max_asserts: int, focal_functions: int, max_focal_chars: int, max_target_chars: int
    ) -> None:
        self.package, self.max_asserts, self.max_target_chars = package, max_asserts, max_target_chars
        self.focal_functions, self.max_focal_chars = focal_functions, max_focal_chars
        self.index = FocalIndex.of(package) if focal_functions else FocalIndex(package.name, ())

    def module(self, parsed: Parsed) -> AssertionModule:
        """Begin a test module."""
        return AssertionModule(self, parsed, Imports(parsed))


@attrs.frozen(eq=False)
class AssertionModule:
    """A test module of which rows are made."""

    maker: AssertionRows
    parsed: Parsed
    imports: Imports

    def rows(self, test: MinedTest, skipped: Skipped) -> Iterator[Example]:
        """The rows of a test."""
        lines = LinedTest(test.node, setup=(), module=(), relevant=False)
        calls = Calls()
        for number, window in enumerate(masked_windows(self.parsed, test.node, at_most=self.maker.max_asserts)):
            id_ = f"{test.id}#{number}"
            statements = [one_line(node) for node in window.assertions]
            target = "\n".join(statements)
            shown = {line.strip() for line in window.text.splitlines()}
            if self.maker.max_target_chars and len(target) > self.maker.max_target_chars:
                skipped[TARGET_TOO_LONG].append(id_)
            elif shown.intersection(statements):
                skipped["one of its assertions is also in the masked test"].append(id_)
            else:
                yield self._row(id_, test, window, statements, lines.seen_before(window.assertions[-1]), calls)

    def _row(
        self,
        id_: str,
        test: MinedTest,
        window: MaskedTest,
        statements: list[str],
        visible: Sequence[ast.AST],
        calls: Calls,
    ) -> Example:
        called = calls.of([*visible, *window.assertions])
        shown = self.maker.index.meant(called, self.parsed, self.imports)
        shown = shown[: self.maker.focal_functions]
        source, cuts = assertion_prompt(_focal_code([d for _, d in shown], self.maker.max_focal_chars), window.text)
        names = {name for name, _ in shown}
        meta = facts(
            self.maker.package,
            test,
            task="assertion",
            line=window.assertions[0].lineno,
            kinds=[kind_of(node) for node in window.assertions],
            answerable=any(called_name(call) in names for call in calls.of(visible)),
        )
        meta["assertions"] = statements
        return Example(id=id_, source=source, target="\n".join(statements), cuts=cuts, meta=meta)


def _focal_code(definitions: Sequence[Definition], chars: int) -> str:
    """Definitions, one after the other, in whole lines as far as they fit."""
    code = "\n\n".join(definition.code for definition in definitions)
    if not chars or len(code) <= chars:
        return code
    return code[: code.rfind("\n", 0, chars + 1) + 1].rstrip()
