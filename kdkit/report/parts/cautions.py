"""How far a sweep is, and what a reader has to know before relying on the numbers of several runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kdkit.report.numbers.configurations import short_key
from kdkit.report.numbers.versions import version_warnings
from kdkit.report.page.formats import setting
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from kdkit.report.numbers.configurations import Configuration
    from kdkit.report.read.scored import ScoredRun
    from kdkit.sweeps import SweepFacts


def what_was_varied(sweep: SweepFacts) -> str:
    """A sentence: `Varied: alpha (0.1, 0.5), temperature (1, 2); seeds 1, 2, 3`."""
    told = []
    for axis in sweep.axes:
        values = list(dict.fromkeys(setting(trial.values.get(axis)) for trial in sweep.trials))
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


def of_sweep(sweep: SweepFacts, configurations: Sequence[Configuration]) -> list[str]:
    """What is not done, has few seeds, or flatters."""
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
    found += _few_seeds(configurations)
    if any(run.split == "validation" for run in runs):
        found.append("There is no test split: what was chosen on the validation rows is reported on them too.")
    if len({run.split for run in runs}) > 1:
        found.append("Some trials were scored on another split than others.")
    return [*found, *version_warnings([run.record for run in runs]), *_no_rows(runs)]


def of_comparison(configurations: Sequence[Configuration]) -> list[str]:
    """What was made or scored in other ways, or has few seeds."""
    runs = [run for each in configurations for run in each.runs]
    found = version_warnings([run.record for run in runs])
    splits = sorted({run.split for run in runs})
    if len(splits) > 1:
        found.append(f"The runs were scored on different splits: {', '.join(splits)}.")
    elif splits == ["validation"]:
        found.append("The runs were scored on the validation rows, which chose each run's best epoch too.")
    return [*found, *_few_seeds(configurations), *_no_rows(runs)]


def _few_seeds(configurations: Sequence[Configuration]) -> list[str]:
    """A sentence where there are configurations of two seeds."""
    told = (
        "Two seeds tell almost nothing of how much seeds differ: intervals of two are very wide, and bars that run out "
        "of a figure are longer than it shows."
    )
    return [told] if any(len(each.runs) == 2 for each in configurations) else []


def _no_rows(runs: Iterable[ScoredRun]) -> list[str]:
    told = "Some runs have no rows.npz: for these there are no intervals over seeds and no differences."
    return [told] if any(run.rows is None for run in runs) else []
