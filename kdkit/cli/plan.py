"""`kdkit plan`: shows what a run or a sweep would do, compute and write."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from kdkit.cli.output import say
from kdkit.cli.run import limit_option, limited, recipe_options

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kdkit.pipeline.plan import Plan
    from kdkit.pipeline.prepared import Prepared
    from kdkit.pipeline.shown_rows import ShownRows
    from kdkit.recipe import Recipe
    from kdkit.sweeps.trials import Sweep, Trial
    from kdkit.system.progress import Progress


@click.command("plan")
@recipe_options
@limit_option
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
@click.option(
    "--show", type=click.IntRange(min=0), default=0, metavar="N",
    help="Print so many training rows as the models read them, their labels marked, and counts of all rows: labels, "
    "stops, cuts.",
)  # fmt: skip
@click.option(
    "--time", "timed", is_flag=True,
    help="Estimate as well how long each stage will take: by the last such run on this machine, else by a trial of a "
    "few steps, which loads the models.",
)  # fmt: skip
def command(
    recipe: str,
    overrides: tuple[str, ...],
    run_dir: Path | None,
    *,
    limit: int | None,
    as_json: bool,
    show: int,
    timed: bool,
) -> None:
    """Show what `kdkit run RECIPE` would do: which stages are done, tokens, and bytes against free disk space.

    It reads the data and the tokenizers, and without --time loads no weights. Of a sweep it says which trials there
    are, and plans one for each teacher and codec.
    """
    from kdkit.sweeps.reading import load_any
    from kdkit.sweeps.trials import Sweep

    loaded = load_any(recipe, limited(recipe, overrides, limit))
    from kdkit.cli.output import print_json
    from kdkit.pipeline import plan as plans

    if isinstance(loaded, Sweep):
        _plan_sweep(loaded, run_dir, as_json=as_json, show=show, timed=timed)
        return
    plan, rows = plan_with_rows(loaded, run_dir, show, timed=timed)
    if as_json:
        print_json({**plans.as_json(plan), **_as_json(rows)})
    else:
        print_planned(plan, rows)


def print_planned(plan: Plan, rows: ShownRows | None) -> None:
    """A plan, and rows as the models read them where there are any."""
    _print_plan(plan)
    say(f"run folder {plan.run_dir}, shared store {plan.store}")
    _print_room(plan)
    _print_rows(rows)


def plan_with_rows(
    recipe: Recipe, run_dir: Path | None, count: int, *, timed: bool = False, shown: Progress | None = None
) -> tuple[Plan, ShownRows | None]:
    """The plan, and so many rows to look at, None where none are asked for; the data are read once for all."""
    from kdkit.pipeline.prepared import Prepared
    from kdkit.system import progress

    shown = shown if shown is not None else progress.for_stderr()
    prepared = Prepared(recipe, run_dir, shown)
    plan, rows = planned(prepared, run_dir, count, shown)
    if timed:
        from kdkit.pipeline.plan_time import with_times

        plan = with_times(plan, prepared, shown)
    return plan, rows


def planned(prepared: Prepared, run_dir: Path | None, count: int, progress: Progress) -> tuple[Plan, ShownRows | None]:
    """The same of a recipe whose rows are wanted for more."""
    from kdkit.pipeline import plan as plans

    plan = plans.make_plan(prepared.recipe, run_dir, progress, prepared)
    if not count:
        return plan, None
    from kdkit.pipeline.shown_rows import shown_rows

    return plan, shown_rows(prepared, count)


def _as_json(rows: ShownRows | None) -> dict[str, Any]:
    import attrs

    return {} if rows is None else {"shown": attrs.asdict(rows)}


def _print_rows(rows: ShownRows | None) -> None:
    if rows is not None:
        from kdkit.cli.shown_rows import print_rows

        print_rows(rows)


def _print_plan(plan: Plan) -> None:
    from kdkit.cli.output import print_table
    from kdkit.system.files import size_text
    from kdkit.system.progress import clock

    rows = [
        (
            stage.name,
            "done" if stage.done else "to do",
            *((clock(stage.seconds) if stage.seconds is not None else "",) if plan.timed_by else ()),
            stage.work,
            f"{stage.tokens:,}" if stage.tokens else "",
            size_text(stage.bytes) if stage.bytes else "",
        )
        for stage in plan.stages
    ]
    time = ("time",) if plan.timed_by else ()
    print_table(("stage", "state", *time, "work", "tokens", "at most"), rows)
    if plan.seconds is not None:
        say(f"about {clock(plan.seconds)} to do: an estimate, by {plan.timed_by}")
    for note in plan.notes:
        say(f"note: {note}")


def _print_room(plan: Plan) -> None:
    from kdkit.system.files import size_text

    free = min(plan.free.values())
    verdict = "fits" if plan.bytes <= free else "DOES NOT FIT, unless the store already has enough of it"
    say(f"still to write: at most {size_text(plan.bytes)}; free: {size_text(free)}: {verdict}")


def _plan_sweep(sweep: Sweep, run_dir: Path | None, *, as_json: bool, show: int, timed: bool) -> None:
    """The number of trials, and the plan of one trial for each teacher and codec; what several say is said once."""
    import attrs

    from kdkit.cli.output import print_json
    from kdkit.pipeline import plan as plans
    from kdkit.sweeps import is_sweep, trial_facts, trial_folder
    from kdkit.system import progress
    from kdkit.system.wording import plural

    folder = run_dir if run_dir is not None else Path("runs") / sweep.name
    facts = [trial_facts(folder, trial.id, values=trial.values, seed=trial.seed) for trial in sweep.trials]
    done = sum(each.status == "done" for each in facts)
    proposed = sweep.search.trials * max(1, len(sweep.seeds)) if sweep.search is not None else 0
    planned, shown = [], None
    told = progress.Once(progress.for_stderr())
    for trials in _alike(sweep):
        first = next((trial for trial in trials if trial.recipe.loss.needs_teacher), trials[0])
        # Before the sweep has begun there is no folder of a trial; a run beside it has the same store.
        place = trial_folder(folder, first.id) if is_sweep(folder) else folder.with_name(first.id)
        plan, looked_at = plan_with_rows(first.recipe, place, show if shown is None else 0, timed=timed, shown=told)
        shown = shown or looked_at
        planned.append((trials, plan))
    if as_json:
        counts = {"trials": proposed or len(facts), "done": done, "axes": list(sweep.axes), "seeds": list(sweep.seeds)}
        listed = [{"ids": [trial.id for trial in trials], **plans.as_json(plan)} for trials, plan in planned]
        print_json({"run_dir": str(folder), **counts, "plans": listed, **_as_json(shown)})
        return
    state = f"{done} done, {len(facts) - done} to do" if not proposed else "proposed by a search"
    say(f"sweep {folder}: {plural(proposed or len(facts), 'trial')}, {state}")
    for line in _axes_of(sweep):
        say(line)
    noted: set[str] = set()
    for trials, plan in planned:
        rows = trials[0].recipe.training.rows
        these = f"{rows:,} rows of this data set" if rows else "this data set"
        say(f"\none of {plural(len(trials), 'trial')} with {these}, teacher and codec:")
        _print_plan(attrs.evolve(plan, notes=tuple(note for note in plan.notes if note not in noted)))
        noted.update(plan.notes)
        _print_room(plan)
    say(
        "\nTrials share what the store holds: teacher, logits, texts and baseline are made once for all that need them."
    )
    _print_rows(shown)


def _alike(sweep: Sweep) -> list[list[Trial]]:
    """The trials in groups whose first steps are the same."""
    from kdkit.system.digests import digest_of

    groups: dict[str, list[Trial]] = {}
    for trial in sweep.trials or sweep.proposed({}):
        parts = {section: trial.recipe.digested[section] for section in ("data", "tokens", "teacher", "codec")}
        parts["rows"] = trial.recipe.training.rows
        groups.setdefault(digest_of(parts), []).append(trial)
    return list(groups.values())


def _axes_of(sweep: Sweep) -> list[str]:
    """Each axis with its values, of tables what differs."""
    from kdkit.sweeps.swept_keys import value_text
    from kdkit.sweeps.titles import told_apart

    told = told_apart([trial.values for trial in sweep.trials])
    lines = [f"  {axis}: {', '.join(dict.fromkeys(value_text(each[axis]) for each in told))}" for axis in _first(told)]
    lines += [f"  {axis}: (by the search)" for axis in sweep.axes if not told]
    return [*lines, *([f"  seeds: {', '.join(map(str, sweep.seeds))}"] if sweep.seeds else [])]


def _first(told: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    return told[0] if told else {}
