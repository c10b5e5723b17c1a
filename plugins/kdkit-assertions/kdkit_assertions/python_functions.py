"""The data set `python-functions`: the functions of installed Python packages, as texts for decoder-only models."""

from __future__ import annotations

import ast
import sys
import textwrap
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from kdkit.api import SPLITS, Example, not_negative, option
from kdkit_assertions.mining import UNUSABLE, Function, digest_of_files, find_code, parse
from kdkit_assertions.package_options import PackageOptions, collector_paused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kdkit.api import Corpus, Progress, SplitName
    from kdkit_assertions.mining import Package, Parsed, Skipped, Source


@attrs.frozen(kw_only=True)
class PythonFunctions(PackageOptions):
    """Functions and methods of installed Python packages, a text each, tests left out; for decoder-only models."""

    docstrings: bool = option("Whether functions keep their docstrings.", default=True)
    min_lines: int = option("Leave out functions of fewer lines; 0 for no limit.", default=3, check=not_negative)
    max_chars: int = option("Leave out functions of more characters; 0 for no limit.", default=0, check=not_negative)

    @property
    def form(self) -> str:
        """Its rows are texts."""
        return "text"

    def load(self, progress: Progress) -> Corpus:
        """Read every module.

        Rows come in the order of the packages' modules and of their text. A function that another split has word for
        word is left out of the training rows.

        Raises:
            MissingInput: A package is not installed.
            UsageError: There is no usable row in train or in validation.
        """
        packages = [find_code(name) for name in sorted(set(self.packages))]
        rows: dict[SplitName, list[Example]] = {name: [] for name in SPLITS}
        skipped: Skipped = defaultdict(list)
        division, total = self.division(), sum(len(package.code) for package in packages)
        with collector_paused(), progress.task("data", total=total, unit="modules") as task:
            for package in packages:
                for source in package.code:
                    task.advance()
                    rows[division.split_of(source.module)] += self._rows(package, source, skipped)
        return self.corpus(rows, skipped, "the functions of")

    def inputs(self) -> dict[str, Any]:
        """The files of the packages, this Python, which parses them, and the code that mines them.

        Raises:
            MissingInput: A package is not installed.
        """
        packages = [find_code(name) for name in sorted(set(self.packages))]
        return {
            "packages": {each.name: [each.version, digest_of_files(s.path for s in each.code)] for each in packages},
            "python": list(sys.version_info[:3]),
            "miner": digest_of_files(sorted(Path(__file__).parent.glob("*.py"))),
        }

    def _rows(self, package: Package, source: Source, skipped: Skipped) -> Iterator[Example]:
        parsed = parse(source)
        if parsed is None:
            skipped["its module cannot be read or does not parse (each such module counts once)"].append(
                str(source.path)
            )
            return
        seen: dict[str, int] = {}
        for name, node in _functions(parsed.tree.body, ""):
            seen[name] = seen.get(name, 0) + 1
            id_ = f"{source.module}::{name}" if seen[name] == 1 else f"{source.module}::{name}~{seen[name]}"
            try:
                text = _text(parsed, node, docstrings=self.docstrings)
            except UNUSABLE:
                skipped["its code cannot be written back"].append(id_)
                continue
            if text.count("\n") < self.min_lines:
                skipped["it has fewer lines than min_lines"].append(id_)
            elif self.max_chars and len(text) > self.max_chars:
                skipped["it has more characters than max_chars"].append(id_)
            else:
                facts = {
                    "package": f"{package.name} {package.version}".strip(),
                    "module": source.module,
                    "line": node.lineno,
                }
                yield Example(id=id_, source="", target=text, form="text", meta=facts)


def _functions(body: list[ast.stmt], owner: str) -> Iterator[tuple[str, Function]]:
    """The functions of a module and the methods of its classes; what is defined within a function belongs to it."""
    for node in body:
        if isinstance(node, Function):
            yield f"{owner}{node.name}", node
        elif isinstance(node, ast.ClassDef):
            yield from _functions(node.body, f"{owner}{node.name}.")
        elif isinstance(node, ast.If | ast.Try | ast.With):
            yield from _functions(node.body, owner)
            yield from _functions(getattr(node, "orelse", []), owner)


def _text(parsed: Parsed, node: Function, *, docstrings: bool) -> str:
    """A function as it stands in its file, decorators included, from the first column."""
    first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
    assert node.end_lineno is not None
    lines = parsed.lines[first - 1 : node.end_lineno]
    if not docstrings and ast.get_docstring(node, clean=False) is not None and len(node.body) > 1:
        said = node.body[0]
        assert said.end_lineno is not None
        if node.body[1].lineno > said.end_lineno and said.lineno > node.lineno:  # on lines of its own
            del lines[said.lineno - first : said.end_lineno - first + 1]
    return textwrap.dedent("".join(lines)).rstrip() + "\n"
