"""How far a sweep is, what failed, and what is needed to repeat it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.report.page import formats
from kdkit.report.page.document import Listing, Part
from kdkit.report.parts.scores import Cell, Group, Row, Table
from kdkit.report.read.scored import described, short_key, spelt
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kdkit.report.read.scored import Configuration, ScoredRun
    from kdkit.sweeps import SweepFacts, TrialFacts

WATCHED = ("kdkit", "torch")
"""Versions that have to be the same for trials to be compared without a word."""


def what_was_varied(sweep: SweepFacts) -> str:
    """A sentence: `Varied: alpha (.1, .5), temperature (1, 2); seeds 1, 2, 3`."""
    told = []
    for axis in sweep.axes:
        values = list(dict.fromkeys(spelt(trial.values.get(axis)) for trial in sweep.trials))
        told.append(f"{short_key(axis, sweep.axes)} ({', '.join(values)})")
    seeds = f"; {'seeds' if len(sweep.seeds) > 1 else 'seed'} {', '.join(map(str, sweep.seeds))}" if sweep.seeds else ""
    return f"Varied: {', '.join(told) or 'nothing'}{seeds}."


def how_far(sweep: SweepFacts) -> str:
    """A sentence: `10 of 12 trials done, 1 failed, 1 waiting`."""
    counts = {
        status: sum(trial.status == status for trial in sweep.trials)
        for status in ("failed", "interrupted", "running", "waiting")
    }
    done = sum(trial.status == "done" for trial in sweep.trials)
    if done == len(sweep.trials):
        return f"All {plural(done, 'trial')} are done." if done > 1 else "Its one trial is done."
    rest = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    return f"{done} of {plural(len(sweep.trials), 'trial')} done, {rest}."


def warnings(sweep: SweepFacts, configurations: Sequence[Configuration]) -> list[str]:
    """What a reader has to know before relying on the numbers."""
    runs = [run for each in configurations for run in each.runs]
    found = []
    undone = [trial for trial in sweep.trials if trial.status != "done"]
    if undone:
        found.append(f"{how_far(sweep)} What is not done is not in any number here.")
    counts = {len(each.runs) for each in configurations}
    if len(counts) > 1:
        found.append(
            f"Configurations have {min(counts)} to {max(counts)} seeds; intervals of few seeds are wide, and those of "
            "one say nothing about other seeds."
        )
    elif counts == {1}:
        found.append("Every configuration has one seed: the intervals do not say how much another seed would change.")
    found += few_seeds(configurations)
    if any(run.split == "validation" for run in runs):
        found.append("There is no test split: what was chosen on the validation rows is reported on them too.")
    if len({run.split for run in runs}) > 1:
        found.append("Some trials were scored on another split than others.")
    found += version_warnings(runs)
    if any(run.rows is None for run in runs):
        found.append("Some runs have no rows.npz: for these there are no intervals over seeds and no differences.")
    return found


def few_seeds(configurations: Sequence[Configuration]) -> list[str]:
    """A sentence where there are configurations of two seeds."""
    told = (
        "Two seeds tell almost nothing of how much seeds differ: intervals of two are very wide, and bars that run out "
        "of a figure are longer than it shows."
    )
    return [told] if any(len(each.runs) == 2 for each in configurations) else []


def version_warnings(runs: Sequence[ScoredRun]) -> list[str]:
    """A sentence for each package of which the runs had several versions."""
    found = []
    for package in WATCHED:
        seen = sorted({str(run.record.get("versions", {}).get(package, "unknown")) for run in runs})
        if len(seen) > 1:
            found.append(f"The runs were made with different versions of {package}: {', '.join(seen)}.")
    return found


def parts(sweep: SweepFacts, configurations: Sequence[Configuration]) -> list[Part]:
    """The trials one by one, those that failed with their error, and how to repeat it all."""
    failed = [trial for trial in sweep.trials if trial.status == "failed"]
    found = []
    if failed:
        found.append(
            Part(
                key="failed",
                title="Failed trials",
                text=("The same command runs them again; what each wrote is in logs/ID.log.",),
                listings=tuple(
                    Listing(title=_trial(trial), text=trial.error or "no error was noted") for trial in failed
                ),
            )
        )
    runs = [run for each in configurations for run in each.runs]
    listings = [
        Listing(
            title="The command",
            text=f"kdkit run {sweep.folder.name}/sweep.toml --run-dir {sweep.folder.name}-again",
            language="sh",
        )
    ]
    recipe = sweep.folder / "sweep.toml"
    if recipe.is_file():
        text = recipe.read_text(encoding="utf-8", errors="replace").rstrip("\n")
        listings.append(Listing(title="The recipe (sweep.toml)", text=text, language="toml", folded=True))
    found.append(
        Part(
            key="origin",
            title="What was run",
            text=(
                "To repeat it, from a folder in which the recipe's paths hold, with the path of this sweep's folder.",
            ),
            details=(_trials(sweep),),
            facts=tuple(versions(runs)),
            listings=tuple(listings),
        )
    )
    return found


def versions(runs: Sequence[ScoredRun]) -> list[tuple[str, str]]:
    """Each package, plugin and device that a run had, with all of its versions."""
    found: dict[str, list[str]] = {}
    for run in runs:
        told = {
            **{str(name): version for name, version in run.record.get("versions", {}).items()},
            **{f"plugin {name}": version for name, version in run.record.get("plugins", {}).items() if name != "kdkit"},
            "device": run.record.get("device"),
        }
        for name, version in told.items():
            if version and str(version) not in found.setdefault(name, []):
                found[name].append(str(version))
    return [(name, ", ".join(sorted(seen))) for name, seen in found.items() if seen]


def _trial(trial: TrialFacts) -> str:
    seed = "" if trial.seed is None else f", seed {trial.seed}"
    return f"{described(trial.values)}{seed} ({trial.id})"


def _trials(sweep: SweepFacts) -> Table:
    rows = tuple(
        Row(
            label=described(trial.values),
            note="" if trial.seed is None else f"seed {trial.seed}",
            cells=(Cell(trial.status), Cell(formats.duration(trial.seconds)), Cell(f"trials/{trial.id}")),
        )
        for trial in sweep.trials
    )
    return Table(
        title=f"All {plural(len(rows), 'trial')}",
        columns=("", "status", "time", "run folder"),
        groups=(Group(rows=rows),),
        folded=True,
    )
