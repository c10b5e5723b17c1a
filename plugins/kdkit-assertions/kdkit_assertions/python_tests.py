"""The data set `python-tests`: the test suites of installed Python packages, read with `ast` and never imported."""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from kdkit.api import SPLITS, Corpus, Example, at_least_one, not_negative, one_of, option
from kdkit_assertions.assertion_rows import AssertionRows
from kdkit_assertions.checks import KINDS
from kdkit_assertions.mining import UNUSABLE, Package, digest_of_files, find_package, parse, tests_of
from kdkit_assertions.oracle_rows import OracleRows
from kdkit_assertions.package_options import PackageOptions, collector_paused

if TYPE_CHECKING:
    from kdkit.api import Progress, SplitName, Task
    from kdkit_assertions.mining import Skipped, Source


def _known_kinds(_: object, field: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
    for kind in value:
        if kind not in KINDS:
            raise ValueError(f'{field.name}: "{kind}" is not a kind of assertion; the kinds are {", ".join(KINDS)}')


# Which options count only while another one has a certain value, beside those of all data sets of packages.
ONLY_WITH = {
    ("task", "oracle"): ("kinds", "context", "context_lines", "max_context_chars", "max_checked_chars"),
    ("task", "assertion"): ("max_asserts", "focal_functions", "max_focal_chars"),
}


@attrs.frozen(kw_only=True)
class PythonTests(PackageOptions):
    """Tests of installed Python packages: whole assertions to fill in, or what is expected of a checked expression."""

    task: str = option(
        '"oracle": the test up to a checked expression -> "== 3", "is None", "raises ValueError", ...; '
        '"assertion": a test with its assertions masked, after the functions that it calls -> the assertions.',
        default="oracle",
        check=one_of("oracle", "assertion"),
    )
    kinds: tuple[str, ...] = option(
        "Oracle task: kinds of assertions to make rows of; by default all.", default=(), check=_known_kinds
    )
    context: str = option(
        'Oracle task: "relevant" keeps the statements that affect the checked expression, "all" keeps every statement.',
        default="relevant",
        check=one_of("relevant", "all"),
    )
    context_lines: int = option(
        "Oracle task: how many statements to keep before the checked expression, the nearest ones; 0 for all.",
        default=0,
        check=not_negative,
    )
    max_context_chars: int = option(
        "Oracle task: how many characters to keep before the checked expression, in whole statements; 0 for all.",
        default=0,
        check=not_negative,
    )
    max_checked_chars: int = option(
        "Oracle task: leave out rows whose checked expression has more characters; 0 for no limit.",
        default=0,
        check=not_negative,
    )
    max_target_chars: int = option(
        "Leave out rows whose target has more characters; 0 for no limit.", default=0, check=not_negative
    )
    max_asserts: int = option(
        "Assertion task: most assertions in a row; a test with more makes several rows.",
        default=12,
        check=at_least_one,
    )
    focal_functions: int = option(
        "Assertion task: most functions to show as focal code, the nearest to the test first; 0 for none.",
        default=3,
        check=not_negative,
    )
    max_focal_chars: int = option(
        "Assertion task: most characters of focal code, in whole lines; 0 for all.", default=6000, check=not_negative
    )
    only_with: ClassVar[dict[tuple[str, str], tuple[str, ...]]] = {**PackageOptions.only_with, **ONLY_WITH}

    def load(self, progress: Progress) -> Corpus:
        """Read every test module.

        Rows come in the order of the packages' modules and of their text. With the same versions of the packages and of
        Python they are the same at every reading, ids included. Repeats, and rows that a held-out module has word for
        word as well, are dropped before rows are drawn for `train_rows` and its like.

        Raises:
            MissingInput: A package is not installed or carries no tests.
            UsageError: There is no usable row in train or in validation.
        """
        packages = [find_package(name) for name in sorted(set(self.packages))]
        rows: dict[SplitName, list[Example]] = {name: [] for name in SPLITS}
        skipped: Skipped = defaultdict(list)
        total = sum(len(package.tests) for package in packages)
        with collector_paused():
            with progress.task("data", total=total, unit="modules") as task:
                for package in packages:
                    self._read(package, rows, skipped, task)
            return self.corpus(rows, skipped, "the tests of")

    def inputs(self) -> dict[str, Any]:
        """The files of the packages, this Python, which parses them, and the code that mines them.

        Raises:
            MissingInput: A package is not installed or carries no tests.
        """
        packages = [find_package(name) for name in sorted(set(self.packages))]
        return {
            "packages": {each.name: [each.version, digest_of_files(s.path for s in each.sources)] for each in packages},
            "python": list(sys.version_info[:3]),
            "miner": digest_of_files(sorted(Path(__file__).parent.glob("*.py"))),
        }

    def _read(self, package: Package, rows: dict[SplitName, list[Example]], skipped: Skipped, task: Task) -> None:
        """Add the rows of a package."""
        division, maker = self.division(), self._maker(package)
        for source in package.tests:
            rows[division.split_of(source.module)] += _rows(source, maker, skipped, task)

    def _maker(self, package: Package) -> OracleRows | AssertionRows:
        if self.task == "oracle":
            return OracleRows(
                package,
                kinds=frozenset(self.kinds or KINDS),
                relevant=self.context == "relevant",
                context_lines=self.context_lines,
                max_context_chars=self.max_context_chars,
                max_checked_chars=self.max_checked_chars,
                max_target_chars=self.max_target_chars,
            )
        return AssertionRows(
            package,
            max_asserts=self.max_asserts,
            focal_functions=self.focal_functions,
            max_focal_chars=self.max_focal_chars,
            max_target_chars=self.max_target_chars,
        )


def _rows(source: Source, maker: OracleRows | AssertionRows, skipped: Skipped, task: Task) -> list[Example]:
    """The rows of a test module."""
    task.advance()
    parsed = parse(source)
    if parsed is None:
        skipped["its test module cannot be read or does not parse (each such module counts once)"].append(
            str(source.path)
        )
        return []
    begun = maker.module(parsed)
    rows: list[Example] = []
    for test in tests_of(parsed):
        try:
            rows += list(begun.rows(test, skipped))
        except UNUSABLE:  # it may hold a number of more digits than Python writes
            skipped["its code cannot be written back (each such test counts once)"].append(test.id)
    return rows
