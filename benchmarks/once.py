"""How long the command line takes the first time, and once its inputs are known: seconds of wall and of processor.

    python benchmarks/once.py [recipe] > once.json

It plans a recipe twice in a new folder, and names a mistake in it; with `--finished RUN_DIR`, the folder of a finished
run of the recipe, `kdkit run` of that too.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time


def timed(arguments, folder):
    """Seconds of wall and of processor that a command takes."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-m", "kdkit", *arguments], cwd=folder, capture_output=True, check=False)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": round(wall, 3), "processor": round(spent, 3)}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("recipe", nargs="?", default="quickstart")
    parser.add_argument("--finished", help="the folder of a finished run")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        first, second = (timed(["plan", options.recipe], folder) for _ in range(2))
        found = {
            "plan": {"first": first, "second": second, "ratio": round(first["processor"] / second["processor"], 1)},
            "mistake": timed(["plan", options.recipe, "-o", "training.lr=1"], folder),
        }
        if options.finished:
            found["finished run"] = timed(["run", options.recipe, "--run-dir", options.finished], folder)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
