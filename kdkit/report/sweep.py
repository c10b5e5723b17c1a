"""The report of a sweep: `report.html` and `report.md` in its folder, made from what its trials left there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from kdkit.errors import DamagedData, MissingInput, PluginError
from kdkit.report.numbers import published, versus_labels
from kdkit.report.numbers.selection import headline, select
from kdkit.report.numbers.statistics import Statistics
from kdkit.report.page.document import Document, Part
from kdkit.report.page.study import to_html, to_markdown
from kdkit.report.parts import along, best, configurations, trials
from kdkit.report.read.scored import by_configuration, read_run
from kdkit.sweeps import read_sweep
from kdkit.system.files import write_atomically
from kdkit.system.wording import plural

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from kdkit.report.numbers.published import Published
    from kdkit.report.numbers.selection import Selection
    from kdkit.report.read.scored import ScoredRun
    from kdkit.sweeps import SweepFacts, TrialFacts


@attrs.frozen(kw_only=True, eq=False)
class SweepReport:
    """What a sweep came to.

    Attributes:
        sweep: Its trials; one that is done but cannot be read is among the failed, with the reason.
        stats: Its configurations and their scores.
        selection: The configurations from the best to the worst, on the validation rows.
        document: The report.
        damages: A sentence for each trial that is done and cannot be read.
    """

    sweep: SweepFacts
    stats: Statistics
    selection: Selection
    document: Document
    damages: Sequence[str] = ()


def write(folder: Path) -> SweepReport:
    """Write `report.html` and `report.md`, each whole or not at all, and give what is in them.

    Raises:
        MissingInput: The folder is no sweep's.
        DamagedData: Its sweep.json cannot be read.
    """
    report = assemble(folder)
    write_atomically(folder / "report.html", to_html(report.document).encode())
    write_atomically(folder / "report.md", to_markdown(report.document).encode())
    return report


def assemble(folder: Path) -> SweepReport:
    """The content of a sweep's report.

    Raises:
        MissingInput: The folder is no sweep's.
        DamagedData: Its sweep.json cannot be read.
    """
    sweep, runs_read, damages = _read(folder)
    stats = Statistics(by_configuration((trial.values, run) for trial, run in runs_read))
    selection = select(stats, sweep.axes)
    runs = [run for each in stats.configurations for run in each.runs]
    split = " and ".join(dict.fromkeys(run.split for run in runs)) or "test"
    warnings = [*damages, *trials.warnings(sweep, stats.configurations)]
    try:
        reference = published.load(sweep.reference)
    except PluginError as error:
        reference = None
        warnings.append(f"The published values are left out: {error}.")
    found = best.finding(stats, selection, split)
    document = Document(
        title=sweep.name,
        kind="sweep report",
        description=f"{sweep.description} {trials.what_was_varied(sweep)}".strip(),
        verdict=found.sentence,
        detail=f"{found.detail} {trials.how_far(sweep)}".strip(),
        warnings=tuple(warnings),
        parts=tuple(_parts(sweep, stats, selection, split, reference)),
        footer=f"Made by kdkit from the folders of {plural(len(runs_read), 'trial')} alone.",
    )
    return SweepReport(sweep=sweep, stats=stats, selection=selection, document=document, damages=damages)


def _read(folder: Path) -> tuple[SweepFacts, list[tuple[TrialFacts, ScoredRun]], list[str]]:
    """A sweep, its trials that are done with what they left, and a sentence for each that cannot be read."""
    sweep = read_sweep(folder)
    trials, read, damages = [], [], []
    for trial in sweep.trials:
        if trial.status == "done":
            try:
                read.append((trial, read_run(trial.folder)))
            except (DamagedData, MissingInput, OSError) as error:
                damages.append(
                    f"Trial {trial.id} is left out of every number here: {error}. Once that file is deleted, the "
                    "sweep's own command does again what it takes to have it."
                )
                trials.append(attrs.evolve(trial, status="failed", error=str(error)))
                continue
        trials.append(trial)
    return attrs.evolve(sweep, trials=tuple(trials)), read, damages


def _parts(
    sweep: SweepFacts, stats: Statistics, selection: Selection, split: str, reference: Published | None
) -> list[Part]:
    parts: list[Part | None] = []
    if stats.configurations:
        by_metric = best.by_metric(stats, split)
        parts += [
            best.best_part(stats, selection, split),
            versus_labels.gains_part(stats),
            Part(key="by-metric", title="Best by each metric", tables=(by_metric,), is_wordy=True)
            if by_metric
            else None,
            *_figures(stats, reference),
            _scores(stats),
            _published(stats, reference),
            _costs(stats),
        ]
    parts += trials.parts(sweep, stats.configurations)
    return [part for part in parts if part is not None]


def _figures(stats: Statistics, reference: Published | None) -> list[Part | None]:
    key = headline(stats)
    suites = [] if key is None else [key.suite]
    drawn = {against: along.chosen(stats, against, suites) for against in ("truth", "teacher")}
    axes = along.numeric_axes(stats.configurations)
    parts: list[Part | None] = []
    for index, axis in enumerate(axes):
        lines = [along.along(stats, axis, each, reference) for keys in drawn.values() for each in keys]
        known = tuple(figure for figure in lines if figure is not None)
        if known:
            parts.append(
                Part(
                    key=f"along-{index}",
                    title=f"What {along.axis_name(stats.configurations, axis)} does",
                    text=(_legend(reference),),
                    figures=known,
                )
            )
    grids = [] if key is None else along.grid(stats, key)
    if grids:
        text = ("Brighter is better. Means over seeds; the intervals are in the table under each.",)
        parts.append(Part(key="grids", title="Two axes at once", text=text, figures=tuple(grids)))
    codecs = along.codecs(stats, drawn["truth"])
    if codecs:
        text = ("What a token of the logit cache takes on disk, and what the student that learnt from it is worth.",)
        parts.append(Part(key="codecs", title="What the codec costs and keeps", text=text, figures=tuple(codecs)))
    return parts


def _legend(reference: Published | None) -> str:
    drawn = "Bars and bands are 95 % intervals over rows and seeds; lines that share a value are moved apart a little."
    return drawn if reference is None else f"{drawn} Hollow marks are published values, of {reference.source}."


def _scores(stats: Statistics) -> Part:
    return Part(
        key="scores",
        title="Every configuration",
        tables=tuple(configurations.scores(stats)),
        details=tuple(configurations.scores(stats, parts=True)),
    )


def _published(stats: Statistics, reference: Published | None) -> Part | None:
    found = [] if reference is None else published.tables(stats, reference)
    if reference is None or not found:
        return None
    whole, folded = ([table for table in found if table.folded is wanted] for wanted in (False, True))
    return Part(
        key="published",
        title="Beside published values",
        text=(f"Source: {reference.source}.",),
        tables=tuple(whole),
        details=tuple(folded),
    )


def _costs(stats: Statistics) -> Part | None:
    table = configurations.costs(stats)
    return None if table is None else Part(key="costs", title="What they cost", tables=(table,))
