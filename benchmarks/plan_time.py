"""Estimates the time of a recipe, runs it, and prints estimate and truth of each stage with their ratio, as JSON.

    python benchmarks/plan_time.py recipes/quickstart.toml --folder FOLDER [-o section.key=value ...]

The estimate comes first, by a trial, since FOLDER is new; then the run; then the estimate that the run leaves for the
next one. All three are of one process on one machine: compare them with each other, not with those of another day.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import attrs

from kdkit.pipeline.plan import make_plan
from kdkit.pipeline.plan_time import with_times
from kdkit.pipeline.prepared import Prepared
from kdkit.pipeline.run import run
from kdkit.recipe import load_recipe
from kdkit.runs.record import read_record
from kdkit.system import progress


def main() -> None:
    """Estimate, run, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("--folder", type=Path, required=True, help="A new folder for the run and its store.")
    parser.add_argument("-o", dest="overrides", action="append", default=[], help="section.key=value")
    asked = parser.parse_args()
    if asked.folder.exists():
        sys.exit(f"{asked.folder} is there already; name a new folder")
    folder, shown = asked.folder / "runs" / "timed", progress.for_stderr()
    recipe = load_recipe(asked.recipe, [*asked.overrides, f'store.dir="{asked.folder.absolute() / "store"}"'])

    def estimated(path: Path) -> dict[str, float]:
        prepared = Prepared(recipe, path, shown)
        plan = with_times(make_plan(recipe, path, shown, prepared), prepared, shown)
        return {stage.name: stage.seconds for stage in plan.stages if stage.seconds is not None}

    trial = estimated(folder)
    run(recipe, folder, progress=shown)
    took = {name: entry["seconds"] for name, entry in read_record(folder)["stages"].items()}
    later = estimated(folder.with_name("next"))
    rows = [_Row(stage=name, estimate=trial.get(name), truth=took[name], next=later.get(name)) for name in took]
    whole = _Row(stage="all", estimate=sum(trial.values()), truth=sum(took.values()), next=sum(later.values()))
    print(json.dumps([each.as_table() for each in (*rows, whole)], indent=1))


@attrs.frozen(kw_only=True)
class _Row:
    """A stage: what a trial says of it, what it took, and what is said of the next run."""

    stage: str
    estimate: float | None
    truth: float
    next: float | None

    def as_table(self) -> dict[str, object]:
        ratio = None if self.estimate is None or not self.truth else round(self.estimate / self.truth, 2)
        return {**attrs.asdict(self), "estimate / truth": ratio}


if __name__ == "__main__":
    main()
