"""How often the true assertions of `python-tests` hold when they are run: the ceiling of the suite `execution`.

    python benchmarks/execution_ceiling.py [--json] [--packages networkx sympy] [--rows 200] [--workers 2]

It needs kdkit-assertions, the packages and pytest. Rows are drawn at random from all splits, by a fixed seed: so many
of the oracle task for each package, and half as many of the assertion task, whose rows hold several assertions. It runs
the packages' tests, confined as the machine allows; what holds of that is printed too.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time

import attrs

from kdkit.system.progress import Silent
from kdkit_assertions.execution import Execution
from kdkit_assertions.python_tests import PythonTests
from kdkit_assertions.row_pool import confinement_here

SEED = 7
SHOWN = ("truth_holds", "not_runnable")


def ceiling(package: str, task: str, count: int, workers: int) -> dict:
    """What comes of running the true assertions of some rows."""
    corpus = PythonTests(packages=(package,), task=task).load(Silent())
    rows = [*corpus.train, *corpus.validation, *corpus.test]
    drawn = random.Random(SEED).sample(rows, min(count, len(rows)))
    targets = [row.target for row in drawn]
    began = time.perf_counter()
    found = Execution(allow_execution=True, workers=workers).score(targets, targets, drawn)
    seconds = time.perf_counter() - began
    shares = {metric: sum(found[metric]) / len(drawn) for metric in SHOWN}
    return {"package": drawn[0].meta["package"], "task": task, "rows": len(drawn), "seconds": seconds, **shares}


def main() -> None:
    """Run the true assertions and print how often they hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--packages", nargs="+", default=["networkx", "sympy"], help="import names of installed packages"
    )
    parser.add_argument("--rows", type=int, default=200, help="rows of the oracle task for each package")
    parser.add_argument("--workers", type=int, default=2, help="tests that run at the same time")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    options = parser.parse_args()
    counts = {"oracle": options.rows, "assertion": -(-options.rows // 2)}
    confinement = attrs.asdict(confinement_here())
    found = []
    for package in options.packages:
        for task, count in counts.items():
            print(f"{package}, {task}", file=sys.stderr, flush=True)
            found.append(ceiling(package, task, count, options.workers))
    if options.json:
        print(json.dumps({"confinement": confinement, "seed": SEED, "ceilings": found}, indent=1))
        return
    print("Confined by:", ", ".join(name for name, holds in confinement.items() if holds) or "limits alone", end="\n\n")
    print("| package | task | rows run | `truth_holds` | `not_runnable` | seconds |\n|---|---|---|---|---|---|")
    for each in found:
        shares = " | ".join(f"{100 * each[metric]:.1f} %" for metric in SHOWN)
        print(f"| {each['package']} | {each['task']} | {each['rows']:,} | {shares} | {each['seconds']:.0f} |")


if __name__ == "__main__":
    main()
