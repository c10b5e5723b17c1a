"""What was run: how it was set up, and what is needed to repeat it; for a run, a sweep and a comparison."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from kdkit.report.numbers.configurations import described
from kdkit.report.numbers.versions import versions
from kdkit.report.page import formats
from kdkit.report.page.document import Items, Listing, Part
from kdkit.report.page.tables import Cell, Group, Row, Table
from kdkit.report.parts import setup
from kdkit.report.parts.cells import seeds_note
from kdkit.report.read.scored import SEED
from kdkit.system.reading import read_text
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from typing import Any

    from kdkit.report.numbers.configurations import Configuration
    from kdkit.report.page.document import Block
    from kdkit.report.read.run import RunFacts
    from kdkit.sweeps import SweepFacts, TrialFacts


def of_run(facts: RunFacts) -> Part:
    """A run's settings, times and versions, and its recipe."""
    told = facts.run.get("run_dir")
    run_dir = Path(told) if isinstance(told, str) else None
    again: list[Block] = []
    if facts.scored:
        again = [*_scored_again(facts.scored, run_dir, facts.recipe_text)]
    elif facts.recipe_text:
        again = repeat(run_dir, facts.folder, "recipe.toml", facts.recipe_text)
    return Part(key="origin", title="What was run", blocks=(*again, setup.sections(facts)))


def of_sweep(sweep: SweepFacts, configurations: Sequence[Configuration]) -> Part:
    """A sweep's trials one by one, its versions, and its recipe."""
    recipe = sweep.folder / "sweep.toml"
    text = read_text(recipe, errors="replace") if recipe.is_file() else ""
    told = [run.record.get("run_dir") for each in configurations for run in each.runs]
    # That of a trial ends in trials/ID.
    run_dir = next((Path(each).parent.parent for each in told if isinstance(each, str)), None)
    sentence, *listings = repeat(run_dir, sweep.folder.resolve().name, "sweep.toml", text)
    blocks = (sentence, _trials(sweep.trials), *_versions(configurations), *listings)
    return Part(key="origin", title="What was run", blocks=blocks)


def of_comparison(configurations: Sequence[Configuration]) -> Part:
    """Every run: its configuration, its seed and what it was scored on; and all versions."""
    table = Table(
        title="Runs",
        columns=("", "seed", "scored on", "folder"),
        groups=tuple(
            Group(title=each.label, note=seeds_note(each), rows=tuple(_run_rows(each))) for each in configurations
        ),
        look="wordy",
    )
    return Part(key="origin", title="What was compared", blocks=(table, *_versions(configurations)))


def failed(trials: Iterable[TrialFacts]) -> Part | None:
    """The trials that failed, with their errors; None where none did."""
    listings = [
        Listing(title=_named(trial), text=trial.error or "no error was noted")
        for trial in trials
        if trial.status == "failed"
    ]
    told = "The same command runs them again; what each wrote is in logs/ID.log."
    return Part(key="failed", title="Failed trials", blocks=(told, *listings)) if listings else None


def repeat(run_dir: Path | None, name: str, recipe: str, text: str) -> list[Block]:
    """The command that runs it again, and its recipe.

    Args:
        run_dir: Its folder as it was given to the command that ran it; None where that was not kept.
        name: What its folder is called.
        recipe: Name of its recipe there.
        text: What the recipe says; empty where it is not there.
    """
    folder = Path(name) if run_dir is None else run_dir
    beside = f"{folder}-again" if folder.name not in {"", ".."} else str(folder / ".." / f"{name}-again")
    command = f"kdkit run {shlex.quote(str(folder / recipe))} --run-dir {shlex.quote(beside)}"
    where = "from the folder that holds this one" if run_dir is None else "from where it was run"
    listing = Listing(title=f"The recipe ({recipe})", text=text.rstrip("\n"), language="toml", folded=True)
    return [
        f"To repeat it, {where}, if the recipe's paths hold there:",
        Listing(title="The command", text=command, language="sh"),
        *([listing] if text else []),
    ]


def _scored_again(scored: Mapping[str, Any], folder: Path | None, text: str) -> Iterator[Block]:
    """The command that scores a finished run again, and the recipe with what was changed."""
    changes = [word for each in scored.get("overrides", ()) for word in ("-o", each)]
    output = ["--output", str(folder), "--fresh"] if folder is not None else []
    words = ("kdkit", "evaluate", str(scored.get("run_dir")), *changes, *output)
    yield "To repeat it, from where it was run:"
    yield Listing(title="The command", text=" ".join(map(shlex.quote, words)), language="sh")
    yield Listing(title="The recipe (recipe.toml)", text=text.rstrip("\n"), language="toml", folded=True)


def _versions(configurations: Iterable[Configuration]) -> list[Items]:
    found = versions(run.record for each in configurations for run in each.runs)
    return [Items(tuple(found))] if found else []


def _named(trial: TrialFacts) -> str:
    seed = "" if trial.seed is None else f", seed {trial.seed}"
    return f"{described(trial.values)}{seed} ({trial.id})"


def _trials(trials: Sequence[TrialFacts]) -> Table:
    rows = (
        Row(
            label=described(trial.values),
            note="" if trial.seed is None else f"seed {trial.seed}",
            cells=(Cell(trial.status), Cell(formats.duration(trial.seconds)), Cell(f"trials/{trial.id}")),
        )
        for trial in trials
    )
    title = f"All {plural(len(trials), 'trial')}"
    return Table.of(("", "status", "time", "run folder"), rows, title=title, folded=True)


def _run_rows(configuration: Configuration) -> list[Row]:
    return [
        Row(
            label=run.folder.resolve().name,
            cells=(
                Cell(formats.NONE if run.recipe.get(SEED) is None else str(run.recipe[SEED])),
                Cell(f"{run.row_count:,} of {run.split}"),
                Cell(str(run.folder)),
            ),
        )
        for run in configuration.runs
    ]
