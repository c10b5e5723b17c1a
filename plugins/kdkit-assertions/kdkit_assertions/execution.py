"""The `execution` metric suite: generated assertions are put in their tests and run.

It is for the rows of the data set `python-tests`. A generated oracle or assertion is put where the true one stood (see
`kdkit_assertions.placing`), and its test is run up to there, in a process of its own, within limits (see
`kdkit_assertions.row_process`). Values of a row, 1 or 0:

- `holds`: the test ran, and the assertion held;
- `fails`: the test ran, and the assertion did not hold;
- `does_not_run`: the text is no assertion that fits there, or something else was raised, or a limit was passed;
- `truth_holds`: the true assertion holds when it is run in the same way, which is the most that can be reached;
- `not_runnable`: the test cannot be run as it is here, whatever its assertion says (it takes fixtures, is skipped, or
  never comes to its assertion); such a row counts as `does_not_run`;
- `holds_of_runnable`: `holds`, over the rows whose true assertion holds.

What an assertion is worth is not said: `assert True` holds.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import TYPE_CHECKING, Any, ClassVar

import attrs

from kdkit.api import at_least_one, not_negative, option, positive
from kdkit.errors import Mismatch
from kdkit_assertions.calling import DOES_NOT_RUN, FAILS, HOLDS, NOT_RUNNABLE
from kdkit_assertions.installed import version_of
from kdkit_assertions.placing import Row

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kdkit.api import Example
    from kdkit_assertions.row_pool import Ask

NOTHING = (
    "this system cannot confine generated code: malicious code can read and change everything that you can, "
    "and use the network, so run it only where nothing can be lost"
)
METRICS = ("holds", "fails", "does_not_run", "truth_holds", "not_runnable", "holds_of_runnable")


@attrs.frozen(kw_only=True)
class Execution:
    """Whether generated assertions hold: each is run in its test, in a process of its own."""

    directions: ClassVar[dict[str, str]] = {
        "fails": "lower",
        "does_not_run": "lower",
        # What the rows are, whoever writes.
        "truth_holds": "neither",
        "not_runnable": "neither",
    }

    allow_execution: bool = option("Must be true, since this suite runs code that a model wrote.", default=False)
    time_limit: float = option(
        "Seconds of computing time for a test; it may last three times as long.", default=10.0, check=positive
    )
    memory_mb: int = option(
        "Megabytes of memory for a test, beyond the imported packages.", default=1024, check=at_least_one
    )
    workers: int = option("How many processes run tests at a time; 0 for one per core.", default=0, check=not_negative)
    _known: dict[tuple[Row, str | None], str] = attrs.field(init=False, factory=dict, eq=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if not self.allow_execution:
            raise ValueError(
                "this suite runs code that a model wrote; set allow_execution = true if you want that, or "
                'remove the suite "execution"'
            )
        if sys.platform == "win32":
            raise ValueError('the suite "execution" needs Linux or macOS, since Windows cannot fork; remove the suite')

    def check(self, examples: Sequence[Example]) -> Sequence[str]:
        """Start a process as for a row; returns what this machine lacks to confine generated code.

        Raises:
            Mismatch: The rows were made of other versions of the packages than are installed.
            KdkitError: A process to run tests in cannot be started.
        """
        from kdkit_assertions.row_pool import confinement_here

        runnable = [example for example in examples if row_of(example) is not None]
        _check_versions(runnable)
        if not runnable:
            return []
        confined = attrs.asdict(confinement_here())
        lacking = [name for name, holds in confined.items() if not holds]
        where = 'see "Running generated code" in docs/evaluation.md'
        if len(lacking) == len(confined):
            return [f"{NOTHING}; {where}"]
        names = ", ".join(f"`{name}`" for name in lacking)
        return [f"generated code runs without {names} here; {where}"] if names else []

    def score(
        self, generated: Sequence[str], references: Sequence[str], examples: Sequence[Example]
    ) -> Mapping[str, Sequence[float | None]]:
        """Run every text; None for rows that are not of `python-tests`.

        What a text does when it is run has nothing to do with what it is compared with. So there are values where the
        references are the ground truth, and no metrics where they are something else.

        Raises:
            Mismatch: The rows were made of other versions of the packages than are installed.
            KdkitError: A process to run tests in cannot be started.
        """
        if list(references) != [example.target for example in examples]:
            return {}
        rows = [row_of(example) for example in examples]
        if examples and not any(rows):
            warnings.warn(
                'the suite "execution" can run only rows of the data set "python-tests", and there are none',
                stacklevel=2,
            )
        _check_versions(example for example, row in zip(examples, rows, strict=True) if row is not None)
        asks = [
            (row, None if text.strip() == row.target.strip() else text) if row is not None else None
            for row, text in zip(rows, generated, strict=True)
        ]
        self._find_out([*(ask for ask in asks if ask is not None), *((row, None) for row in rows if row is not None)])
        return _columns([self._values(ask) for ask in asks])

    def _find_out(self, asks: Sequence[Ask]) -> None:
        """Run what was not run before: the true assertions serve all models."""
        from kdkit_assertions.row_pool import Limits, verdicts_of
        from kdkit_assertions.row_process import NOT_THERE

        wanted = [ask for ask in dict.fromkeys(asks) if ask not in self._known]
        limits = Limits(seconds=self.time_limit, memory_bytes=self.memory_mb * 2**20)
        found = dict(zip(wanted, verdicts_of(wanted, limits, workers=self.workers or os.cpu_count() or 1), strict=True))
        for (row, _), verdict in found.items():
            if verdict == NOT_THERE:
                raise Mismatch(
                    f"the installed test {row.module}::{row.test} has no such assertion at line {row.line}; "
                    "the rows were read from other files than those installed: install these versions, or "
                    "read the data again"
                )
        self._known.update(found)

    def _values(self, ask: Ask | None) -> dict[str, float]:
        if ask is None:
            return {}
        verdict, truth = self._known[ask], self._known[ask[0], None]
        values = {
            "holds": verdict == HOLDS,
            "fails": verdict == FAILS,
            "does_not_run": verdict in {DOES_NOT_RUN, NOT_RUNNABLE},
            "truth_holds": truth == HOLDS,
            "not_runnable": truth == NOT_RUNNABLE,
        }
        if truth == HOLDS:
            values["holds_of_runnable"] = verdict == HOLDS
        return {name: float(value) for name, value in values.items()}


def row_of(example: Example) -> Row | None:
    """What identifies an example's assertions; None where it is not of `python-tests`."""
    meta = example.meta
    task, module, test, line = (meta.get(name) for name in ("task", "module", "test", "line"))
    number = example.id.rpartition("#")[2]
    if task not in {"oracle", "assertion"} or not number.isdecimal():
        return None
    if not (isinstance(module, str) and isinstance(test, str) and isinstance(line, int)):
        return None
    return Row(task=task, module=module, test=test, number=int(number), line=line, target=example.target)


def _check_versions(examples: Any) -> None:
    for package in sorted({str(example.meta.get("package")) for example in examples}):
        name, _, version = package.partition(" ")
        installed = version_of(name)
        if installed != version:
            raise Mismatch(
                f"the rows were read from {package}, but "
                f"{f'{name} {installed}' if installed else f'no {name}'} is installed; run `pip install "
                f"{name}=={version}` to run their tests"
            )


def _columns(rows: Sequence[Mapping[str, float]]) -> dict[str, list[float | None]]:
    return {metric: [row.get(metric) for row in rows] for metric in METRICS}
