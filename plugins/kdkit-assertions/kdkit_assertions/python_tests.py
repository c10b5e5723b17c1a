"""The data set `python-tests`: the test suites of installed Python packages, read with `ast` and never imported."""

from __future__ import annotations

import gc
import sys
from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
from attrs import validators

from kdkit.api import SPLITS, Corpus, Drop, Example, at_least_one, not_negative, one_of, option, share
from kdkit.errors import UsageError
from kdkit_assertions.assertion_rows import AssertionRows
from kdkit_assertions.checks import KINDS
from kdkit_assertions.mining import UNUSABLE, Package, digest_of_files, find_package, parse, tests_of
from kdkit_assertions.oracle_rows import OracleRows
from kdkit_assertions.splits import ByModule, ByPackage, drop, sample, without_repeats

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from kdkit.api import Progress, SplitName, Task
    from kdkit_assertions.mining import Skipped, Source


def _top_level_names(_: object, field: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
    for name in value:
        if not name.isidentifier():
            raise ValueError(f'{field.name}: "{name}" is not the import name of a top-level package')


def _among_packages(data_set: PythonTests, field: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
    for name in value:
        if name not in data_set.packages:
            raise ValueError(f'{field.name}: "{name}" is not in packages, which are {list(data_set.packages)}')


def _known_kinds(_: object, field: attrs.Attribute[Any], value: tuple[str, ...]) -> None:
    for kind in value:
        if kind not in KINDS:
            raise ValueError(f'{field.name}: "{kind}" is not a kind of assertion; the kinds are {", ".join(KINDS)}')


# Which options count only while another one has a certain value.
_ONLY_WITH = {
    ("task", "oracle"): ("kinds", "context", "context_lines", "max_context_chars", "max_checked_chars"),
    ("task", "assertion"): ("max_asserts", "focal_functions", "max_focal_chars"),
    ("split_by", "module"): ("test_share",),
    ("split_by", "package"): ("validation_packages", "test_packages"),
}


@attrs.frozen(kw_only=True)
class PythonTests:
    """Tests of installed Python packages: whole assertions to fill in, or what is expected of a checked expression."""

    packages: tuple[str, ...] = option(
        "Import names of the packages whose tests are read, without importing them.",
        default=("sympy", "networkx"),
        check=validators.and_(validators.min_len(1), _top_level_names),
    )
    task: str = option(
        '"oracle": the test up to a checked expression -> "== 3", "is None", "raises ValueError", ...; '
        '"assertion": a test with its assertions masked, after the functions that it calls -> the assertions.',
        default="oracle",
        check=one_of("oracle", "assertion"),
    )
    split_by: str = option(
        "Unit that goes as a whole to train, validation or test: a test module or a package.",
        default="module",
        check=one_of("module", "package"),
    )
    validation_share: float = option("Share of the test modules for validation.", default=0.1, check=share)
    test_share: float = option(
        "With split_by module: share of the test modules held out for the test split.", default=0.1, check=share
    )
    validation_packages: tuple[str, ...] = option(
        "With split_by package: packages for validation; by default, validation_share of the other packages' modules.",
        default=(),
        check=_among_packages,
    )
    test_packages: tuple[str, ...] = option(
        "With split_by package: packages held out for the test split; by default, the validation rows are scored.",
        default=(),
        check=_among_packages,
    )
    split_salt: str = option("Any text; another one gives another split and another choice of rows.", default="")
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
    train_rows: int = option("Most training rows, drawn over all modules; 0 for all.", default=0, check=not_negative)
    validation_rows: int = option("Most validation rows, drawn likewise; 0 for all.", default=0, check=not_negative)
    test_rows: int = option("Most test rows, drawn likewise; 0 for all.", default=0, check=not_negative)

    def __attrs_post_init__(self) -> None:
        fields = attrs.fields_dict(type(self))
        for (choice, wanted), names in _ONLY_WITH.items():
            chosen = getattr(self, choice)
            for name in names:
                if chosen != wanted and getattr(self, name) != fields[name].default:
                    raise UsageError(
                        f'{name} has an effect only with {choice} = "{wanted}", but {choice} is "{chosen}"; '
                        f"remove {name} or change {choice}"
                    )

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
        with _collector_paused():
            with progress.task("data", total=total, unit="modules") as task:
                for package in packages:
                    self._read(package, rows, skipped, task)
            return self._corpus(rows, [drop(reason, where) for reason, where in skipped.items()])

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
        division, maker = self._division(), self._maker(package)
        for source in package.tests:
            rows[division.split_of(source.module)] += _rows(source, maker, skipped, task)

    def _division(self) -> ByModule | ByPackage:
        by_module = ByModule(
            validation_share=self.validation_share,
            test_share=self.test_share if self.split_by == "module" else 0.0,
            salt=self.split_salt,
        )
        if self.split_by == "module":
            return by_module
        return ByPackage(
            validation_packages=frozenset(self.validation_packages),
            test_packages=frozenset(self.test_packages),
            otherwise=by_module,
        )

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

    def _corpus(self, rows: Mapping[SplitName, Sequence[Example]], drops: list[Drop]) -> Corpus:
        test = without_repeats(rows["test"], held_out=())
        validation = without_repeats(rows["validation"], held_out=rows["test"])
        train = without_repeats(rows["train"], held_out=(*rows["validation"], *rows["test"]))
        corpus = Corpus(
            train=sample(train.rows, self.train_rows, salt=self.split_salt),
            validation=sample(validation.rows, self.validation_rows, salt=self.split_salt),
            test=sample(test.rows, self.test_rows, salt=self.split_salt),
            drops=(*drops, *_joined(train.drops, validation.drops, test.drops)),
        )
        for name in ("train", "validation"):
            if not corpus.split(name):
                raise UsageError(
                    f"the tests of {', '.join(self.packages)} give no usable row for {name}; change the "
                    "shares or packages in [data], or relax its limits"
                )
        return corpus


@contextmanager
def _collector_paused() -> Iterator[None]:
    """No garbage collection meanwhile: syntax trees hold no cycles, and searching them for some doubles the time."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


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


def _joined(*drops: Sequence[Drop]) -> list[Drop]:
    """Drops of several splits, one for each reason."""
    merged: dict[str, Drop] = {}
    for one in (one for split in drops for one in split):
        other = merged.get(one.reason, Drop(reason=one.reason, count=0))
        first = (*other.first, *one.first)[:3]
        merged[one.reason] = Drop(reason=one.reason, count=other.count + one.count, first=first)
    return list(merged.values())
